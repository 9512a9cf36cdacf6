"""Which releases there are of the minors that the matrix wants, and what the catalogue would lose."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from foundry.base.errors import ConfigError, Fault, FoundryError, OutsideError
from foundry.base.parallel import in_parallel
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.base.versions import minor_of, version_key
from foundry.catalogue.release_lists import Listed, Lists
from foundry.config.catalogue import CatalogueEntry, Place
from foundry.config.settings import Releases
from foundry.formats.openshift.release_lists import Edge
from foundry.plan.catalogue import Release, missing, wanted_minors, without_release
from foundry.run.context import Foundry

_SHOWN = 10


def find_releases(
    foundry: Foundry, lists: Lists, minors: Mapping[str, Fault], stopping: threading.Event
) -> Listed:
    """All generally available releases of these minors, for the architectures that are built, and all upgrades.

    A minor that the matrix does not name may have none for an architecture.

    Raises OutsideError for a list that can't be had: nothing is concluded from those that can.
    """
    settings, arches = foundry.settings.releases, foundry.settings.arch
    wanted = wanted_minors(foundry.config.wants)
    questions = _questions(settings, list(minors), arches, lists)
    found: dict[Place, Release] = {}
    edges: dict[str, list[Edge]] = defaultdict(list)
    for outcome in in_parallel(
        list(questions), lambda name: questions[name](), threads=settings.parallel, stopping=stopping,
    ):
        if outcome.error is not None:
            if outcome.error.reason == Reason.RELEASES_EMPTY and _minor_of(outcome.job, minors) not in wanted:
                continue
            raise _wanted_by(outcome.error, outcome.job, minors)
        listed = outcome.value or Listed(())
        for arch, more in listed.edges.items():
            edges[arch] += more
        for release in listed.releases:
            if found.setdefault(release.place, release) != release:
                raise OutsideError(f"{release} has two payloads, {found[release.place].payload} and {release.payload}",
                                   reason=Reason.RELEASES_MALFORMED,
                                   hint="the lists contradict each other; try again later")
    releases = [one for one in found.values() if minor_of(one.version) in minors]
    return Listed(sorted(releases, key=lambda one: (version_key(one.version), one.place)), edges)


def require_wanted(foundry: Foundry, found: Sequence[Release]) -> None:
    """ConfigError where nothing was found of a minor or release that the matrix names."""
    faults = without_release(foundry.config.wants, found, foundry.settings.arch)
    if faults:
        raise ConfigError(faults, hint="is it released? `releases.channels` in config/ says where it is looked for")


def lost(
    foundry: Foundry, entries: Sequence[CatalogueEntry], found: Sequence[Release], minors: Iterable[str], *,
    allow: bool, file: str,
) -> list[Place]:
    """Releases of these minors that are in the entries of a file alone; OutsideError unless they may go."""
    gone = missing(entries, found, minors, foundry.settings.arch, foundry.settings.releases.exclude)
    if gone and not allow:
        names = ", ".join(" ".join(place) for place in gone[:_SHOWN])
        more = f" and {len(gone) - _SHOWN} more" if gone[_SHOWN:] else ""
        raise OutsideError(
            f"{names}{more}: in {file}, and no longer to be found", reason=Reason.RELEASES_FEWER,
            hint="nothing was changed; the option --allow-shrink takes out what is no longer there, "
                 "`releases.exclude` leaves a release alone",
        )
    return gone


def _questions(
    settings: Releases, minors: Sequence[str], arches: Sequence[str], lists: Lists
) -> dict[tuple[str, str], Callable[[], Listed]]:
    """What to ask, by channel or minor, and architecture."""
    if settings.source == "tags":
        url, repository = settings.tags, parse_reference(settings.repository)
        return {(minor, ""): lambda minor=minor: lists.tags(url, repository, minor, arches)  # type: ignore[misc]
                for minor in minors}
    url = settings.graph
    names = dict.fromkeys(channel.replace("{minor}", minor) for minor in minors for channel in settings.channels)
    return {(name, arch): lambda name=name, arch=arch: lists.channel(url, name, arch)  # type: ignore[misc]
            for name in names for arch in arches}


def _minor_of(question: tuple[str, str], minors: Iterable[str]) -> str:
    return next((minor for minor in minors if question[0] == minor or question[0].endswith(f"-{minor}")), "")


def _wanted_by(error: FoundryError, question: tuple[str, str], minors: Mapping[str, Fault]) -> FoundryError:
    """The error, with the place in the matrix because of which it was asked."""
    minor = _minor_of(question, minors)
    if minor:
        error.message += f" ({minors[minor].file}: {minors[minor].path} wants {minor})"
    return error
