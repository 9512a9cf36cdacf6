"""What a run shows: each event once while it works, failures and totals at the end.

Without a terminal an event is a plain line. On one, beginnings are seen in the live view (`tasks.commands.live`) alone,
and what stays is wrapped between words.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foundry.base.files import read_file
from foundry.run.context import DEFAULT_VERBOSITY
from foundry.run.journal import BLOCKED, DOING, DONE, FAILED, INTERRUPTED, Entry
from foundry.run.stages import stage_of
from tasks.commands.screen import duration, terminal_columns, wrapped
from tasks.session import foundry, opened

if TYPE_CHECKING:
    from tasks.commands.live import Screen

_STYLES = {"done": "green", "FAILED": "red", "failed": "red", "warning:": "yellow", "error:": "red"}  # by first words


class FoundryReporter:
    """doit's reporter interface (doit.reporter.ConsoleReporter)."""

    desc = "progress of the cells, failures and totals at the end"

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        self.out = outstream
        self.total = 0
        self.finished = 0
        self.blocked = 0
        self.waiting: dict[str, None] = {}
        self.reasons: dict[str, str] = {}
        self.errors: list[str] = []
        self.began = time.monotonic()
        self.screen: Screen | None = None

    def initialize(self, tasks: dict[str, Any], selected: list[str]) -> None:
        """A pass begins: count what is to be done."""
        pending = pending_of(tasks, selected)
        self.total = self.finished + len(pending)
        self.waiting = dict.fromkeys(pending)
        if pending and self.out.isatty() and _verbosity() > 0:
            from tasks.commands import live

            if live.on_terminal():
                self.screen = self.screen or live.Screen(foundry())
                self.screen.start(self)

    def get_status(self, task: Any) -> None:
        """Nothing is shown before a task is known to run."""

    def execute_task(self, task: Any) -> None:
        """A task begins; called in the thread that does it."""
        found = stage_of(task.name)
        if not task.actions or found is None or _verbosity() == 0 or _given_up(task):
            return
        from foundry.run.moment import why_now

        stage, subject = found
        planned = task.meta or {}
        why = "failed before" if planned.get("state") == "failed" else why_now(
            foundry().states, stage.name, subject, planned.get("reason", ""))
        self.reasons[task.name] = f"({why})" if why else ""
        if self.screen is None:
            self._line(f"  {stage.verb} {subject}  {self.reasons[task.name]}".rstrip())

    def add_success(self, task: Any) -> None:
        """A task ended well."""
        if task.actions and stage_of(task.name):
            self._finish(task)
            entry = foundry().journal.entries.get(task.name)
            took = f"  {entry.seconds:.1f} s" if entry else ""
            self._show_log(entry)
            if _verbosity() > 0:
                counted = f"[{self.finished}/{max(self.total, self.finished)}, {self.left()} left]"
                self._line(f"  done {task.name}{took}  {self._change(task.name) if self.screen else counted}".rstrip())

    def add_failure(self, task: Any, fail: Any) -> None:
        """A task failed, or could not be tried because of another one, which is only counted."""
        if not task.actions:
            return
        self._finish(task)
        one = foundry()
        entry = one.journal.entries.get(task.name)
        if entry is not None and entry.error is not None:
            self._show_log(entry)
            self._line(f"  FAILED {task.name}: {entry.error.render()}")
        elif fail.get_name() == "UnmetDependency":
            self.blocked += 1
            one.journal.block(task.name, fail.message)
        else:
            note = str(fail.get_msg()).strip()
            one.journal.block(task.name, note)
            self._line(f"  FAILED {task.name}: {note}")

    def skip_uptodate(self, task: Any) -> None:
        """Not shown one by one; the table counts them. To ask a task for its actions would have doit make them."""
        if not task.has_subtask and stage_of(task.name):
            foundry().journal.up_to_date += 1

    def skip_ignore(self, task: Any) -> None:
        """Not used: marks to ignore tasks are not kept."""

    def cleanup_error(self, exception: Any) -> None:
        """Doit could not run a teardown action."""
        self.errors.append(exception.get_msg())

    def runtime_error(self, msg: str) -> None:
        """Doit itself found a fault in the graph."""
        self.errors.append(msg)

    def teardown_task(self, task: Any) -> None:
        """Nothing to show."""

    def complete_run(self) -> None:
        """A pass has ended."""
        if self.screen is not None:
            self.screen.stop()

    def show_table(self, *, ended: bool) -> None:
        """What is said at the end of the run, after its last pass, or before that, if it has not `ended` by itself."""
        one = opened()
        for error in self.errors:
            self._line(f"error: {error}")
        if one is None:
            return
        entries, seconds = list(one.journal.entries.values()), time.monotonic() - self.began
        for line in summary(entries, one.journal.up_to_date, one.journal.warnings, seconds, ended=ended):
            self._line(line)

    def left(self) -> int:
        """How many tasks are still to come."""
        return max(0, self.total - self.finished)

    def _change(self, name: str) -> str:
        """Why a task was done, where that is not just that it had never been."""
        why = self.reasons.get(name, "")
        return "" if why.endswith(" yet)") else why

    def _finish(self, task: Any) -> None:
        self.finished += not _given_up(task)
        self.waiting.pop(task.name, None)

    def _show_log(self, entry: Entry | None) -> None:
        if _verbosity() <= DEFAULT_VERBOSITY or entry is None or entry.log is None or not entry.log.exists():
            return
        for line in read_file(entry.log).decode(errors="replace").splitlines():
            self._line(f"    {line}")

    def _line(self, text: str) -> None:
        """One event, with further lines of what is to be known of it."""
        if self.screen is None:
            self.out.write(text + "\n")
            self.out.flush()
            return
        style = _STYLES.get(next(iter(text.split()), ""), "")
        for number, line in enumerate(text.splitlines() or [""]):
            replay = line.lstrip().startswith("replay: ")  # which is to be pasted
            for part in wrapped(line, 0 if replay else terminal_columns()):
                self.screen.print(part, "" if number else style)


