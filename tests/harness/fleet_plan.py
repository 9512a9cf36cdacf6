"""What plans of shards are measured against, by arithmetic of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import ceil

Costs = Mapping[str, tuple[str, float]]  # by cell: its toolkit, seconds


def lower_bound(costs: Costs, jobs: int, pull: float) -> float:
    """Seconds that no plan can do without.

    A machine that ends by then has no time for more than its pulls and cells; a toolkit is pulled as often as its
    cells don't fit into what a pull leaves.
    """
    by_toolkit: dict[str, float] = defaultdict(float)
    for toolkit, seconds in costs.values():
        by_toolkit[toolkit] += seconds

    def may_be(end: float) -> bool:
        pulls = sum(ceil(seconds / (end - pull) - 1e-9) for seconds in by_toolkit.values())
        return pulls * pull + sum(by_toolkit.values()) <= jobs * end

    too_early = pull + max(seconds for _, seconds in costs.values())
    if may_be(too_early):
        return too_early
    known = pull * len(by_toolkit) + sum(by_toolkit.values())
    while known - too_early > 0.1:
        middle = (known + too_early) / 2
        known, too_early = (middle, too_early) if may_be(middle) else (known, middle)
    return too_early


def whole_toolkits(costs: Costs, jobs: int, pull: float) -> float:
    """Seconds of the plain plan: no toolkit is cut, and each, the longest first, goes to the machine free first."""
    by_toolkit: dict[str, float] = defaultdict(lambda: pull)
    for toolkit, seconds in costs.values():
        by_toolkit[toolkit] += seconds
    machines = [0.0] * jobs
    for seconds in sorted(by_toolkit.values(), reverse=True):
        machines[machines.index(min(machines))] += seconds
    return max(machines)
