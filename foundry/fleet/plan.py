"""What is pending, with what it will cost, and how it spreads over machines.

The costs are those of `times.json`, where cells have been built in this
checkout: a cell's own, else the median of its driver's, else of all. Without
any, this model says what they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import read_json
from foundry.cell.run import TIMES_FILE
from foundry.fleet.spread import Shard, Work, spread
from foundry.ledger.ledgers import fetch_missing
from foundry.ledger.publish import published
from foundry.plan.selection import faults_in_the_way, gaps_of
from foundry.plan.state import CellState
from foundry.run.context import Foundry, has_ledger

# Seconds. A toolkit is 1-2 GB; compiles of the vendor's driver were measured at 16-19 s on two cores.
PULL, COMPILE, IMAGE, PUSH = 90.0, 20.0, 2.0, 5.0
_PULLED = 1.0  # a shorter wait says that the toolkit was there


def plan(foundry: Foundry, jobs: int) -> list[Shard]:
    """The pending cells as shards; asks for ledgers that are not here. Raises ConfigError and what asking raises."""
    if not foundry.settings.publish:
        file = f"config/profiles/{foundry.config.profile.name}.yaml"
        raise ConfigError([Fault(file, "$.publish", "names no registry to push to")],
                          hint="shards publish what they build: choose another profile, `doit profile ecr`")
    faults = faults_in_the_way(("publish",), foundry.states.plan, foundry.config)
    if faults:
        raise ConfigError(faults, hint="`doit toolkit` finds releases, kernels and the base image")
    for gap in gaps_of(("publish",), foundry.states.plan):
        foundry.journal.warn(gap.render())
    drivers = [driver for driver in foundry.states.plan.by_driver if not has_ledger(foundry, driver)]
    if drivers:
        fetch_missing(foundry, drivers)
        foundry.states.forget(drivers)
    states = [state for state in foundry.states.cells.values() if not published(foundry, state)]
    costs = _Costs(foundry, states)
    return spread([costs.work(state) for state in states], jobs=jobs, pull=costs.pull)


class _Costs:
    """Seconds of stages, from what this checkout measured."""

    def __init__(self, foundry: Foundry, states: Iterable[CellState]) -> None:
        self._foundry = foundry
        self._own = {state.cell.name: self._times(state) for state in foundry.states.cells.values()} if states else {}
        drivers: dict[str, list[float]] = defaultdict(list)
        pulls = []
        for state in foundry.states.cells.values():
            times = self._own.get(state.cell.name, {})
            pulls += [times["pull"]] if times.get("pull", 0.0) >= _PULLED else []
            if "module" in times:
                drivers[state.cell.driver].append(_compile(times))
        self._drivers = {driver: median(found) for driver, found in drivers.items()}
        everything = [seconds for found in drivers.values() for seconds in found]
        self._typical = median(everything) if everything else COMPILE
        self.pull = median(pulls) if pulls else PULL

    def work(self, state: CellState) -> Work:
        """The cell with its cost; one that is published and only lacks a registry or a tag needs no toolkit."""
        cell = state.cell
        if state.adopted:
            return Work(cell.name, "", cell.arch, PUSH)
        times = self._own.get(cell.name, {})
        seconds = _compile(times) if "module" in times else self._drivers.get(cell.driver, self._typical)
        return Work(cell.name, cell.toolkit, cell.arch, round(seconds + times.get("image", IMAGE) + PUSH, 3))

    def _times(self, state: CellState) -> Mapping[str, float]:
        found = read_json(self._foundry.cell_folder(state.cell) / TIMES_FILE)
        return {
            name: float(value) for name, value in (found.items() if isinstance(found, dict) else ())
            if isinstance(value, int | float) and 0 <= value < 24 * 3600  # no stage takes a day
        }


def _compile(times: Mapping[str, float]) -> float:
    return max(0.0, times["module"] - times.get("pull", 0.0))
