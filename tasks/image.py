"""image: each cell's OCI image; published cells are adopted instead."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.cell import image
from foundry.cell.run import run_image
from foundry.plan.state import CellState
from foundry.run.context import Foundry
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_image() -> Iterator[Task]:
    """Build reproducible OCI images."""
    one = foundry()
    for state in one.states.of_all(plan().cells):
        yield _adopted(one, state) if state.adopted else _built(one, state)


def _built(one: Foundry, state: CellState) -> Task:
    cell, folder = state.cell, one.states.cell_path(state.cell)
    shown, reason = state.shown("image")
    return stage_task(
        "image", cell.name, run_image, [cell],
        doc=f"image {cell.tag}", done=state.image_done, state=shown, reason=reason,
        file_dep=image.file_deps(one, cell),
        targets=[f"{folder}/{image.RECORD}", f"{folder}/{image.IMAGE_FILE}"], log=f"{folder}/{image.LOG}",
    )


def _adopted(one: Foundry, state: CellState) -> Task:
    """A published cell needs no toolkit, source or module: only a record that says so."""
    cell, folder = state.cell, one.states.cell_path(state.cell)
    recorded = state.image is not None and state.key is not None and state.image.key == state.key.key
    return stage_task(
        "image", cell.name, image.adopt, [state],
        doc=f"image {cell.tag}, published", done=recorded, state=state.state, reason=state.reason,
        targets=[f"{folder}/{image.RECORD}"],
    )
