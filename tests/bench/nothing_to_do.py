"""Nothing to do, 3 drivers x 210 releases over 60 kernels: at most 2.8 x `python -c "import doit"`.

Both are whole processes of the same Python with byte code that is already
written; first it is made sure that the run does nothing and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.child import cost_of, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import fill, synthetic_clone, timed_environment
from tests.harness.clone import Clone

DRIVERS = ("2.16.7.0", "2.22.2.0", "2.28.0.0")
RELEASES, KERNELS = 210, 60
LIMIT = 2.8
TIMES = 15


def measure(folder: Path) -> Iterator[Figure]:
    """Wall time of `doit build`, in imports of doit."""
    clone = synthetic_clone(folder / "clone", DRIVERS, releases=RELEASES, kernels=KERNELS)
    cells = fill(clone)
    _does_nothing(clone, cells)
    env = timed_environment(clone)
    imports, builds = in_turns(
        TIMES,
        lambda: cost_of([sys.executable, "-c", "import doit"], clone.root, env),
        lambda: cost_of(clone.command("build"), clone.root, env),
    )
    least, most = min(cost.wall for cost in imports), min(cost.wall for cost in builds)
    yield at_most(
        f"nothing to do, {cells} cells / import doit", most / least, LIMIT,
        detail=f"{most * 1000:.0f} ms, {least * 1000:.0f} ms",
    )


def _does_nothing(clone: Clone, cells: int) -> None:
    """The run says so, starts no process and opens no connection."""
    if cells != len(DRIVERS) * KERNELS:
        raise RuntimeError(f"the matrix gives {cells} cells")
    run = clone.doit("build")
    said = f"nothing to do: {2 * cells + 2 * len(DRIVERS)} up to date"
    if run.code != 0 or run.processes or run.connections or said not in run.out.splitlines():
        raise RuntimeError(f"the run was not idle: {run.processes or run.connections or run.text[-2000:]}")
