"""Checking the manifests that users have: YAML or JSON, as they wrote it or as `oc get -o yaml` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundry.base.errors import ConfigError, Fault, UsageError
from foundry.base.yaml_lines import Document, located, objects
from foundry.kmm import known as library
from foundry.kmm import rules
from foundry.kmm.known import Known
from foundry.kmm.rules import At, Finding


@dataclass(frozen=True)
class Told:
    """A mistake in a file. `object` is kind and name, `field` where it is in that."""

    file: str
    line: int
    object: str
    field: str
    rule: str
    message: str
    mend: str

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Object:
    file: str
    document: Document
    at: At

    def told(self, one: Finding, top: At) -> Told:
        inside = one.path[len(top.path):]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inside).lstrip(".")
        name = top["metadata"]["name"].text
        return Told(self.file, self.document.line(one.path), f"{top['kind'].text} {name}".strip(), field, one.rule,
                    one.message, one.mend)


def check(
    files: Mapping[str, bytes], known: Known, releases: Sequence[str] = (), kernels: Sequence[str] = ()
) -> list[Told]:
    """The mistakes in files, by name.

    Besides `releases` and `kernels`, clusters (ClusterVersion) and nodes in the files say which kernels must be served.
    Raises ConfigError for what can't be read, UsageError where there is nothing to check, or an unknown release.
    """
    found = list(_objects(files))
    looked_at = [one for one in found if rules.is_known(one.at)]
    if not looked_at:
        kinds = sorted({one.at["kind"].text or "?" for one in found})
        raise UsageError(f"there is nothing to check: {', '.join(kinds) or 'no object'}",
                         hint=f"it knows {', '.join(rules.KINDS)}")
    nodes = [one.at for one in found if one.at["kind"].text == "Node"]
    wanted = [*kernels, *_of_releases(releases, known)]
    for one in found:
        wanted += [kernel for release in library.releases_in(one.at) for kernel in known.releases.get(release, ())]
    return [told for one in looked_at for told in _told(one, known, wanted, nodes)]


def _objects(files: Mapping[str, bytes]) -> Iterator[_Object]:
    faults = []
    for file, content in files.items():
        try:
            for document in located(content):
                for value, path in objects(document):
                    yield _Object(file, document, At(value, path))
        except ValueError as error:
            faults.append(Fault(file, "", str(error)))
    if faults:
        raise ConfigError(faults, hint="`oc get module NAME -o yaml` prints what can be checked")


def _of_releases(releases: Sequence[str], known: Known) -> Iterator[str]:
    for release in releases:
        if release not in known.releases:
            raise UsageError(f"the catalogue has no release {release}", hint="`doit toolkit` brings it up to date")
        yield from known.releases[release]


def _told(one: _Object, known: Known, kernels: Sequence[str], nodes: Sequence[At]) -> Iterator[Told]:
    top = one.at
    chosen = _selector(top)
    wanted = [*kernels, *(node["status"]["nodeInfo"]["kernelVersion"].text for node in nodes if _fits(node, chosen))]
    twice = (Finding("twice", path, f"{path[-1]!r} stands there twice", "the last one counts: leave one out")
             for path in one.document.twice if path[:len(top.path)] == top.path)
    found = [*twice, *rules.findings(top), *library.findings(top, known, sorted({*wanted} - {""}))]
    yield from sorted((one.told(finding, top) for finding in found), key=lambda told: told.line)


def _selector(top: At) -> dict[str, Any]:
    spec = rules.module_specs(top) or top["spec"]
    value = spec["selector"].value
    return value if isinstance(value, dict) else {}


def _fits(node: At, selector: Mapping[str, Any]) -> bool:
    labels = node["metadata"]["labels"]
    return all(labels[name].value == value for name, value in selector.items())
