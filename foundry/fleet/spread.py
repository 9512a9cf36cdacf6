"""Pending cells spread over machines: a pure plan, the same for the same cells.

What counts is when the last machine ends, then how many machines that takes. A
machine pulls each of its toolkits once, then builds its cells of them. For a
time to end, the toolkits are given to machines as wholes, the longest first;
one that would not be done by then is cut, and pulled on each machine that gets
a part. The earliest end is searched by halves; then its machines are counted
again for an end that is about as early.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

MOST_JOBS = 256  # of a matrix in GitHub Actions
# About the earliest end is 10 % later or a minute: what machines take to start differs by more.
_ABOUT, _ABOUT_SECONDS = 1.10, 60.0
_CLOSE = 1.002  # how near to the earliest end the search goes
_NOTHING = 1e-6  # seconds


@dataclass(frozen=True)
class Work:
    """A pending cell: its name, its toolkit (empty: nothing is to be compiled), its architecture, seconds."""

    cell: str
    toolkit: str
    arch: str
    seconds: float


@dataclass(frozen=True)
class Group:
    """Cells of one toolkit that go to one machine, the longest first, and the seconds with pulling it there."""

    toolkit: str
    works: tuple[Work, ...]
    seconds: float

    @property
    def arch(self) -> str:
        """Of all its cells."""
        return self.works[0].arch

    @property
    def order(self) -> tuple[float, str]:
        """The longest first."""
        return -self.seconds, self.works[0].cell


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
    """The shards, at most `jobs` (but one for each architecture); `pull` is the seconds that a toolkit takes.

    Of one architecture they never end later than whole toolkits, each given to the machine that is free first.
    """
    groups = _groups(works, pull)
    if not groups:
        return []
    jobs = max(jobs, len({group.arch for group in groups}))
    whole = _whole(groups, jobs)
    soonest = _soonest(groups, jobs, pull, whole)
    latest = min(_end(whole), max(_end(soonest) * _ABOUT, _end(soonest) + _ABOUT_SECONDS))
    plans = [whole, soonest, _done_by(latest, groups, jobs, pull) or soonest]
    shards = min((plan for plan in plans if _end(plan) <= latest), key=_cost)
    shards.sort(key=lambda one: (one.arch, one.groups[0].order))
    for number, shard in enumerate(shards, 1):
        shard.number = number
    return shards


def _groups(works: Iterable[Work], pull: float) -> list[Group]:
    """By toolkit, the longest first; a cell that needs none is a group of its own."""
    found: dict[tuple[str, str, str], list[Work]] = defaultdict(list)
    for work in works:
        found[work.arch, work.toolkit, "" if work.toolkit else work.cell].append(work)
    groups = [_group(sorted(members, key=lambda one: (-one.seconds, one.cell)), pull) for members in found.values()]
    return sorted(groups, key=lambda one: one.order)


def _group(works: Sequence[Work], pull: float) -> Group:
    toolkit = works[0].toolkit
    return Group(toolkit, tuple(works), (pull if toolkit else 0.0) + sum(work.seconds for work in works))


def _end(shards: Iterable[Shard]) -> float:
    return round(max(shard.seconds for shard in shards), 3)


def _cost(shards: Sequence[Shard]) -> tuple[int, int, float]:
    """Less is better: fewer machines, then fewer pulls, then an earlier end."""
    return len(shards), sum(len(shard.groups) for shard in shards), _end(shards)


def _soonest(groups: Sequence[Group], jobs: int, pull: float, known: list[Shard]) -> list[Shard]:
    """Of the plans that are tried the one that ends first; `known` is one to begin with."""
    longest = max(_group(group.works[:1], pull).seconds for group in groups)
    early = max(longest, sum(group.seconds for group in groups) / jobs)  # no plan ends before
    end = early
    while early * _CLOSE < _end(known):
        found = _done_by(end, groups, jobs, pull)
        if found and _end(found) < _end(known):
            known = found
        else:
            early = end
        end = (early + _end(known)) / 2
    return known


def _whole(groups: Iterable[Group], jobs: int) -> list[Shard]:
    """Each group, in their order, to a new machine or to the one that is free first."""
    machines = _Machines(groups, jobs)
    for group in groups:
        machines.add(machines.new(group.arch) or machines.free_first(group.arch), group)
    return machines.shards


def _done_by(end: float, groups: Iterable[Group], jobs: int, pull: float) -> list[Shard] | None:
    """Machines that are done by `end` (seconds), or None.

    The longest group goes to the fullest machine that has room for it, else to a new one, else to the one that is free
    first; what is too much for that one waits as a group of its own.
    """
    machines = _Machines(groups, jobs)
    waiting = [(group.order, group) for group in groups]
    heapify(waiting)
    while waiting:
        _, group = heappop(waiting)
        shard = (machines.fullest(group.arch, end - group.seconds) or machines.new(group.arch)
                 or machines.free_first(group.arch))
        part, rest = _cut(group, end - shard.seconds, pull)
        if part is None:
            return None
        machines.add(shard, part)
        if rest is not None:
            heappush(waiting, (rest.order, rest))
    return machines.shards


def _cut(group: Group, room: float, pull: float) -> tuple[Group | None, Group | None]:
    """What of a group takes no longer than `room` (seconds), and the rest."""
    if group.seconds <= room + _NOTHING:
        return group, None
    fit, rest, free = [], [], room + _NOTHING - (pull if group.toolkit else 0.0)
    for work in group.works:
        if work.seconds <= free:
            fit.append(work)
            free -= work.seconds
        else:
            rest.append(work)
    return (_group(fit, pull) if fit else None), _group(rest, pull)


class _Machines:
    """Machines while they are given groups: at most `jobs`, of which each architecture gets one."""

    def __init__(self, groups: Iterable[Group], jobs: int) -> None:
        self.shards: list[Shard] = []
        self._jobs = jobs
        self._by_seconds: dict[str, list[tuple[float, int]]] = {group.arch: [] for group in groups}

    def new(self, arch: str) -> Shard | None:
        """A further one, if there is any that no other architecture needs."""
        mine = self._by_seconds[arch]
        kept = sum(not others for others in self._by_seconds.values() if others is not mine)
        if len(self.shards) + kept >= self._jobs:
            return None
        shard = Shard(arch, len(self.shards))
        self.shards.append(shard)
        insort(mine, (0.0, shard.number))
        return shard

    def free_first(self, arch: str) -> Shard:
        """The one that has least to do."""
        return self.shards[self._by_seconds[arch][0][1]]

    def fullest(self, arch: str, seconds: float) -> Shard | None:
        """The one that has most to do, but not more than `seconds`."""
        found = bisect_right(self._by_seconds[arch], (seconds + _NOTHING, len(self.shards)))
        return self.shards[self._by_seconds[arch][found - 1][1]] if found else None

    def add(self, shard: Shard, group: Group) -> None:
        """Give a machine a group."""
        mine = self._by_seconds[shard.arch]
        del mine[bisect_left(mine, (shard.seconds, shard.number))]
        shard.add(group)
        insort(mine, (shard.seconds, shard.number))
