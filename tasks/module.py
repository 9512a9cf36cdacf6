"""module: each cell's modules, compiled and gated."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.cell import module
from foundry.cell.run import run_module
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_module() -> Iterator[Task]:
    """Compile modules in their toolkits and gate them."""
    one = foundry()
    for state in one.states.of_all(plan().cells):
        cell = state.cell
        folder = one.states.cell_path(cell)
        source = one.states.source(cell.driver)
        # A module that is done, or not tried, does not make its sources be fetched again.
        inert = state.adopted or state.given_up or (
            state.module_done and not (source.fetch_done and source.source_done))
        targets = [f"{folder}/{file}" for file in (module.RECORD, *module.module_names(one, cell))]
        shown, reason = state.shown("module")
        yield stage_task(
            "module", cell.name, run_module, [cell],
            doc=f"{cell.driver} for {cell.kernel}", done=state.module_done, state=shown, reason=reason,
            file_dep=() if inert else module.file_deps(one, cell),
            targets=() if state.adopted else targets, log=f"{folder}/{module.LOG}",
        )
