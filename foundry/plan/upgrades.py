"""The upgrades between releases, as a file beside the catalogue: what `doit toolkit` found in the release graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry.base.files import pretty_json, read_file
from foundry.base.schema import ValidationCache
from foundry.base.versions import minor_of, version_key
from foundry.formats.openshift.release_lists import Edge, Risk

SCHEMA = 1
Upgrade = tuple[str, str, str, tuple[Risk, ...]]  # architecture, from, to, risks


@dataclass(frozen=True)
class Upgrades:
    """The upgrades of one architecture's releases: from each to others, with the risks that speak against it."""

    edges: Mapping[str, Mapping[str, tuple[Risk, ...]]] = field(default_factory=dict)

    @property
    def releases(self) -> frozenset[str]:
        """All that an upgrade leads from or to."""
        return frozenset(self.edges) | {target for targets in self.edges.values() for target in targets}

    def after(self, release: str) -> Iterator[tuple[str, tuple[Risk, ...]]]:
        """Where an upgrade leads to from a release, the newest first, with its risks."""
        targets = self.edges.get(release, {})
        yield from sorted(targets.items(), key=lambda pair: version_key(pair[0]), reverse=True)


def upgrades_of(edges: Iterable[Edge]) -> Upgrades:
    """The upgrades of a graph's channels: one that a channel recommends without risks has none."""
    found: dict[str, dict[str, tuple[Risk, ...]]] = defaultdict(dict)
    for edge in edges:
        if edge.source != edge.target:
            before = found[edge.source].get(edge.target)
            risks = tuple(sorted(set(edge.risks), key=lambda risk: (risk.name, risk.url, risk.message)))
            found[edge.source][edge.target] = risks if before is None else min(before, risks, key=lambda one: (
                len(one), [(risk.name, risk.url, risk.message) for risk in one]))
    return Upgrades({source: dict(targets) for source, targets in found.items()})


def upgrades_bytes(found: Mapping[str, Upgrades], minors: Iterable[str]) -> bytes:
    """The file, by architecture; of releases of these minors and those that lead to them, the same bytes each time."""
    wanted = set(minors)
    document: dict[str, Any] = {"schema": SCHEMA, "risks": {}, "upgrades": {}}
    named: dict[str, dict[str, str]] = {}
    for arch, upgrades in sorted(found.items()):
        edges: dict[str, dict[str, list[str]]] = {}
        for source in sorted(upgrades.edges, key=version_key):
            targets = {target: risks for target, risks in upgrades.after(source) if minor_of(target) in wanted}
            if targets:
                edges[source] = {target: [_key(risk, named) for risk in targets[target]]
                                 for target in reversed(targets)}
        document["upgrades"][arch] = edges
    document["risks"] = dict(sorted(named.items()))
    return pretty_json(document, sort=False)


def read_upgrades(path: Path, file: str, validation: ValidationCache) -> dict[str, Upgrades]:
    """The upgrades by architecture; none where there is no file. ConfigError where it is not such a file."""
    try:
        data = read_file(path)
    except FileNotFoundError:
        return {}
    return parse_upgrades(data, file, validation)


def parse_upgrades(data: bytes, file: str, validation: ValidationCache) -> dict[str, Upgrades]:
    """The upgrades in a file's content. ConfigError where it is not such a file."""
    document = validation.parsed("upgrades", data, file)
    known = {name: Risk(said["name"], said.get("url", ""), said.get("message", ""))
             for name, said in document["risks"].items()}
    return {arch: Upgrades({
        source: {target: tuple(known.get(name, Risk(name)) for name in names) for target, names in targets.items()}
        for source, targets in edges.items()}) for arch, edges in document["upgrades"].items()}


def flat(found: Mapping[str, Upgrades]) -> frozenset[Upgrade]:
    """Each upgrade by architecture, with its risks; for comparing."""
    return frozenset((arch, source, target, risks) for arch, upgrades in found.items()
                     for source, targets in upgrades.edges.items() for target, risks in targets.items())


def _key(risk: Risk, named: dict[str, dict[str, str]]) -> str:
    """The risk's name in the file; several of one name are told apart by a number."""
    said = {"name": risk.name, **({"url": risk.url} if risk.url else {}),
            **({"message": risk.message} if risk.message else {})}
    number = 1
    while named.setdefault(name := risk.name if number == 1 else f"{risk.name} {number}", said) != said:
        number += 1
    return name
