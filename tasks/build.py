"""build: the images of all cells, of a driver, of a minor or of one release."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actions import Task
from tasks.core.cells import Cell
from tasks.session import foundry, requested
from tasks.stages.selection import narrowed_cells


def task_build() -> Iterator[Task]:
    """Build the images of all cells; never pushes."""
    plan = foundry().states.plan
    yield {"name": None, "doc": "images of all drivers; never pushes"}
    for driver, cells in plan.by_driver.items():
        yield _group(driver, cells, f"images of {driver} for all its kernels")
    for name in requested():
        cells = narrowed_cells(plan, name)
        if cells:
            yield _group(name.removeprefix("build:"), cells, f"images of {name.removeprefix('build:')}")


def _group(name: str, cells: tuple[Cell, ...], doc: str) -> Task:
    return {"name": name, "doc": doc, "actions": None, "task_dep": [f"image:{cell.name}" for cell in cells]}
