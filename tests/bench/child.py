"""Child processes that are measured: wall time, CPU time, peak memory.

Absolute times say little on a machine that others use as well. So callers
compare minima of runs that take turns: the minimum is what the work costs
when nothing else is in the way.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds on the clock, seconds of CPU, peak resident bytes."""

    wall: float
    cpu: float
    peak: int


def cost_of(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Cost:
    """Run a command to its end, its output thrown away; RuntimeError when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} failed with exit code {process.returncode} in {cwd}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)  # getrusage(2): in KiB on Linux


def in_turns(times: int, *works: Callable[[], Cost]) -> list[list[Cost]]:
    """Each work `times` times, one after the other, so that a disturbance meets all of them."""
    costs: list[list[Cost]] = [[] for _ in works]
    for _ in range(times):
        for number, work in enumerate(works):
            costs[number].append(work())
    return costs
