"""Pending cells spread over machines: a pure plan, the same for the same cells.

The cells of one toolkit stay together, so that it is pulled once; only where
there are more toolkits than jobs may some be split (5 % of them at most), and
where one alone would outlast what a job may take. Within that the shards' costs
are made equal, by fewer machines where that takes no more than twice the time.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

MOST_JOBS = 256  # of a matrix in GitHub Actions
LONGEST = 4 * 3600.0  # seconds of one toolkit's cells in a job; GitHub ends jobs after 6 hours
BALANCE = 0.10  # how far a shard's cost may be from the mean
_SPLIT_SHARE = 0.05  # pulls beyond one a toolkit
_STEPS = 30  # how finely numbers of machines are tried
_PARTNERS = 12  # machines that one may exchange groups with
_NOTHING = 1e-6  # seconds
_PATIENCE = 2.0  # a balanced plan may take so much longer than the one that ends first
_FEW = 6  # groups of a machine of which pairs are exchanged, too


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

    def exchange(self, other: Shard, give: Iterable[Group], take: Iterable[Group]) -> None:
        """Give groups and take others."""
        for groups, giver, taker in ((give, self, other), (take, other, self)):
            for group in groups:
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
    """Of the balanced plans the one that ends first, unless balance makes it end much later; then that which does.

    More machines than all costs make of the largest group end no sooner and can't be balanced: none such is tried.
    """
    if not groups:
        return []
    total, largest = sum(group.seconds for group in groups), groups[0].seconds
    toolkits = len({group.toolkit for group in groups})
    extra = int(_SPLIT_SHARE * toolkits) if len(groups) > jobs else 0
    soonest = _fill(arch, groups, min(jobs, len(groups)))
    best: list[Shard] = soonest
    for count in _counts(len(groups), min(jobs, len(groups), _useful(total, largest))):
        if total / count > _end(soonest) * _PATIENCE or (imbalance(best) <= BALANCE and total / count > _end(best)):
            break
        shards = _fill(arch, groups, count)
        _level(shards)
        _split(shards, extra, pull)
        if _end(shards) <= _end(soonest) * _PATIENCE:
            best = min(best, shards, key=_worth)
        if imbalance(best) <= BALANCE and _end(best) <= total / count * (1 + BALANCE) and _pulls(best) == len(groups):
            break  # fewer machines end no sooner to speak of
    return best


def _useful(total: float, largest: float) -> int:
    """The most machines of whose mean the largest group is within the balance; groups without cost need one."""
    return max(1, int((1 + BALANCE) * total / largest)) if largest else 1


def _end(shards: Sequence[Shard]) -> float:
    return round(max(shard.seconds for shard in shards), 3)


def _worth(shards: Sequence[Shard]) -> tuple[bool, float, int, int]:
    """Less is better: balanced plans, then those that end sooner, then those with fewer pulls and machines."""
    return imbalance(shards) > BALANCE, _end(shards), _pulls(shards), len(shards)


def _pulls(shards: Sequence[Shard]) -> int:
    return sum(len(shard.groups) for shard in shards)


def _counts(groups: int, most: int) -> list[int]:
    """Numbers of machines worth a try, the most first: in small steps, and those that share the groups evenly."""
    counts, count = set(), most
    while count > 0:
        each = -(-groups // count)
        counts |= {count, max(1, groups // each), -(-groups // each)}
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


def _level(shards: list[Shard]) -> None:
    """Exchange groups between the machine that is farthest from the mean and others, while that helps."""
    mean = sum(shard.seconds for shard in shards) / len(shards)
    for _ in range(2 * len(shards)):
        far = max(shards, key=lambda one: abs(one.seconds - mean))
        distance = abs(far.seconds - mean)
        if distance <= BALANCE * mean:
            return
        beyond = sorted(shards, key=lambda one: one.seconds, reverse=far.seconds < mean)[:_PARTNERS]
        found = next((one for one in (_best(far, beyond, mean, most) for most in (1, 2))
                      if one is not None and one[0] < distance - _NOTHING), None)
        if found is None:
            return
        _, other, give, take = found
        far.exchange(other, give, take)


Exchange = tuple[float, Shard, tuple[Group, ...], tuple[Group, ...]]


def _best(far: Shard, others: Iterable[Shard], mean: float, most: int) -> Exchange | None:
    """The exchange of up to `most` groups after which the farther of the two is nearest to the mean."""
    found = (one for other in others if other is not far for one in _exchanges(far, other, mean, most))
    return min(found, key=lambda one: one[0], default=None)


def _exchanges(far: Shard, other: Shard, mean: float, most: int) -> Iterator[Exchange]:
    """What two machines may exchange, with how far from the mean the farther of them then is."""
    theirs = [(take, sum(one.seconds for one in take)) for take in _some(other.groups, most)]
    for give in _some(far.groups, most):
        given = sum(one.seconds for one in give)
        for take, taken in theirs:
            moved = given - taken
            if (far.seconds - mean) * moved > 0:
                distance = max(abs(far.seconds - moved - mean), abs(other.seconds + moved - mean))
                yield distance, other, give, take


def _some(groups: Sequence[Group], most: int) -> list[tuple[Group, ...]]:
    """None of the groups, each one, and up to `most` of them where there are few."""
    return [some for number in range((most if len(groups) <= _FEW else 1) + 1) for some in combinations(groups, number)]


def _split(shards: list[Shard], extra: int, pull: float) -> None:
    """Move cells between machines that are too far from the mean and others, at the price of `extra` more pulls."""
    while extra > 0 and imbalance(shards) > BALANCE:
        mean = sum(shard.seconds for shard in shards) / len(shards)
        dear, cheap = max(shards, key=lambda one: one.seconds), min(shards, key=lambda one: one.seconds)
        most = (1 + BALANCE) * mean - cheap.seconds - pull
        wanted = dear.seconds - mean if dear.seconds > (1 + BALANCE) * mean else dear.seconds - (1 - BALANCE) * mean
        cut = _cut(dear, min(most, wanted))
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
