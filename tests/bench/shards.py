"""The plan of 5,000 pending cells: within 2 x `doit list`; its end against what can't be beaten and the plain plan.

10 drivers x 500 kernels are more toolkits than a matrix has jobs; 25 drivers x
200 kernels are fewer. Costs that differ are those of cells that have been built
before: every driver has its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry.fleet.costs import COMPILE, IMAGE, PULL, PUSH
from foundry.fleet.spread import MOST_JOBS
from tests.bench.child import Cost, cost_of, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import synthetic_clone, timed_environment
from tests.harness.clone import Clone
from tests.harness.fleet_plan import lower_bound, whole_toolkits
from tests.harness.ledgers import ledger_document

TIMES, LIMIT_COST = 4, 2.0
PULLED, MADE = 80.0, 1.5  # seconds of a pull and an image in what was measured
LIMIT_IDLE = 35.0  # % of the machines' time until the last ends


@dataclass(frozen=True)
class Case:
    """So many drivers x kernels, and how far over the lower bound the end may be."""

    name: str
    drivers: int
    kernels: int
    even: float
    uneven: float


# A plan may end a minute later than the earliest for fewer machines, much of a short run. 257: one machine at least has
# a pull and a cell beside a whole toolkit; 20: of 25 cells some machines have three. The bound knows neither.
CASES = (
    Case("500 toolkits", 10, 500, 1.05, 1.05),
    Case("200 toolkits", 25, 200, 1.15, 1.15),
    Case("40 toolkits", 3, 40, 1.50, 1.35),
    Case("257 toolkits", 10, 257, 1.50, 1.35),
    Case("20 toolkits", 25, 20, 1.60, 1.35),
)


def measure(folder: Path) -> Iterator[Figure]:
    """Time of the plan, and what it is worth."""
    for case in CASES:
        clone = _clone(folder / case.name.replace(" ", "-"), case.drivers, case.kernels)
        if case is CASES[0]:
            yield _time(clone)
        rows = json.loads(clone.doit("status", "--json").out)
        cells = {f"{row['driver']}-{row['kernel']}": (row["kernel"], COMPILE + IMAGE + PUSH) for row in rows}
        yield from _worth(case.name, clone, Costs(cells, PULL), case.even)
        cells = {name: (kernel, seconds + MADE + PUSH) for name, kernel, seconds in _differ(clone, rows)}
        yield from _worth(f"{case.name}, uneven", clone, Costs(cells, PULLED), case.uneven)


def _time(clone: Clone) -> Figure:
    lists, plans = in_turns(TIMES, lambda: _cost(clone, "list"), lambda: _cost(clone, "shards", "--json"))
    least, most = min(cost.cpu for cost in lists), min(cost.cpu for cost in plans)
    return at_most("doit shards, 5,000 pending / doit list", most / least, LIMIT_COST,
                   detail=f"{most:.2f} s, {least:.2f} s")


@dataclass(frozen=True)
class Costs:
    """By cell: its toolkit and seconds; the seconds of a pull."""

    cells: dict[str, tuple[str, float]]
    pull: float


def _worth(name: str, clone: Clone, costs: Costs, limit: float) -> Iterator[Figure]:
    """The end, which must be that of the plan's own parts, and what the machines do until then."""
    shards = _plan(clone, set(costs.cells))
    ends = [_seconds(shard, costs) for shard in shards]
    if any(abs(shard["seconds"] - end) > 1 for shard, end in zip(shards, ends, strict=True)):
        raise RuntimeError(f"{name}: a shard's seconds are not those of its cells and pulls")
    end, bound = max(ends), lower_bound(costs.cells, MOST_JOBS, costs.pull)
    whole = whole_toolkits(costs.cells, MOST_JOBS, costs.pull)
    pulls = sum(len(shard["toolkits"]) for shard in shards)
    yield at_most(f"{name}: end / lower bound", end / bound, limit,
                  detail=f"{end:.0f} s, {bound:.0f} s; {len(shards)} shards, {pulls} pulls")
    yield at_most(f"{name}: end / whole toolkits", round(end / whole, 6), 1.0, detail=f"{whole:.0f} s")
    yield at_most(f"{name}: machines idle", (1 - sum(ends) / (end * len(ends))) * 100, LIMIT_IDLE, "%")


def _seconds(shard: dict[str, Any], costs: Costs) -> float:
    cells = [costs.cells[task.removeprefix("push:")] for task in shard["tasks"].split()]
    return len({toolkit for toolkit, _ in cells}) * costs.pull + sum(seconds for _, seconds in cells)


def _plan(clone: Clone, cells: set[str]) -> list[dict[str, Any]]:
    run = clone.doit("shards", "--json")
    if run.code != 0 or run.connections or run.processes:
        raise RuntimeError(run.text[-2000:])
    shards: list[dict[str, Any]] = json.loads(run.out)["include"]
    tasks = [task.removeprefix("push:") for shard in shards for task in shard["tasks"].split()]
    if len(tasks) != len(cells) or set(tasks) != cells:
        raise RuntimeError(f"{len(tasks)} cells are planned, not {len(cells)}, or others")
    return shards


def _clone(folder: Path, drivers: int, kernels: int) -> Clone:
    """It publishes somewhere, and knows that nothing is published yet."""
    versions = _versions(drivers)
    clone = synthetic_clone(folder, versions, releases=kernels, kernels=kernels)
    clone.write("config/profiles/local.yaml", json.dumps({
        "image_repository": "localhost/neuron-driver",
        "publish": [{"registry": "registry.bench", "repository": "kmod"}],
    }))
    for version in versions:
        clone.write(f"build/local/release/{version}/images.json",
                    ledger_document(driver=version))
    return clone


def _differ(clone: Clone, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Times as if all had been built before: drivers differ much, kernels a little. Cells, kernels, their compiles."""
    chance = random.Random(7)
    by_driver = {driver: chance.uniform(10, 120) for driver in sorted({row["driver"] for row in rows})}
    for row in rows:
        name = f"{row['driver']}-{row['kernel']}"
        seconds = round(by_driver[row["driver"]] * chance.uniform(0.7, 1.3), 3)
        clone.write(f"build/local/cells/{name}/times.json",
                    {"module": round(seconds + PULLED, 3), "pull": PULLED, "image": MADE})
        yield name, row["kernel"], seconds


def _versions(drivers: int) -> list[str]:
    return [f"2.{10 + number}.{number % 7}.0" for number in range(drivers)]


def _cost(clone: Clone, *args: str) -> Cost:
    return cost_of(clone.command(*args), clone.root, timed_environment(clone))
