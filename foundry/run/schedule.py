"""How the cells of one run share the machine, and which of them are compiled."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable


class Schedule:
    """Counts what is compiling and what is still to come. Safe to use from several threads."""

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or len(os.sched_getaffinity(0))
        self.slots = 1
        self._lock = threading.Lock()
        self._to_compile: set[str] = set()
        self._compiling = 0
        self._compiled: set[str] = set()

    def expect(self, cells: Iterable[str], slots: int) -> None:
        """The names of the cells that this run will compile, and how many at once."""
        with self._lock:
            self._to_compile = set(cells)
            self.slots = max(1, slots)

    def begin_compile(self, cell: str) -> int:
        """How many jobs `make` may use: the cores, shared by the cells that run at once."""
        with self._lock:
            self._to_compile.discard(cell)
            self._compiling += 1
            beside = min(self.slots, self._compiling + len(self._to_compile))
            return max(1, -(-self.cores // beside))

    def end_compile(self) -> None:
        """A cell's compile is over, however it ended."""
        with self._lock:
            self._compiling -= 1

    def compiled(self, cell: str) -> None:
        """The cell is compiled, or turned out to be: for this run it needs its toolkit no longer."""
        with self._lock:
            self._compiled.add(cell)

    def is_compiled(self, cell: str) -> bool:
        """Whether this run compiled the cell."""
        with self._lock:
            return cell in self._compiled
