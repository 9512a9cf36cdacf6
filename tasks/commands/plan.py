"""`doit plan`: what a run would do and why; no network, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DoitCmdBase
from doit.control import TaskControl

from foundry.base.errors import ConfigError
from foundry.run.context import Foundry
from tasks import session
from tasks.commands import passes, workflow
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.backend import OnRecords
from tasks.commands.loader import warn_of_gaps
from tasks.commands.reporter import pending_of, reach_of
from tasks.commands.run import opt_retry_failed, slots_of
from tasks.commands.told import told

if TYPE_CHECKING:
    from foundry.fleet.preview import CellSteps, Preview
    from foundry.plan.cells import Cell
    from foundry.plan.changes import Change

_CELLS = ("module:", "sign:", "image:", "boot:", "push:")
_LATER = ("assets", "ledger", "attest", "bundle", "notes", "github")
_ACTIONS = ("fetch", "compile", "sign", "image", "boot", "push")
_SHOWN = 4  # kernels in a line
_MINUTE, _HOUR = 60, 3600
_OPTIONS = (
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
     "help": "a JSON object, alone on stdout"},
    {"name": "since", "short": "", "long": "since", "type": str, "default": "", "metavar": "COMMIT",
     "help": "compare with this commit, as if all of it had been published, in place of what is built here"},
    opt_retry_failed,
)


class Plan(OptionsAnywhere, OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Show what the tasks would do."""

    name = "plan"
    cmd_options = _OPTIONS

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 0 whatever there is to do."""
        session.only_read()
        return int(super().execute(params, args))

    @told
    def _execute(self, json: bool, since: str, pos_args: list[str], retry_failed: bool = False) -> int:
        one, names = session.foundry(), list(self.sel_tasks or ())
        found = _compared(one, since, self._control(names, one), names) if since else self._preview(names, one)
        document = {"profile": one.config.profile.name, "since": since or None, **found.as_data()}
        shown = [text.rstrip() for text in lines(found)]
        self.outstream.write(_dump(document) if json else "\n".join(shown) + "\n")
        workflow.tell_plan(shown)
        warn_of_gaps()
        return 0

    def _control(self, names: list[str], one: Foundry) -> TaskControl:
        control = TaskControl(self.task_list)
        later = [name for tasks in passes.later_passes(names, one) for name in tasks]
        control.process([*passes.first_pass(names, one), *later])
        return control

    def _preview(self, names: list[str], one: Foundry) -> Preview:
        from foundry.fleet.preview import preview

        control = self._control(names, one)
        tasks: Mapping[str, Any] = control.tasks
        reached = reach_of(tasks, control.selected_tasks)
        pending = {name: str(tasks[name].meta["reason"]) for name in pending_of(tasks, control.selected_tasks)}
        known = one.states.plan.by_name
        changed = {known[name.partition(":")[2]].driver for name in pending if name.startswith(_CELLS)}
        for name in reached:  # the later passes work on what the cells leave
            stage, _, subject = name.partition(":")
            if subject in changed and stage in _LATER and tasks[name].actions:
                pending.setdefault(name, "follows from its images")
        for name in control.selected_tasks:
            stage, meta = name.partition(":")[0], tasks[name].meta or {}
            if tasks[name].actions and not meta.get("state") and stage not in ("fetch", "source"):
                pending[name] = meta.get("reason") or "looks each time"
        return preview(one, pending, _cells(one, control), slots_of(one))


def _compared(one: Foundry, since: str, control: TaskControl, names: list[str]) -> Preview:
    from dataclasses import replace

    from foundry.fleet.other_tree import states_of
    from foundry.fleet.preview import compared

    push = bool(one.settings.publish) and any(passes.publishes(name) or passes.is_release(name) for name in names)
    cells = _cells(one, control)
    try:
        with states_of(one.config, since) as before:
            return compared(one, before, cells, slots_of(one), push=push)
    except ConfigError as error:
        found = compared(one, None, cells, slots_of(one), push=push)
        return replace(found, notes=(f"{since} can't be read by this version: {error.message}", *found.notes))


def _cells(one: Foundry, control: TaskControl) -> list[Cell]:
    """The cells that the selected tasks can have to do with."""
    names = {name.partition(":")[2] for name in reach_of(control.tasks, control.selected_tasks)
             if name.startswith(_CELLS)}
    return [cell for cell in one.states.plan.cells if cell.name in names]


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def lines(found: Preview) -> Iterator[str]:
    """The plan for people: the sum, then what is alike together."""
    yield _sum(found)
    for each in found.drivers:
        yield f"{', '.join(each.actions)}  {each.driver}  ({each.reason})"
    shown: set[Change] = set()
    groups: dict[tuple[str, tuple[str, ...], str, tuple[Change, ...]], list[CellSteps]] = {}
    for step in found.cells:
        groups.setdefault((step.cell.driver, step.actions, step.why.text, step.changes), []).append(step)
    for (driver, actions, reason, changed), steps in groups.items():
        yield f"{', '.join(actions)}  {driver}  {_kernels([one.cell.kernel for one in steps])}  ({reason})"
        replaced = [one.replaces for one in steps if one.replaces is not None]
        if replaced:
            those = ", ".join((one.digest or f"the image with key {one.key}")[:32] for one in replaced[:_SHOWN])
            yield f"    in place of {those}" + (f" and {len(replaced) - _SHOWN} more" if replaced[_SHOWN:] else "")
        for change in changed:
            head, *rest = change.render()
            yield f"    {head}" + (", as above" if change in shown and rest else "")
            yield from (f"    {text}" for text in rest if change not in shown)
            shown.add(change)
    for state in found.known_failures:
        log = str((state.failure or {}).get("log", ""))
        yield f"not compiled again  {state.cell.name}  ({state.reason})" + (f"\n    log: {log}" if log else "")
    for name, reason in found.other:
        yield f"{name}  ({reason})"
    for cell in found.removed:
        yield f"no longer wanted  {cell.name}: what is published of it stays"
    yield from (f"note: {text}" for text in found.notes)


def _sum(found: Preview) -> str:
    totals = found.totals()
    words = [f"{action} {totals[action]}" for action in _ACTIONS if totals[action]]
    if not words:
        return "nothing to compile, image or push" if found.other else "nothing to do"
    words += [f"replace {totals['replace']}"] if totals["replace"] else []
    toolkits = totals["pull"]
    words += [f"pull at most {toolkits} {'toolkit' if toolkits == 1 else 'toolkits'}"] if toolkits else []
    return f"{', '.join(words)}: {_about(totals['seconds'])}"


def _about(seconds: int) -> str:
    if seconds < _MINUTE:
        return "under a minute"
    return f"about {round(seconds / _MINUTE)} min" if seconds < 2 * _HOUR else f"about {round(seconds / _HOUR)} h"


def _kernels(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
