"""boot: the proof that each cell's own kernel loads its modules, in a virtual machine."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.cell import boot
from foundry.cell.run import run_boot
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_boot() -> Iterator[Task]:
    """Boot each cell's kernel and have it load the image's modules."""
    one = foundry()
    if one.settings.proof == "off":
        return  # the task loader says so when it is asked for
    for state in one.states.of_all(plan().cells):
        cell, folder = state.cell, one.states.cell_path(state.cell)
        wanted = one.states.to_prove(cell.arch)
        shown, reason = state.shown("boot") if wanted else ("", f"not possible here: {one.states.no_boot[cell.arch]}")
        task = stage_task(
            "boot", cell.name, run_boot, [cell], doc=f"proof that {cell.kernel} loads {cell.driver}",
            done=state.proven, state=shown, reason=reason,
            file_dep=() if state.adopted or not wanted else boot.file_deps(one, cell),
            targets=() if state.adopted or not wanted else [f"{folder}/{boot.RECORD}"], log=f"{folder}/{boot.LOG}",
        )
        yield {**task, "task_dep": [f"image:{cell.name}"]}