def _verbosity() -> int:
    one = opened()
    return one.verbosity if one is not None else DEFAULT_VERBOSITY


def pending_of(tasks: Mapping[str, Any], selected: Sequence[str]) -> list[str]:
    """The pending tasks of stages among the selected ones and everything that they depend on."""
    return [name for name in reach_of(tasks, selected) if _pending(tasks[name])]


def reach_of(tasks: Mapping[str, Any], selected: Sequence[str]) -> list[str]:
    """The selected tasks and everything that they depend on."""
    seen: dict[str, None] = {}
    stack = list(reversed(selected))
    while stack:
        name = stack.pop()
        if name in seen or name not in tasks:
            continue
        seen[name] = None
        stack += tasks[name].task_dep
    return list(seen)


def _pending(task: Any) -> bool:
    return ((task.meta or {}).get("state") in ("pending", "failed") and bool(task.actions and stage_of(task.name))
            and not _given_up(task))


def _given_up(task: Any) -> bool:
    """Whether nothing is done for its cell: it failed before, and nothing changed since."""
    states = foundry().states
    cell = states.plan.by_name.get(task.name.partition(":")[2])
    return cell is not None and states.of(cell).given_up


def summary(
    entries: list[Entry], current: int, warnings: list[str], seconds: float, *, ended: bool = True
) -> list[str]:
    """What went wrong, with the logs, and how much was done in how many wall seconds."""
    lines = [f"warning: {warning}" for warning in warnings]
    rows = [entry for entry in entries if stage_of(entry.name)]
    count = {state: sum(entry.state == state for entry in rows) for state in (DONE, FAILED, BLOCKED)}
    bad = [entry for entry in rows if entry.state not in (DONE, BLOCKED)]
    lines += [""] if rows else []
    width = max((len(entry.name) for entry in bad), default=0)
    for entry in bad:
        log = (entry.error.log if entry.error else None) or entry.log
        state = INTERRUPTED if entry.state == DOING else entry.state
        took = f"{entry.seconds:7.1f} s" if entry.seconds else " " * 9
        lines.append(f"  {state:<12}{entry.name:<{width}}  {took}  {log if log and log.exists() else ''}".rstrip())
    if rows:
        lines.append(f"{count[DONE]} done, {current} up to date, {count[FAILED]} failed, {count[BLOCKED]} blocked"
                     + (f", {len(bad) - count[FAILED]} interrupted" if len(bad) > count[FAILED] else "")
                     + f" in {duration(seconds)}")
    elif not entries and ended:
        lines.append(f"nothing to do: {current} up to date")
    return lines
