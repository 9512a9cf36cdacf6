"""Pending cells over machines: no toolkit twice, equal costs, the same plan for the same cells."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.fleet.spread import BALANCE, LONGEST, MOST_JOBS, Shard, Work, imbalance, spread

RUNNERS = {"x86_64": "ubuntu-24.04", "aarch64": "ubuntu-24.04-arm"}


def works(toolkits: int, drivers: int, seconds: float = 20.0, arch: str = "x86_64") -> list[Work]:
    return [Work(f"d{driver}-k{number}", f"t{number}", arch, seconds)
            for number in range(toolkits) for driver in range(drivers)]


def pulls(shards: list[Shard]) -> list[str]:
    return [name for shard in shards for name in shard.toolkits]


def cells(shards: list[Shard]) -> list[str]:
    return [task.removeprefix("push:") for shard in shards for task in shard.tasks]


def test_nothing_pending_is_no_shard() -> None:
    assert spread([]) == []


def test_a_shard_for_each_toolkit_where_jobs_allow() -> None:
    shards = spread(works(12, 3), pull=90)
    assert len(shards) == 12
    assert all(len(shard.toolkits) == 1 and len(shard.tasks) == 3 and shard.seconds == 150 for shard in shards)
    assert [shard.number for shard in shards] == list(range(1, 13))


def test_the_entry_is_a_matrix_of_actions() -> None:
    [shard] = spread(works(1, 2), pull=90)
    assert shard.entry(RUNNERS) == {
        "shard": 1, "runner": "ubuntu-24.04", "seconds": 130, "cells": 2, "toolkits": ["t0"],
        "tasks": "push:d0-k0 push:d1-k0",
    }


def test_more_toolkits_than_jobs() -> None:
    """500 toolkits of equal cost on 256 machines: no sooner than on 250, and those are equal."""
    shards = spread(works(500, 10), pull=90)
    assert len(shards) == 250
    assert imbalance(shards) == 0
    assert len(pulls(shards)) == 500


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("toolkits, share", [(500, 1.0), (500, 0.4), (300, 0.7), (2000, 1.0)])
def test_uneven_costs_are_made_equal(seed: int, toolkits: int, share: float) -> None:
    chance = random.Random(seed)
    pending = [Work(one.cell, one.toolkit, one.arch, chance.uniform(10, 60))
               for one in works(toolkits, 10) if chance.random() < share]
    shards = spread(pending, pull=90)
    assert len(shards) <= MOST_JOBS
    assert imbalance(shards) <= BALANCE
    needed = len({one.toolkit for one in pending})
    assert needed <= len(pulls(shards)) <= needed * 1.05
    assert sorted(cells(shards)) == sorted(one.cell for one in pending)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("toolkits, drivers, share", [
    (40, 3, 1.0), (40, 3, 0.4), (40, 10, 0.5), (12, 5, 0.4), (130, 5, 1.0), (200, 25, 0.4), (257, 10, 1.0),
    (300, 3, 0.6),
])
def test_few_and_uneven_toolkits(seed: int, toolkits: int, drivers: int, share: float) -> None:
    """Drivers differ by more than ten times, and a part is published: still equal, at twice the time at most."""
    chance = random.Random(seed)
    each = [chance.uniform(10, 120) for _ in range(drivers)]
    pending = [Work(one.cell, one.toolkit, one.arch, each[index % drivers] * chance.uniform(0.7, 1.3))
               for index, one in enumerate(works(toolkits, drivers)) if chance.random() < share]
    shards = spread(pending, pull=90)
    assert imbalance(shards) <= BALANCE
    needed = len({one.toolkit for one in pending})
    assert len(pulls(shards)) == needed if needed <= MOST_JOBS else len(pulls(shards)) <= needed * 1.05
    costs = [90 + sum(one.seconds for one in pending if one.toolkit == name) for name in {x.toolkit for x in pending}]
    assert max(shard.seconds for shard in shards) <= 2 * max(*costs, 1.3 * sum(costs) / MOST_JOBS)


@pytest.mark.parametrize("toolkits, machines", [(257, 129), (300, 150), (511, 256), (512, 256), (513, 171)])
def test_toolkits_that_do_not_share_out_evenly(toolkits: int, machines: int) -> None:
    """A machine that would have half of the others' work gets some of theirs."""
    shards = spread(works(toolkits, 10), pull=90)
    assert len(shards) == machines
    assert imbalance(shards) <= BALANCE
    assert toolkits <= len(pulls(shards)) <= toolkits * 1.05
    assert sorted(cells(shards)) == sorted(one.cell for one in works(toolkits, 10))


def test_balance_is_not_bought_with_more_than_twice_the_time() -> None:
    """One machine for a large and a small toolkit; three for three that differ a little."""
    assert len(spread([*works(1, 10, seconds=90), Work("x", "u", "x86_64", 240)], pull=90)) == 1
    thrice = [Work(f"c{number}", f"t{number}", "x86_64", seconds) for number, seconds in enumerate((900, 900, 700))]
    shards = spread(thrice, pull=90)
    assert len(shards) == 3 and max(shard.seconds for shard in shards) == 990


def test_no_toolkit_twice_while_jobs_allow() -> None:
    """One toolkit with much more to do than others stays whole; the others fill fewer machines."""
    pending = works(1, 40) + [Work(f"x-k{number}", f"u{number}", "x86_64", 20) for number in range(20)]
    shards = spread(pending, pull=90)
    assert max(Counter(pulls(shards)).values()) == 1
    assert max(shard.seconds for shard in shards) <= 1.6 * (90 + 40 * 20)


def test_a_toolkit_that_would_outlast_a_job_is_split() -> None:
    shards = spread(works(1, 100, seconds=600), pull=90)
    assert len(shards) > 1
    assert all(shard.seconds <= LONGEST for shard in shards)
    assert len(cells(shards)) == 100


def test_architectures_have_machines_of_their_own() -> None:
    pending = works(30, 2) + [Work(f"{one.cell}-arm", f"{one.toolkit}-arm", "aarch64", one.seconds)
                              for one in works(10, 2)]
    shards = spread(pending, jobs=8, pull=90)
    assert len(shards) <= 8
    for shard in shards:
        arm = [name.endswith("-arm") for name in (*shard.toolkits, *shard.tasks)]
        assert all(arm) if shard.arch == "aarch64" else not any(arm)
    assert {shard.entry(RUNNERS)["runner"] for shard in shards} == {"ubuntu-24.04", "ubuntu-24.04-arm"}


def test_what_is_only_copied_pulls_nothing() -> None:
    shards = spread([Work(f"c{number}", "", "x86_64", 5) for number in range(30)], jobs=3, pull=90)
    assert pulls(shards) == []
    assert len(cells(shards)) == 30


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20000), st.sampled_from(["x86_64", "aarch64"])),
                max_size=60), st.integers(1, 9), st.randoms())
def test_every_cell_once_and_always_the_same(found: list[tuple[int, float, str]], jobs: int, chance: random.Random,
                                             ) -> None:
    pending = [Work(f"c{number}", f"t{toolkit}-{arch}" if toolkit else "", arch, seconds)
               for number, (toolkit, seconds, arch) in enumerate(found)]
    shards = spread(pending, jobs=jobs, pull=90)
    assert sorted(cells(shards)) == sorted(one.cell for one in pending)
    assert len(shards) <= max(jobs, len({one.arch for one in pending}))
    assert all(shard.tasks for shard in shards)
    chance.shuffle(pending)
    again = spread(pending, jobs=jobs, pull=90)
    assert [shard.entry(RUNNERS) for shard in again] == [shard.entry(RUNNERS) for shard in shards]
