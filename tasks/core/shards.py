"""Pending cells spread over machines: a pure plan, the same for the same cells.

The cells of one toolkit stay together, so that it is pulled once; only where
there are more toolkits than jobs may some be split (5 % of them at most), and
where one alone would outlast what a job may take. Within that the shards' costs
are made equal, with the fewest machines that end as soon.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

MOST_JOBS = 256  # of a matrix in GitHub Actions
LONGEST = 4 * 3600.0  # seconds of one toolkit's cells in a job; GitHub ends jobs after 6 hours
BALANCE = 0.10  # how far a shard's cost may be from the mean
_SPLIT_SHARE = 0.05  # pulls beyond one a toolkit
_STEPS = 40  # how finely numbers of machines are tried
_PARTNERS = 24  # machines that one may exchange groups with
_NOTHING = 1e-6  # seconds
_PATIENCE = 1.6  # a balanced plan may take so much longer than the one that ends first


@dataclass(frozen=True)
class Work:
    """A pending cell: its name, its toolkit (empty: nothing is to be compiled), its architecture, seconds."""

    cell: str
    toolkit: str
    arch: str
    seconds: float


@dataclass(frozen=True)
class Group:
    """Cells of one toolkit that go to one machine, and the seconds that pulling it takes there."""

    toolkit: str
    works: tuple[Work, ...]
    pull: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.pull + sum(work.seconds for work in self.works)


@dataclass
class Shard:
    """What one machine does."""

    arch: str
    number: int = 0
    groups: list[Group] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, group: Group) -> None:
        """Give it one more group."""
        self.groups.append(group)
        self.seconds += group.seconds

    def exchange(self, other: Shard, give: Group | None, take: Group | None) -> None:
        """Give a group and take another one; either may be none."""
        for group, giver, taker in ((give, self, other), (take, other, self)):
            if group is not None:
                giver.groups.remove(group)
                giver.seconds -= group.seconds
                taker.add(group)

    @property
    def tasks(self) -> list[str]:
        """The tasks to run, those of a toolkit together."""
        return [f"push:{work.cell}" for group in self.groups for work in group.works]

    @property
    def toolkits(self) -> list[str]:
        """The toolkits that are pulled."""
        return [group.toolkit for group in self.groups if group.toolkit]

    def entry(self, runners: Mapping[str, str]) -> dict[str, object]:
        """As GitHub Actions takes it in a matrix's ``include``; `runners` are by architecture."""
        return {"shard": self.number, "runner": runners[self.arch], "seconds": round(self.seconds),
                "cells": len(self.tasks), "toolkits": self.toolkits, "tasks": " ".join(self.tasks)}


def spread(works: Iterable[Work], *, jobs: int = MOST_JOBS, pull: float = 0.0) -> list[Shard]:
    """The shards, at most `jobs` (but one for each architecture); `pull` is the seconds that a toolkit takes."""
    by_arch: dict[str, list[Work]] = defaultdict(list)
    for work in works:
        by_arch[work.arch].append(work)
    grouped = {arch: _groups(by_arch[arch], pull) for arch in sorted(by_arch)}
    shares = _shares({arch: sum(one.seconds for one in groups) for arch, groups in grouped.items()}, jobs)
    shards = [shard for arch, groups in grouped.items() for shard in _pack(arch, groups, shares[arch], pull)]
    for number, shard in enumerate(shards, 1):
        shard.number = number
    return shards


def imbalance(shards: Sequence[Shard]) -> float:
    """How far the farthest cost is from the mean, as a part of the mean."""
    mean = sum(shard.seconds for shard in shards) / len(shards) if shards else 0.0
    return max((abs(shard.seconds - mean) / mean for shard in shards), default=0.0) if mean else 0.0


def _groups(works: Iterable[Work], pull: float) -> list[Group]:
    """By toolkit, cut where one alone would take too long; the dearest first."""
    by_toolkit: dict[str, list[Work]] = defaultdict(list)
    for work in works:
        by_toolkit[work.toolkit or f" {work.cell}"].append(work)
    groups = []
    for name, members in by_toolkit.items():
        toolkit = "" if name.startswith(" ") else name
        cost = pull if toolkit else 0.0
        part: list[Work] = []
        for work in sorted(members, key=lambda one: one.cell):
            if part and cost + sum(one.seconds for one in part) + work.seconds > LONGEST:
                groups.append(Group(toolkit, tuple(part), cost))
                part = []
            part.append(work)
        groups.append(Group(toolkit, tuple(part), cost))
    return sorted(groups, key=_order)


def _order(group: Group) -> tuple[float, str]:
    return -group.seconds, group.works[0].cell


