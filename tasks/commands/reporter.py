"""What a run shows: progress while it works, a table and warnings at the end.

On a terminal the cells that are being worked on are shown live; elsewhere each
event is one plain line.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from foundry.base.files import read_file
from foundry.base.plain_text import plain
from foundry.run.context import DEFAULT_VERBOSITY
from foundry.run.journal import BLOCKED, DOING, DONE, FAILED, INTERRUPTED, Entry
from foundry.run.stages import stage_of
from tasks.commands.workflow import Lasting, unguarded
from tasks.session import foundry, opened


class FoundryReporter:
    """doit's reporter interface (doit.reporter.ConsoleReporter)."""

    desc = "progress of the cells, a table at the end"

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        self.out = outstream
        self.total = 0
        self.finished = 0
        self.errors: list[str] = []
        self.live: _Live | None = None

    def initialize(self, tasks: dict[str, Any], selected: list[str]) -> None:
        """A pass begins: count what is to be done."""
        pending = pending_of(tasks, selected)
        self.total = self.finished + len(pending)
        if pending and sys.stderr.isatty() and sys.stdout.isatty():
            self.live = _Live(self)
            self.live.start()

    def get_status(self, task: Any) -> None:
        """Nothing is shown before a task is known to run."""

    def execute_task(self, task: Any) -> None:
        """A task begins."""
        if task.actions and stage_of(task.name) and self._verbosity() > 0 and not _given_up(task):
            why = (task.meta or {}).get("reason", "")
            self._line(f"  {_work(task.name)}" + (f"  ({why})" if why else ""))

    def add_success(self, task: Any) -> None:
        """A task ended well."""
        if task.actions and stage_of(task.name):
            self.finished += 1
            entry = foundry().journal.entries.get(task.name)
            took = f"  {entry.seconds:.1f} s" if entry else ""
            self._show_log(entry)
            if self._verbosity() > 0:
                total = max(self.total, self.finished)
                self._line(f"  done {task.name}{took}  [{self.finished}/{total}, {self.left()} left]")

    def add_failure(self, task: Any, fail: Any) -> None:
        """A task failed, or could not be tried because of another one."""
        if not task.actions:
            return
        self.finished += not _given_up(task)
        one = foundry()
        entry = one.journal.entries.get(task.name)
        if entry is None or entry.error is None:
            note = fail.message if fail.get_name() == "UnmetDependency" else str(fail.get_msg()).strip()
            one.journal.block(task.name, note)
            self._line(f"  blocked {task.name}: needs {note}" if fail.get_name() == "UnmetDependency" else
                       f"  FAILED {task.name}: {note}")
            return
        self._show_log(entry)
        self._line(f"  FAILED {task.name}: {entry.error.render()}")

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
        if self.live is not None:
            self.live.stop()
            self.live = None

    def show_table(self) -> None:
        """The table at the end of the run, after its last pass."""
        one = opened()
        for error in self.errors:
            self._line(f"error: {error}")
        if one is None:
            return
        for line in summary(list(one.journal.entries.values()), one.journal.up_to_date, one.journal.warnings):
            self._line(line)

    def left(self) -> int:
        """How many tasks are still to come."""
        return max(0, self.total - self.finished)

    @staticmethod
    def _verbosity() -> int:
        one = opened()
        return one.verbosity if one is not None else DEFAULT_VERBOSITY

    def _show_log(self, entry: Entry | None) -> None:
        if self._verbosity() <= DEFAULT_VERBOSITY or entry is None or entry.log is None or not entry.log.exists():
            return
        for line in read_file(entry.log).decode(errors="replace").splitlines():
            self._line(f"    {line}")

    def _line(self, text: str) -> None:
        if self.live is not None:
            self.live.print(text)
        else:
            self.out.write(text + "\n")
            self.out.flush()


def summary(entries: list[Entry], current: int, warnings: list[str]) -> list[str]:
    """The table of what was done, skipped and failed, with the logs."""
    lines = [f"warning: {warning}" for warning in warnings]
    rows = [entry for entry in entries if stage_of(entry.name)]
    if rows:
        width = max(len(entry.name) for entry in rows)
        lines.append("")
        for entry in rows:
            what = entry.error.sentence if entry.error else entry.note
            log = (entry.error.log if entry.error else None) or entry.log
            log = log if log is not None and log.exists() else None
            state = INTERRUPTED if entry.state == DOING else entry.state
            took = f"{entry.seconds:7.1f} s" if entry.seconds else " " * 9
            lines.append(f"  {state:<12}{entry.name:<{width}}  {took}  {what or log or ''}".rstrip())
            if what and log:
                lines.append(f"{'':<{width + 27}}log: {log}")
    count = {state: sum(1 for entry in rows if entry.state == state) for state in (DONE, FAILED, BLOCKED)}
    interrupted = len(rows) - sum(count.values())
    lines.append(
        f"{count[DONE]} done, {current} up to date, {count[FAILED]} failed, {count[BLOCKED]} blocked"
        + (f", {interrupted} interrupted" if interrupted else "")
        if rows else "" if entries else f"nothing to do: {current} up to date"
    )
    return lines if lines[-1] else lines[:-1]


class _Live:
    """A terminal's live view: the running tasks with their times, and how many are left."""

    def __init__(self, reporter: FoundryReporter) -> None:
        from rich.console import Console
        from rich.live import Live

        self.reporter = reporter
        self.console = Console(file=cast(IO[str], Lasting(unguarded(sys.stdout))))
        self.view = Live(console=self.console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self.lock = threading.Lock()

    def start(self) -> None:
        self.view.start()

    def stop(self) -> None:
        self.view.stop()

    def print(self, text: str) -> None:
        with self.lock:
            self.console.print(plain(text), markup=False, highlight=False)

    def _render(self) -> Any:
        from rich.text import Text

        now = time.monotonic()
        running = foundry().journal.running()
        lines = [f"  {_work(entry.name)}  {now - entry.started:.0f} s" for entry in running]
        return Text(plain("\n".join([*lines, f"  {len(running)} running, {self.reporter.left()} left"])))


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
    return (task.meta or {}).get("state") in ("pending", "failed") and bool(task.actions and stage_of(task.name))


def _given_up(task: Any) -> bool:
    """Whether nothing is done for it: it failed before, and nothing changed since."""
    return bool((task.meta or {}).get("state") == FAILED)


def _work(name: str) -> str:
    """What a task does: ``compiling 2.22.2.0-5.14.0-427.el9_4.x86_64``."""
    found = stage_of(name)
    return f"{found[0].verb} {found[1]}" if found is not None else f"running {name}"
