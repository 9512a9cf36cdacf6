"""What a run did: one entry a task, for the progress, the table at the end and the exit code."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import EXIT_TASK_FAILED, FoundryError, from_os
from foundry.net.traffic import NOTHING, Traffic, metered

DONE, DOING, FAILED, BLOCKED, INTERRUPTED = "done", "doing", "failed", "blocked", "interrupted"


@dataclass
class Entry:
    """One task of this run. `seconds` is wall time; `traffic` what went over the network for it."""

    name: str
    state: str = DOING
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    traffic: Traffic = NOTHING
    error: FoundryError | None = None
    note: str = ""
    log: Path | None = None


class Journal:
    """Entries in the order in which tasks began. Safe to use from several threads."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.warnings: list[str] = []
        self.at_the_end = False  # whether warnings wait for the end of a run
        self.lacks = False  # something that is wanted can't be tried
        self.up_to_date = 0
        self._lock = threading.Lock()

    def perform(self, name: str, work: Callable[[], None], log: Path | None = None) -> Entry:
        """Do the work of a task and note how it ended; only a defect of ours raises."""
        entry = Entry(name, log=log)
        with self._lock:
            self.entries[name] = entry
        with metered() as meter:
            try:
                self._try(entry, work)
            finally:
                entry.seconds = time.monotonic() - entry.started
                entry.traffic = meter.read()
        return entry

    @staticmethod
    def _try(entry: Entry, work: Callable[[], None]) -> None:
        try:
            work()
            entry.state = DONE
        except FoundryError as error:
            entry.state, entry.error = FAILED, error
        except OSError as error:
            entry.state, entry.error = FAILED, from_os(error)
        except BaseException:  # the entry says that it was interrupted; it is raised on
            entry.state = INTERRUPTED
            raise

    def block(self, name: str, note: str) -> None:
        """The task was not tried because of another one."""
        with self._lock:
            self.entries[name] = Entry(name, BLOCKED, note=note)

    def warn(self, text: str) -> None:
        """Something that is not fatal; shown at the end of a run, and at once by other commands."""
        with self._lock:
            self.warnings.append(text)
        if not self.at_the_end:
            print(f"warning: {text}", file=sys.stderr)

    def lack(self, text: str) -> None:
        """Something that is wanted can't be tried: a warning, and no good end."""
        self.lacks = True
        self.warn(text)

    def running(self) -> list[Entry]:
        """What is being done now."""
        with self._lock:
            return [entry for entry in self.entries.values() if entry.state == DOING]

    def exit_code(self) -> int:
        """0, or the worst of the failures: a failed task, or what was not tried, before something missing outside."""
        codes = {entry.error.exit_code for entry in self.entries.values() if entry.error is not None}
        if EXIT_TASK_FAILED in codes or self.lacks:
            return EXIT_TASK_FAILED
        return max(codes, default=0)