def _shares(costs: Mapping[str, float], jobs: int) -> dict[str, int]:
    """How many jobs each architecture may have: by cost, at least one."""
    total = sum(costs.values())
    shares = {arch: max(1, int(jobs * cost / total)) if total else 1 for arch, cost in costs.items()}
    spare = jobs - sum(shares.values())
    for arch in sorted(shares, key=lambda name: (-costs[name], name)):
        if spare > 0:
            shares[arch] += spare
            break
        cut = min(-spare, shares[arch] - 1)
        shares[arch] -= cut
        spare += cut
    return shares


def _pack(arch: str, groups: Sequence[Group], jobs: int, pull: float) -> list[Shard]:
    """The plan that ends first; of those that end as soon, one that is balanced, with the fewest machines."""
    if not groups:
        return []
    most = min(jobs, len(groups))
    extra = int(_SPLIT_SHARE * len({group.toolkit for group in groups})) if len(groups) > jobs else 0
    best: list[Shard] = []
    soonest = 0.0
    for count in _counts(len(groups), most):
        shards = _fill(arch, groups, count)
        _swap(shards)
        _split(shards, extra, pull)
        soonest = soonest or _end(shards)
        if best and _end(shards) > soonest * _PATIENCE:
            break
        best = min(best or shards, shards, key=_worth)
        if imbalance(best) <= BALANCE:
            break
    return best


def _end(shards: Sequence[Shard]) -> float:
    return round(max(shard.seconds for shard in shards), 3)


def _worth(shards: Sequence[Shard]) -> tuple[bool, float, int]:
    """Less is better: balanced plans, then those whose last machine ends sooner, then those with fewer machines."""
    return imbalance(shards) > BALANCE, _end(shards), len(shards)


def _counts(groups: int, most: int) -> list[int]:
    """Numbers of machines worth a try, the most first: in small steps, and those that share the groups evenly."""
    counts, count = set(), most
    while count > 0:
        counts |= {count, max(1, groups // -(-groups // count))}
        count -= max(1, count // _STEPS)
    return sorted(counts, reverse=True)


def _fill(arch: str, groups: Iterable[Group], count: int) -> list[Shard]:
    """Each group, the dearest first, to the machine that has least to do."""
    shards = [Shard(arch) for _ in range(count)]
    waiting = [(0.0, number) for number in range(count)]
    for group in groups:
        _, number = heapq.heappop(waiting)
        shards[number].add(group)
        heapq.heappush(waiting, (shards[number].seconds, number))
    return shards


def _swap(shards: list[Shard]) -> None:
    """Exchange groups between the machine that is farthest from the mean and others, while that helps."""
    mean = sum(shard.seconds for shard in shards) / len(shards)
    for _ in range(2 * len(shards)):
        far = max(shards, key=lambda one: abs(one.seconds - mean))
        distance = abs(far.seconds - mean)
        if distance <= BALANCE * mean:
            return
        beyond = sorted(shards, key=lambda one: one.seconds, reverse=far.seconds < mean)[:_PARTNERS]
        found = min((pair for other in beyond if other is not far for pair in _exchanges(far, other, mean)),
                    key=lambda pair: pair[0], default=None)
        if found is None or found[0] >= distance - _NOTHING:
            return
        _, other, give, take = found
        far.exchange(other, give, take)


def _exchanges(far: Shard, other: Shard, mean: float) -> Iterator[tuple[float, Shard, Group | None, Group | None]]:
    """What two machines may exchange, with how far from the mean the farther of them then is."""
    for give in (None, *far.groups):
        for take in (None, *other.groups):
            moved = (give.seconds if give else 0.0) - (take.seconds if take else 0.0)
            if (far.seconds - mean) * moved > 0:
                distance = max(abs(far.seconds - moved - mean), abs(other.seconds + moved - mean))
                yield distance, other, give, take


def _split(shards: list[Shard], extra: int, pull: float) -> None:
    """Move cells from the machine with most to do to the one with least, at the price of `extra` more pulls."""
    while extra > 0 and imbalance(shards) > BALANCE:
        mean = sum(shard.seconds for shard in shards) / len(shards)
        dear, cheap = max(shards, key=lambda one: one.seconds), min(shards, key=lambda one: one.seconds)
        cut = _cut(dear, min(dear.seconds - mean, mean - cheap.seconds - pull))
        if cut is None:
            return
        index, stay, go = cut
        group = dear.groups[index]
        dear.groups[index] = replace(group, works=stay)
        dear.seconds -= sum(work.seconds for work in go)
        cheap.add(replace(group, works=go))
        extra -= 1


def _cut(shard: Shard, wanted: float) -> tuple[int, tuple[Work, ...], tuple[Work, ...]] | None:
    """The group of a machine, and what of it stays and goes, so that about `wanted` seconds go; None: not worth it."""
    for index, group in enumerate(shard.groups):
        gone, number = 0.0, 0
        for work in reversed(group.works[1:]):
            if gone + work.seconds > wanted:
                break
            gone, number = gone + work.seconds, number + 1
        if number:
            return index, group.works[:-number], group.works[-number:]
    return None
