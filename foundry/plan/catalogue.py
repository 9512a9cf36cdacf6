"""The catalogue as values: which minors are wanted, what an update changes, and the bytes that it is written as."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foundry.base.documents import as_document
from foundry.base.errors import Fault
from foundry.base.files import pretty_json, read_file
from foundry.base.schema import ValidationCache
from foundry.base.versions import minor_of, version_key
from foundry.config.catalogue import CatalogueEntry, Place, entries_of
from foundry.config.load import Config, MatrixEntry

PR_LOG = "pr.log"

Kernels = Mapping[str, Any]  # `kernel`, `rt_kernel` and `rhel` of an entry, as far as its toolkit has them


@dataclass(frozen=True)
class Release:
    """A release for an architecture (``x86_64``, ``aarch64``) and its release image, by digest."""

    version: str
    arch: str
    payload: str

    @property
    def place(self) -> Place:
        """What it has an entry for; where its payload has several toolkits, several."""
        return self.version, self.arch

    def __str__(self) -> str:
        return f"{self.version} {self.arch}"


@dataclass(frozen=True)
class Change:
    """What an update does to the catalogue.

    `found` are whole entries by release and architecture, which take the place of those
    that are there; `kernels` completes entries without kernel, by toolkit and architecture;
    `gone` are left out.
    """

    found: Mapping[Place, Sequence[CatalogueEntry]]
    kernels: Mapping[Place, Kernels]
    gone: frozenset[Place] = frozenset()


def log_path(config: Config, name: str = "toolkit.log") -> Path:
    """A log of `doit toolkit`, relative to the root; records and answers lie beside it."""
    return config.build / "toolkits" / name


def unread_toolkits(config: Config) -> list[Place]:
    """The toolkits without a known kernel, by reference and architecture, in the order of their lowest releases."""
    entries = sorted(config.catalogue, key=lambda entry: version_key(entry.version))
    return list(dict.fromkeys((entry.dtk, entry.arch) for entry in entries if not entry.kernel))


def read_entries(path: Path, file: str, validation: ValidationCache) -> tuple[CatalogueEntry, ...]:
    """The checked entries as the file has them now; ConfigError when it is no catalogue any more."""
    try:
        data = read_file(path)
    except FileNotFoundError:
        return ()
    return parse_entries(data, file, validation)


def parse_entries(data: bytes, file: str, validation: ValidationCache) -> tuple[CatalogueEntry, ...]:
    """The checked entries of a catalogue; ConfigError when it is none."""
    return entries_of(validation.parsed("catalogue", data, file))


def catalogue_bytes(entries: Iterable[CatalogueEntry]) -> bytes:
    """The catalogue as it is written: by release, architecture and stream, the fields of an entry in their order."""
    return pretty_json([as_document(entry) for entry in sorted(entries, key=rank)], sort=False)


def changed(entries: Iterable[CatalogueEntry], change: Change) -> list[CatalogueEntry]:
    """The entries after an update; those that it does not speak of stay as they are."""
    kept: list[CatalogueEntry] = []
    for entry in entries:
        if entry.place in change.found or entry.place in change.gone:
            continue
        completes = change.kernels.get((entry.dtk, entry.arch), {}) if not entry.kernel else {}
        kept.append(replace(entry, **completes) if completes else entry)
    return kept + [entry for found in change.found.values() for entry in found]


def by_place(entries: Iterable[CatalogueEntry]) -> dict[Place, list[CatalogueEntry]]:
    """The entries of each release and architecture."""
    found: dict[Place, list[CatalogueEntry]] = defaultdict(list)
    for entry in entries:
        found[entry.place].append(entry)
    return found


def wanted_minors(wants: Sequence[MatrixEntry]) -> dict[str, Fault]:
    """The minors that the matrix names, the lowest first; each with the place that names it first."""
    found: dict[str, Fault] = {}
    for want in wants:
        file, path = want.where
        for number, release in enumerate(want.releases):
            found.setdefault(minor_of(release), Fault(file, f"{path}.ocp_versions[{number}]", release))
    return dict(sorted(found.items(), key=lambda pair: version_key(pair[0])))


def library_minors(wants: Sequence[MatrixEntry], since: str) -> dict[str, Fault]:
    """The minors of a library of toolkits: the matrix's, and with `since` all from that one up to the matrix's last."""
    found = wanted_minors(wants)
    if not since or not found:
        return found
    major, _, first = since.partition(".")
    last = max((int(minor.partition(".")[2]) for minor in found if minor.partition(".")[0] == major), default=-1)
    reason = Fault("config", "$.toolkits.since", since)
    every = {f"{major}.{number}": reason for number in range(int(first), last + 1)} | found
    return dict(sorted(every.items(), key=lambda pair: version_key(pair[0])))


def without_release(wants: Sequence[MatrixEntry], found: Iterable[Release], arches: Sequence[str]) -> list[Fault]:
    """The minors and releases of the matrix of which nothing was found, for each architecture."""
    there: set[Place] = set()
    for release in found:
        there |= {release.place, (minor_of(release.version), release.arch)}
    faults = []
    for want in wants:
        file, path = want.where
        for number, name in enumerate(want.releases):
            lacking = [arch for arch in want.arch or arches if (name, arch) not in there]
            if lacking:
                message = f"there is no release {name} for {' and '.join(lacking)}"
                faults.append(Fault(file, f"{path}.ocp_versions[{number}]", message))
    return faults


def missing(entries: Iterable[CatalogueEntry], found: Iterable[Release], minors: Iterable[str], arches: Sequence[str],
            exclude: Sequence[str]) -> list[Place]:
    """Releases of wanted minors that the catalogue has and that were not found any more."""
    there, wanted = {release.place for release in found}, set(minors)
    gone = {
        entry.place for entry in entries
        if minor_of(entry.version) in wanted and entry.arch in arches and entry.version not in exclude
    }
    return sorted(gone - there, key=lambda place: (version_key(place[0]), place))


def is_complete(entries: Sequence[CatalogueEntry], payload: str) -> bool:
    """Whether a release's entries were made from this payload, so that nothing of it has to be read."""
    digest = payload.rpartition("@")[2]
    return bool(entries) and all(entry.kernel and entry.payload.rpartition("@")[2] == digest for entry in entries)


def rank(entry: CatalogueEntry) -> tuple[Any, ...]:
    """By which entries are sorted."""
    return version_key(entry.version), entry.version, entry.arch, entry.stream
