"""build: the images of all cells, of a driver, of a minor or of one release."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.plan.cells import Cell, Plan
from foundry.plan.selection import narrowed_cells
from tasks.actions import Task
from tasks.session import foundry, plan, requested


def task_build() -> Iterator[Task]:
    """Build the images of all cells; never pushes."""
    part = plan()
    yield {"name": None, "doc": "images of all drivers; never pushes", "task_dep": _built(part)}
    for driver, cells in part.by_driver.items():
        yield _group(driver, cells, f"images of {driver} for all its kernels")
    for name in requested():
        cells = narrowed_cells(foundry().states.plan, name)
        if cells:
            yield _group(name.removeprefix("build:"), cells, f"images of {name.removeprefix('build:')}")


def by_toolkit(plan: Plan, stage: str) -> list[str]:
    """The tasks of a stage for all cells, those of a toolkit together: so each is needed for as short as can be."""
    return [f"{stage}:{cell.name}" for cell in sorted(plan.cells, key=lambda cell: cell.toolkit)]


def _built(plan: Plan) -> list[str]:
    """What makes and proves all images: a boot beside the compiles of others, not after all of them."""
    return [f"{stage}:{cell.name}" for cell in sorted(plan.cells, key=lambda cell: cell.toolkit) for stage in _stages()]


def _stages() -> tuple[str, ...]:
    return ("image",) if foundry().settings.proof == "off" else ("image", "boot")


def _group(name: str, cells: tuple[Cell, ...], doc: str) -> Task:
    members = [f"{stage}:{cell.name}" for cell in cells for stage in _stages()]
    return {"name": name, "doc": doc, "actions": None, "task_dep": members}
