"""May a cluster be upgraded, with this driver? Paths of the release graph, and what covers every step of them.

A release is covered where each of its kernels has an image. A node runs the old kernel until it is restarted with the
new one, and a cluster has nodes of both: what is applied before the upgrade must have all kernels of the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundry.base.errors import UsageError
from foundry.base.names import near
from foundry.formats.openshift.release_lists import Risk
from foundry.plan.upgrades import Upgrades


@dataclass(frozen=True)
class Coverage:
    """Which kernels releases have, and for which of them the driver has an image.

    `why` says of a kernel without image why that is; empty or missing: nobody knows.
    """

    kernels: Mapping[str, tuple[str, ...]]
    images: frozenset[str]
    why: Mapping[str, str]

    def lacking(self, release: str) -> tuple[str, ...]:
        """The kernels of a release that have no image."""
        return tuple(kernel for kernel in self.kernels.get(release, ()) if kernel not in self.images)

    def covers(self, release: str) -> bool:
        """Whether the release's kernels are known, and all have an image."""
        return bool(self.kernels.get(release)) and not self.lacking(release)


@dataclass(frozen=True)
class Step:
    """A release of a way, with what speaks against going there (risks), and against staying there (kernels)."""

    release: str
    risks: tuple[Risk, ...] = ()
    lacking: tuple[str, ...] = ()
    known: bool = True

    @property
    def covered(self) -> bool:
        """Whether nodes of this release have the driver."""
        return self.known and not self.lacking


@dataclass(frozen=True)
class Shortcut:
    """An upgrade that leaves out steps of the way, and the risks because of which it is not taken."""

    source: str
    target: str
    risks: tuple[Risk, ...]


@dataclass(frozen=True)
class Advice:
    """The answer: `path` is the shortest way on which no step loses the driver; without one, `lossy` is the shortest.

    With `risky`, there is only a way over upgrades that are not recommended to every cluster. `blocked` are shorter
    ones that are not.
    """

    driver: str
    source: str
    target: str
    path: tuple[Step, ...] = ()
    lossy: tuple[Step, ...] = ()
    risky: bool = False
    blocked: tuple[Shortcut, ...] = ()

    @property
    def way(self) -> tuple[Step, ...]:
        """The way that the answer is about."""
        return self.path or self.lossy

    def sentence(self) -> str:
        """The answer in one sentence."""
        ends = f"{self.source} to {self.target}"
        if not self.way:
            return f"no way leads from {ends}: the release graph that is kept here has none"
        steps = f"{len(self.way) - 1} {'step' if len(self.way) == 2 else 'steps'}"  # noqa: PLR2004 - the two ends
        if self.path and not self.risky:
            return f"yes: from {ends} in {steps}, and every release on the way has {self.driver}"
        if self.path:
            return (f"from {ends} in {steps} every release on the way has {self.driver}, but only over upgrades that"
                    " are not recommended to every cluster")
        lost = [step.release for step in self.lossy if not step.covered]
        return f"no: on every way from {ends} some release lacks {self.driver}; on the shortest {', '.join(lost)}"

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "driver": self.driver, "from": self.source, "to": self.target, "covered": bool(self.path),
            "recommended": bool(self.way) and not self.risky, "answer": self.sentence(),
            "path": [_step_data(step) for step in self.way],
            "blocked": [{"from": one.source, "to": one.target, "risks": _risks(one.risks)} for one in self.blocked],
        }


def advise(driver: str, upgrades: Upgrades, coverage: Coverage, source: str, target: str) -> Advice:
    """The shortest way, in this order: covered, covered with risks, any, any with risks.

    Raises UsageError for a release that neither graph nor catalogue knows.
    """
    known = upgrades.releases | coverage.kernels.keys()
    for release in (source, target):
        if release not in known:
            raise UsageError(f"{release} is in neither catalogue nor release graph{near(release, known)}",
                             hint="`doit toolkit` brings both up to date")
    for covered in (True, False):
        for risky in (False, True):
            way = _shortest(upgrades, coverage, source, target, covered=covered, risky=risky)
            if way:
                steps = tuple(_steps(upgrades, coverage, way))
                return Advice(driver, source, target, steps if covered else (), () if covered else steps,
                              any(step.risks for step in steps), tuple(_blocked(upgrades, way)))
    return Advice(driver, source, target)


def _shortest(
    upgrades: Upgrades, coverage: Coverage, source: str, target: str, *, covered: bool, risky: bool
) -> list[str]:
    """Breadth first; of several shortest ways that over the newest releases. Empty where there is none."""
    if covered and not (coverage.covers(source) and coverage.covers(target)):
        return []
    before: dict[str, str] = {source: ""}
    waiting = deque([source])
    while waiting and target not in before:
        release = waiting.popleft()
        for following, risks in upgrades.after(release):
            if following not in before and (risky or not risks) and (not covered or coverage.covers(following)):
                before[following] = release
                waiting.append(following)
    way, release = [], target if target in before else ""
    while release:
        way.append(release)
        release = before[release]
    return way[::-1]


def _steps(upgrades: Upgrades, coverage: Coverage, way: Sequence[str]) -> Iterator[Step]:
    for number, release in enumerate(way):
        risks = upgrades.edges.get(way[number - 1], {}).get(release, ()) if number else ()
        yield Step(release, risks, coverage.lacking(release), bool(coverage.kernels.get(release)))


def _blocked(upgrades: Upgrades, way: Sequence[str]) -> Iterator[Shortcut]:
    """Upgrades between releases of the way that leave some of it out, and have risks."""
    for number, source in enumerate(way):
        for target in way[number + 2:]:
            if risks := upgrades.edges.get(source, {}).get(target, ()):
                yield Shortcut(source, target, risks)


def _risks(risks: Sequence[Risk]) -> list[dict[str, str]]:
    return [{"name": risk.name, "url": risk.url, "message": risk.message} for risk in risks]


def _step_data(step: Step) -> dict[str, Any]:
    return {"release": step.release, "covered": step.covered, "kernels_without_image": list(step.lacking),
            "kernels_known": step.known,
            "risks": _risks(step.risks)}
