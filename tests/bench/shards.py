"""The plan of 5,000 pending cells: within 2 x `doit list`, even costs, no toolkit pulled twice.

10 drivers x 500 kernels are more toolkits than a matrix has jobs; 25 drivers x
200 kernels are fewer. Costs that differ are those of cells that have been built
before: every driver has its own, and a part of the cells is published already.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.child import Cost, cost_of, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import synthetic_clone, timed_environment
from tests.harness.clone import Clone
from tests.harness.ledgers import ledger_document

MORE, FEWER = (10, 500), (25, 200)  # drivers, kernels: more and fewer toolkits than jobs
FEW, ONE_MORE = (3, 40), (10, 257)  # few, which differ most; one more than jobs, so that two are one machine's
LIMIT_COST, LIMIT_UNEVEN, LIMIT_PULLS = 2.0, 10.0, 5.0
TIMES = 4


def measure(folder: Path) -> Iterator[Figure]:
    """Time of the plan, and what it is worth."""
    more, fewer = _clone(folder / "more", *MORE), _clone(folder / "fewer", *FEWER)
    lists, plans = in_turns(TIMES, lambda: _cost(more, "list"), lambda: _cost(more, "shards", "--json"))
    least, most = min(cost.cpu for cost in lists), min(cost.cpu for cost in plans)
    yield at_most("doit shards, 5,000 pending / doit list", most / least, LIMIT_COST,
                  detail=f"{most:.2f} s, {least:.2f} s")
    yield from _worth("500 toolkits", _plan(more, 5000), 500, LIMIT_PULLS)
    yield from _worth("200 toolkits", _plan(fewer, 5000), 200, 0.0)
    _differ(more, MORE[0])
    yield from _worth("500 toolkits, uneven", _plan(more, 5000), 500, LIMIT_PULLS)
    _differ(fewer, FEWER[0])
    yield from _worth("200 toolkits, uneven", _plan(fewer, 5000), 200, 0.0)
    few, one_more = _clone(folder / "few", *FEW), _clone(folder / "one-more", *ONE_MORE)
    _differ(few, FEW[0])
    yield from _worth("40 toolkits, uneven", _plan(few, 120), 40, 0.0)
    yield from _worth("257 toolkits", _plan(one_more, 2570), 257, LIMIT_PULLS)
    _differ(one_more, ONE_MORE[0])
    yield from _worth("257 toolkits, uneven", _plan(one_more, 2570), 257, LIMIT_PULLS)


def _worth(name: str, shards: Sequence[dict[str, Any]], needed: int, more: float) -> Iterator[Figure]:
    costs = [shard["seconds"] for shard in shards]
    mean = sum(costs) / len(costs)
    uneven = max(abs(cost - mean) for cost in costs) / mean * 100
    yield at_most(f"{name}: most from mean", uneven, LIMIT_UNEVEN, "%",
                  detail=f"{len(shards)} shards, {mean:.0f} s")
    pulls = [toolkit for shard in shards for toolkit in shard["toolkits"]]
    if len(set(pulls)) != needed:
        raise RuntimeError(f"{len(set(pulls))} toolkits are pulled, {needed} are needed")
    yield at_most(f"{name}: further pulls", (len(pulls) / needed - 1) * 100, more, "%")


def _plan(clone: Clone, cells: int) -> list[dict[str, Any]]:
    run = clone.doit("shards", "--json")
    if run.code != 0 or run.connections or run.processes:
        raise RuntimeError(run.text[-2000:])
    shards: list[dict[str, Any]] = json.loads(run.out)["include"]
    tasks = [task for shard in shards for task in shard["tasks"].split()]
    if len(tasks) != cells or len(set(tasks)) != cells:
        raise RuntimeError(f"{len(tasks)} cells are planned, not {cells}")
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


def _differ(clone: Clone, drivers: int) -> None:
    """Times as if all had been built before: drivers differ much, kernels a little."""
    chance = random.Random(7)
    by_driver = {version: chance.uniform(10, 120) for version in _versions(drivers)}
    for row in json.loads(clone.doit("status", "--json").out):
        seconds = by_driver[row["driver"]] * chance.uniform(0.7, 1.3)
        times = {"module": round(seconds + 80, 3), "pull": 80.0, "image": 1.5}
        clone.write(f"build/local/cells/{row['driver']}-{row['kernel']}/times.json", times)


def _versions(drivers: int) -> list[str]:
    return [f"2.{10 + number}.{number % 7}.0" for number in range(drivers)]


def _cost(clone: Clone, *args: str) -> Cost:
    return cost_of(clone.command(*args), clone.root, timed_environment(clone))
