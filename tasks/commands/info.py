"""`doit info TASK`: what a task depends on; for cells also what their key is made of and which patches apply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from doit.cmd_info import Info as DoitInfo

from foundry.base.records import read_record
from foundry.config.patches import Patch
from foundry.plan.changes import PART_NAMES
from foundry.plan.inputs import InputChanges
from foundry.plan.state import CellState
from tasks import session
from tasks.commands.backend import OnRecords
from tasks.commands.loader import chosen
from tasks.commands.told import told

_CELL_STAGES = ("module", "sign", "image", "boot")


class Info(OnRecords, DoitInfo):  # type: ignore[misc]  # reason: doit has no types
    """Doit's info, after what is known of the cells that the task is about."""

    name = "info"

    @told
    def _execute(self, pos_args: list[str], hide_status: bool = False) -> int:
        for task in chosen(pos_args, self.task_list):
            for state in _cells(task):
                for line in describe(state):
                    self.outstream.write(line + "\n")
            super()._execute([task.name], hide_status)
        return 0


def describe(state: CellState) -> Iterator[str]:
    """A cell in lines: its state, its inputs, its patches."""
    cell = state.cell
    yield f"\n{cell.name}: {state.state} ({state.reason})"
    yield f"  releases  {', '.join(cell.releases)}"
    yield f"  toolkit   {cell.toolkit}"
    yield f"  key       {state.key.key if state.key else 'not known yet'}"
    for name, value in (state.key.parts if state.key else {}).items():
        yield f"    {PART_NAMES.get(name, name):<26}{value}"
    for change in InputChanges(session.foundry().states).of(state):
        yield from (f"  {'changed' if not number else '':<10}{text}" for number, text in enumerate(change.render()))
    record = read_record(session.foundry().cell_folder(cell) / "module.json", "module") if state.module_done else None
    yield "  patches" + ("" if cell.family.patches else ": the family has none")
    for patch in cell.family.patches:
        yield from _patch(patch, cell.driver, cell.kernel, (record or {}).get("patches"))


def _patch(patch: Patch, driver: str, kernel: str, findings: list[dict[str, Any]] | None) -> Iterator[str]:
    inert = patch.inert_because(driver, kernel)
    if inert:
        yield f"    not needed  {patch.id}: {inert}"
        return
    yield f"    {'applied' if findings is not None else 'will apply':<12}{patch.id}: {patch.why}"
    found = iter([one["matches"] for one in findings or [] if one["patch"] == patch.id])
    for edit in patch.edits:
        matches = next(found, None)
        seen = f"found {matches} of {edit.matches} times" if matches is not None else f"expected {edit.matches} times"
        yield f"{'':<16}{edit.file}: {edit.find!r} {seen}"


def _cells(task: Any) -> list[CellState]:
    """The cells that a task is about: one of a stage's, or all of a group's."""
    states = session.foundry().states
    known = states.plan.by_name
    stage, _, cell = task.name.partition(":")
    if stage in _CELL_STAGES and cell in known:
        return [states.of(known[cell])]
    members = [dep.partition(":")[2] for dep in (task.task_dep if stage == "build" else ())]
    return [states.of(known[member]) for member in members if member in known]
