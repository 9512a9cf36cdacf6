"""What stages cost, in seconds, from what this checkout measured.

The costs are those of `times.json`, where cells have been built in this checkout: a cell's own, else the median of its
driver's, else of all. Without any, this model says what they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from statistics import median

from foundry.cell.run import measured_times
from foundry.plan.cells import Cell
from foundry.run.context import Foundry

# Seconds. A toolkit is 1-2 GB; compiles of the vendor's driver were measured at 16-19 s on two cores.
PULL, COMPILE, SIGN, IMAGE, BOOT, PUSH = 90.0, 20.0, 0.1, 2.0, 10.0, 5.0
FETCH = 5.0
_PULLED = 1.0  # a shorter wait says that the toolkit was there


class Costs:
    """Seconds of stages; `pull` is that of a toolkit."""

    def __init__(self, foundry: Foundry) -> None:
        cells = foundry.states.plan.cells
        self._own = {cell.name: measured_times(foundry, cell) for cell in cells}
        drivers: dict[str, list[float]] = defaultdict(list)
        for cell in cells:
            if "module" in self._own[cell.name]:
                drivers[cell.driver].append(_compile(self._own[cell.name]))
        pulls = [times["pull"] for times in self._own.values() if times.get("pull", 0.0) >= _PULLED]
        self._drivers = {driver: median(found) for driver, found in drivers.items()}
        everything = [seconds for found in drivers.values() for seconds in found]
        self._typical = median(everything) if everything else COMPILE
        self.pull = median(pulls) if pulls else PULL

    def of(self, cell: Cell, stages: Collection[str]) -> float:
        """Seconds of these stages of a cell, without its toolkit's pull."""
        times = self._own.get(cell.name, {})
        compile = _compile(times) if "module" in times else self._drivers.get(cell.driver, self._typical)
        costs = {"module": compile, "sign": SIGN, "image": times.get("image", IMAGE), "boot": times.get("boot", BOOT),
                 "push": PUSH}
        return round(sum(costs[stage] for stage in stages), 3)


def _compile(times: Mapping[str, float]) -> float:
    return max(0.0, times["module"] - times.get("pull", 0.0))
