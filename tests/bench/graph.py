"""A synthetic graph: 10,000 cells cost at most 11 x what 1,000 cost in `doit list`, and stay under 250 MB.

Nothing is built. Drivers and kernels both grow. Compared is CPU time: `doit
list` works in one thread and waits for nothing. The memory is the most that
any run took, the first (which checks the schemas) too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.child import Cost, cost_of, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import drivers_of, synthetic_clone, timed_environment
from tests.harness.clone import Clone

SMALL, LARGE = (20, 50), (50, 200)  # drivers, kernels
LIMIT_COST, LIMIT_MEGABYTES = 11.0, 250.0
TIMES = 4


def measure(folder: Path) -> Iterator[Figure]:
    """Cost and peak memory of `doit list`."""
    small, large = _clone(folder / "small", *SMALL), _clone(folder / "large", *LARGE)
    few, many = in_turns(TIMES, lambda: _list(small), lambda: _list(large))
    least, most = min(cost.cpu for cost in few), min(cost.cpu for cost in many)
    yield at_most(
        "doit list, 10,000 cells / 1,000 cells", most / least, LIMIT_COST, detail=f"{most:.2f} s, {least:.2f} s"
    )
    yield at_most(
        "doit list, 10,000 cells, peak memory", max(cost.peak for cost in many) / 1e6, LIMIT_MEGABYTES, "MB"
    )


def _clone(folder: Path, drivers: int, kernels: int) -> Clone:
    clone = synthetic_clone(folder, drivers_of(drivers), releases=kernels, kernels=kernels)
    shown = clone.doit("list", "--quiet").out.splitlines()
    found = sum(1 for name in shown if name.startswith("image:"))
    if found != drivers * kernels:
        raise RuntimeError(f"the graph has {found} cells, not {drivers * kernels}")
    return clone


def _list(clone: Clone) -> Cost:
    return cost_of(clone.command("list"), clone.root, timed_environment(clone))
