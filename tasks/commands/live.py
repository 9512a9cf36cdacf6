"""A terminal's live view of a run: what is at work and for how long, what is left and how long that may take.

Lines that stay are printed above it, in colour where that is allowed (NO_COLOR, TERM).
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import IO, Protocol, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from foundry.base.plain_text import plain
from foundry.cell.run import measured_times
from foundry.plan.cells import Cell
from foundry.run.context import Foundry
from foundry.run.journal import DONE, Entry
from foundry.run.stages import stage_of
from tasks.commands.screen import duration
from tasks.commands.workflow import Lasting, unguarded

_ROWS = 3  # of the terminal that are left free


def on_terminal() -> bool:
    """Whether a live view can be shown: both streams are a terminal that can move its cursor."""
    return sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class Progress(Protocol):
    """What the view shows of a run: how many tasks are not tried, when it began (`time.monotonic`)."""

    blocked: int
    began: float

    @property
    def waiting(self) -> Mapping[str, None]:
        """The tasks that are to come, running ones among them."""


class Screen:
    """The view, and the lines above it."""

    def __init__(self, one: Foundry) -> None:
        self._one = one
        self._estimate = Estimate(one, one.states.plan.cells)
        self._console = Console(file=cast(IO[str], Lasting(unguarded(sys.stdout))))
        self._live: Live | None = None

    def start(self, run: Progress) -> None:
        """Show it, below all that is printed."""
        self._live = Live(console=self._console, get_renderable=lambda: self._render(run), refresh_per_second=2,
                          transient=True)
        self._live.start()

    def stop(self) -> None:
        """Take it away; what was printed stays."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def print(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self._console.print(Text(plain(text), style), soft_wrap=True)

    def _render(self, run: Progress) -> Text:
        """Never wider nor higher than the terminal, whose lines it takes back."""
        now, running = time.monotonic(), self._one.journal.running()
        most = max(1, self._console.height - _ROWS)
        shown = running if len(running) <= most else running[:most - 1]
        lines = [self._at_work(entry, now) for entry in shown]
        lines += [f"  and {len(running) - len(shown)} more"] if len(running) > len(shown) else []
        left = self._estimate.left(run.waiting, running, now)
        counts = [f"{len(running)} running", f"{len(run.waiting)} left",
                  *([f"{run.blocked} blocked"] if run.blocked else []), duration(round(now - run.began))]
        total = f"  {', '.join(counts)}" + (f", about {duration(round(left))} to go" if left else "")
        return Text(plain("\n".join([*lines, total])), no_wrap=True, overflow="ellipsis")

    def _at_work(self, entry: Entry, now: float) -> str:
        found, usual = stage_of(entry.name), self._estimate.own.get(entry.name)
        what = f"{found[0].verb} {found[1]}" if found is not None else f"running {entry.name}"
        return f"  {what}  {now - entry.started:.0f} s" + (f" of about {usual:.0f} s" if usual else "")


class Estimate:
    """How long tasks take, by what they took before: a task's own time, else the median of its stage."""

    def __init__(self, one: Foundry, cells: Iterable[Cell]) -> None:
        self._journal, self._slots = one.journal, one.schedule.slots
        self.own: dict[str, float] = {
            f"{stage}:{cell.name}": seconds
            for cell in cells for stage, seconds in measured_times(one, cell).items() if stage_of(stage)
        }

    def left(self, waiting: Iterable[str], running: Iterable[Entry], now: float) -> float | None:
        """Seconds until all is done; None where nobody knows what the longest stage takes, or nothing is left."""
        known = defaultdict[str, list[float]](list)
        for name, seconds in self.own.items():
            known[_stage(name)].append(seconds)
        for entry in list(self._journal.entries.values()):
            if entry.state == DONE:
                known[_stage(entry.name)].append(entry.seconds)
        medians = {stage: median(found) for stage, found in known.items()}
        spent = {entry.name: now - entry.started for entry in running}
        rest = []
        for name in list(waiting):
            usual = self.own.get(name, medians.get(_stage(name)))
            if usual is None and _stage(name) == "module":
                return None
            rest.append(max(0.0, (usual or 0.0) - spent.get(name, 0.0)))
        return max(sum(rest) / self._slots, *rest) if rest else None


def _stage(task: str) -> str:
    return task.partition(":")[0]
