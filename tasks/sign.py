"""sign: each cell's modules with the profile's signature."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.cell import module, sign
from foundry.cell.run import run_sign
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_sign() -> Iterator[Task]:
    """Sign modules with the profile's key."""
    one = foundry()
    if not one.settings.signing.key:
        return  # the task loader says so when it is asked for
    for state in one.states.of_all(plan().cells):
        cell, folder = state.cell, one.states.cell_path(state.cell)
        shown, reason = state.shown("sign")
        yield stage_task(
            "sign", cell.name, run_sign, [cell], doc=f"modules of {cell.name}, signed",
            done=state.adopted or state.signed, state=shown, reason=reason,
            file_dep=() if state.adopted else sign.file_deps(one, cell),
            targets=() if state.adopted else [
                f"{folder}/{file}" for file in
                (sign.RECORD, *(f"{sign.SIGNED}/{name}" for name in module.module_names(one, cell)))],
            log=f"{folder}/{sign.LOG}",
        )
