"""Pending cells over machines: the earliest end, then few machines; the same plan for the same cells."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.fleet.spread import MOST_JOBS, Shard, Work, spread
from tests.harness.fleet_plan import lower_bound, whole_toolkits

RUNNERS = {"x86_64": "ubuntu-24.04", "aarch64": "ubuntu-24.04-arm"}
PULL = 90.0


def works(toolkits: int, drivers: int, seconds: float = 20.0, arch: str = "x86_64") -> list[Work]:
    return [Work(f"d{driver}-k{number}", f"t{number}", arch, seconds)
            for number in range(toolkits) for driver in range(drivers)]


def uneven(seed: int, toolkits: int, drivers: int, share: float) -> list[Work]:
    """Drivers differ by more than ten times, kernels a little, and a part is published."""
    chance = random.Random(seed)
    each = [chance.uniform(10, 120) for _ in range(drivers)]
    return [Work(one.cell, one.toolkit, one.arch, each[index % drivers] * chance.uniform(0.7, 1.3))
            for index, one in enumerate(works(toolkits, drivers)) if chance.random() < share]


def end(shards: Iterable[Shard]) -> float:
    return max(shard.seconds for shard in shards)


def pulls(shards: list[Shard]) -> list[str]:
    return [name for shard in shards for name in shard.toolkits]


def cells(shards: list[Shard]) -> list[str]:
    return [task.removeprefix("push:") for shard in shards for task in shard.tasks]


def costs(pending: Iterable[Work]) -> dict[str, tuple[str, float]]:
    return {one.cell: (one.toolkit, one.seconds) for one in pending}


def test_nothing_pending_is_no_shard() -> None:
    assert spread([]) == []


def test_the_entry_is_a_matrix_of_actions() -> None:
    [shard] = spread(works(1, 2), pull=PULL)
    assert shard.entry(RUNNERS) == {
        "shard": 1, "runner": "ubuntu-24.04", "seconds": 130, "cells": 2, "toolkits": ["t0"],
        "tasks": "push:d0-k0 push:d1-k0",
    }


@pytest.mark.parametrize("drivers, machines, last", [
    (3, 12, 150),  # a cell alone takes 110 s: not even a minute less
    (4, 12, 170),  # just a minute more
    (5, 24, 170),  # 190 s with one machine for each
    (8, 24, 170),
])
def test_a_toolkit_is_cut_for_more_than_a_minute(drivers: int, machines: int, last: float) -> None:
    shards = spread(works(12, drivers), pull=PULL)
    assert (len(shards), end(shards)) == (machines, last)
    assert [shard.number for shard in shards] == list(range(1, machines + 1))
    assert len(pulls(shards)) == machines


@pytest.mark.parametrize("seed", range(4))
def test_few_large_toolkits_have_several_machines_each(seed: int) -> None:
    """20 toolkits with 25 drivers, on 256 machines: whole ones would take four times as long."""
    pending = uneven(seed, 20, 25, 0.5)
    shards = spread(pending, pull=PULL)
    assert end(shards) <= lower_bound(costs(pending), MOST_JOBS, PULL) + 65
    assert end(shards) <= 0.35 * whole_toolkits(costs(pending), MOST_JOBS, PULL)
    busy = sum(shard.seconds for shard in shards)
    assert len(shards) <= 1.1 * busy / end(shards) + 1, "machines have work until the end"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("toolkits, drivers, share", [
    (500, 10, 1.0), (500, 10, 0.4), (300, 10, 0.7), (2000, 10, 1.0), (40, 3, 1.0), (40, 3, 0.4), (40, 10, 0.5),
    (12, 5, 0.4), (130, 5, 1.0), (200, 25, 0.4), (257, 10, 1.0), (300, 3, 0.6),
])
def test_never_later_than_whole_toolkits_and_near_the_bound(seed: int, toolkits: int, drivers: int, share: float,
                                                            ) -> None:
    pending = uneven(seed, toolkits, drivers, share)
    shards = spread(pending, pull=PULL)
    assert sorted(cells(shards)) == sorted(one.cell for one in pending)
    assert len(shards) <= MOST_JOBS
    assert end(shards) <= whole_toolkits(costs(pending), MOST_JOBS, PULL) + 0.001
    bound = lower_bound(costs(pending), MOST_JOBS, PULL)
    assert end(shards) <= 1.3 * bound + 60
    if toolkits >= 2 * MOST_JOBS:
        assert end(shards) <= 1.06 * bound
        assert len(pulls(shards)) == toolkits, "many are shared out well as wholes"


@pytest.mark.parametrize("toolkits, machines, last, pulled", [
    (500, 250, 580, 500),  # two each; a machine more would have one alone
    (512, 256, 580, 512),
    (2000, 250, 2320, 2000),
])
def test_as_few_machines_as_end_as_soon(toolkits: int, machines: int, last: float, pulled: int) -> None:
    shards = spread(works(toolkits, 10), pull=PULL)
    assert (len(shards), end(shards), len(pulls(shards))) == (machines, last, pulled)


def test_a_toolkit_more_than_machines_is_shared_out() -> None:
    """Not two for one machine (580 s): each of some machines takes a few of its cells."""
    shards = spread(works(257, 10), pull=PULL)
    assert len(shards) == MOST_JOBS
    assert end(shards) <= 290 + PULL + 20 + 60
    assert len(pulls(shards)) <= 257 + 10
    assert max(Counter(pulls(shards)).values()) <= 10


def test_small_toolkits_share_a_machine_while_a_long_cell_is_built() -> None:
    pending = [Work("long", "t", "x86_64", 1000), *(Work(f"c{n}", f"u{n}", "x86_64", 20) for n in range(18))]
    shards = spread(pending, pull=PULL)
    assert [len(shard.toolkits) for shard in shards] == [1, 9, 9]
    assert end(shards) == 1090


def test_one_machine_has_all() -> None:
    [shard] = spread(uneven(1, 40, 5, 1.0), jobs=1, pull=PULL)
    assert len(shard.toolkits) == len(set(shard.toolkits)) == 40


def test_a_toolkit_that_would_outlast_a_job_is_cut() -> None:
    """GitHub ends jobs after 6 hours."""
    shards = spread(works(1, 100, seconds=600), pull=PULL)
    assert end(shards) == 690
    assert len(cells(shards)) == 100
    assert end(spread(works(1, 100, seconds=600), jobs=10, pull=PULL)) == 6090


def test_architectures_have_machines_of_their_own() -> None:
    """And so many that both end about as early."""
    pending = works(30, 2) + [Work(f"{one.cell}-arm", f"{one.toolkit}-arm", "aarch64", one.seconds)
                              for one in works(10, 2)]
    shards = spread(pending, jobs=8, pull=PULL)
    assert len(shards) <= 8
    for shard in shards:
        arm = [name.endswith("-arm") for name in (*shard.toolkits, *shard.tasks)]
        assert all(arm) if shard.arch == "aarch64" else not any(arm)
    assert {shard.entry(RUNNERS)["runner"] for shard in shards} == {"ubuntu-24.04", "ubuntu-24.04-arm"}
    assert Counter(shard.arch for shard in shards) == {"x86_64": 6, "aarch64": 2}
    assert end(shards) == 5 * 130


def test_what_is_only_copied_pulls_nothing() -> None:
    shards = spread([Work(f"c{number}", "", "x86_64", 5) for number in range(30)], jobs=3, pull=PULL)
    assert pulls(shards) == []
    assert len(cells(shards)) == 30
    assert end(shards) <= 5 * 10 + 60


PENDING = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20000), st.sampled_from(["x86_64", "aarch64"])),
                   max_size=60)


@given(PENDING, st.integers(1, 9), st.randoms())
def test_every_cell_once_and_always_the_same(found: list[tuple[int, float, str]], jobs: int, chance: random.Random,
                                             ) -> None:
    pending = [Work(f"c{number}", f"t{toolkit}-{arch}" if toolkit else "", arch, seconds)
               for number, (toolkit, seconds, arch) in enumerate(found)]
    shards = spread(pending, jobs=jobs, pull=PULL)
    assert sorted(cells(shards)) == sorted(one.cell for one in pending)
    assert len(shards) <= max(jobs, len({one.arch for one in pending}))
    assert all(shard.tasks for shard in shards)
    for shard in shards:
        assert len(shard.toolkits) == len(set(shard.toolkits)), "pulled once on a machine"
        seconds = {one.cell: one.seconds for one in pending}
        work = sum(seconds[name] for name in cells([shard]))
        assert shard.seconds == pytest.approx(PULL * len(shard.toolkits) + work)
    chance.shuffle(pending)
    again = spread(pending, jobs=jobs, pull=PULL)
    assert [shard.entry(RUNNERS) for shard in again] == [shard.entry(RUNNERS) for shard in shards]


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(1, 2000)), min_size=1, max_size=6), st.integers(1, 3),
       st.sampled_from([0.0, 20.0, 90.0]))
def test_near_the_best_of_all_plans(found: list[tuple[int, float]], jobs: int, pull: float) -> None:
    """Every way to give up to 6 cells to up to 3 machines is tried."""
    pending = [Work(f"c{number}", f"t{toolkit}", "x86_64", seconds) for number, (toolkit, seconds) in enumerate(found)]
    best = min(_end(pending, places, pull) for places in product(range(jobs), repeat=len(pending)))
    last = end(spread(pending, jobs=jobs, pull=pull))
    assert best - 0.001 <= last <= max(best * 1.6, best * 1.3 + 60)


def _end(pending: list[Work], places: tuple[int, ...], pull: float) -> float:
    ends = []
    for place in set(places):
        mine = [one for one, where in zip(pending, places, strict=True) if where == place]
        ends.append(pull * len({one.toolkit for one in mine}) + sum(one.seconds for one in mine))
    return max(ends)
