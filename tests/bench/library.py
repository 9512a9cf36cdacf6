"""A library of 10,000 cells that are all built: what it costs to look at it, and to have nothing to do.

CPU time is counted in starts of a Python that imports doit. A build of one release is
compared with `doit list` of 100 cells: it must not pay for the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.child import Cost, cost_of, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import drivers_of, fill, synthetic_clone, timed_environment
from tests.harness.clone import Clone

SMALL, LARGE = (10, 10), (50, 200)  # drivers, kernels
RELEASE = "4.18.15"
LIMIT_CPU, LIMIT_MEGABYTES, LIMIT_NARROWED = 55.0, 250.0, 2.0
TIMES, TIMES_SMALL = 3, 9


def measure(folder: Path) -> Iterator[Figure]:
    """Cost and peak memory of `doit list`, `doit status` and `doit build`."""
    small, large = _built(folder / "small", *SMALL), _built(folder / "large", *LARGE)
    driver = drivers_of(LARGE[0])[0]
    _does_nothing(large, driver)
    imports, lists, narrowed = in_turns(
        TIMES_SMALL,
        lambda: cost_of([sys.executable, "-c", "import doit"], small.root, timed_environment(small)),
        lambda: _doit(small, "list"),
        lambda: _doit(large, f"build:{driver}@{RELEASE}"),
    )
    unit = min(cost.cpu for cost in imports)
    commands = ("list", "status", "build")
    for command, costs in zip(commands, in_turns(
        TIMES, *(partial(_doit, large, command) for command in commands)
    ), strict=True):
        least = min(cost.cpu for cost in costs)
        yield at_most(f"doit {command}, 10,000 built cells / import doit", least / unit, LIMIT_CPU,
                      detail=f"{least:.2f} s of CPU, {unit * 1000:.0f} ms")
        yield at_most(f"doit {command}, 10,000 built cells, memory", max(cost.peak for cost in costs) / 1e6,
                      LIMIT_MEGABYTES, "MB")
    few, one = min(cost.cpu for cost in lists), min(cost.cpu for cost in narrowed)
    yield at_most("one release of 10,000 cells / list of 100", one / few, LIMIT_NARROWED,
                  detail=f"{one * 1000:.0f} ms, {few * 1000:.0f} ms")


def _built(folder: Path, drivers: int, kernels: int) -> Clone:
    clone = synthetic_clone(folder, drivers_of(drivers), releases=kernels, kernels=kernels)
    cells = fill(clone)
    if cells != drivers * kernels:
        raise RuntimeError(f"the matrix gives {cells} cells, not {drivers * kernels}")
    return clone


def _does_nothing(clone: Clone, driver: str) -> None:
    """The narrowed run is of one cell, which is done; this also checks the configuration's form, once."""
    run = clone.doit(f"build:{driver}@{RELEASE}")
    if run.code != 0 or "nothing to do: 4 up to date" not in run.out.splitlines():
        raise RuntimeError(f"the run was not of one cell: {run.text[-2000:]}")


def _doit(clone: Clone, command: str) -> Cost:
    return cost_of(clone.command(command), clone.root, timed_environment(clone))
