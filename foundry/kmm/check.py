"""Checking the manifests that users have: YAML or JSON, as they wrote it or as `oc get -o yaml` prints it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundry.base.errors import UsageError
from foundry.base.schema import ValidationCache
from foundry.base.yaml_lines import Document, located, objects
from foundry.kmm import known as library
from foundry.kmm import rules
from foundry.kmm.fields import faults_of_fields
from foundry.kmm.known import Known
from foundry.kmm.objects import At, Finding

_CONTEXT = ("ClusterVersion", "Node")
_KNOWN = tuple(rules.KINDS.items())


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
    level: str

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
                    one.message, one.mend, "warning" if one.warning else "error")


@dataclass(frozen=True)
class Checked:
    """What was found, and how many objects were looked at; the kinds of those that were not."""

    found: Sequence[Told]
    objects: int
    others: Sequence[str] = ()


def check(
    files: Mapping[str, bytes], known: Known, validation: ValidationCache, releases: Sequence[str] = (),
    kernels: Sequence[str] = (),
) -> Checked:
    """The mistakes in files, by name.

    Besides `releases` and `kernels`, clusters (ClusterVersion) and nodes in the files say which kernels must be served.
    Raises UsageError for what can't be read, where there is nothing to check, and for an unknown release.
    """
    found = list(_objects(files))
    modules = [one.at for one in found if rules.module_specs(one.at) is not None]
    signing = {name for at in modules for name in rules.signing_secrets(at)} if modules else None
    looked_at = [one for one in found if rules.is_known(one.at) and _is_meant(one.at, signing)]
    others = sorted({_called(one.at) for one in found if one not in looked_at and one.at["kind"].text not in _CONTEXT})
    if not looked_at:
        raise UsageError(f"there is nothing to check: {', '.join(others) or 'no object'}",
                         hint=f"it knows {', '.join(f'{kind} ({versions[0]})' for kind, (versions, _) in _KNOWN)}")
    nodes = [one.at for one in found if one.at["kind"].text == "Node"]
    wanted = [*kernels, *_of_releases(releases, known)]
    told: list[Told] = []
    for one in found:
        for release in library.releases_in(one.at):
            wanted += known.releases.get(release, ())
            if known.releases and release not in known.releases:
                told.append(one.told(one.at.says(
                    "unknown-release", f"the catalogue has no release {release}, so nothing is said of its kernels",
                    "`doit toolkit` brings it up to date", warning=True), one.at))
    told += [finding for one in looked_at for finding in _told(one, known, validation, wanted, nodes)]
    return Checked(told, len(looked_at), others)


def _is_meant(at: At, signing: Collection[str] | None) -> bool:
    """Of secrets those that a Module signs with; where there is no Module, those that have what KMM looks for."""
    if at["kind"].text != "Secret":
        return True
    has = at["data"]["cert"].text or at["stringData"]["cert"].text
    return at["metadata"]["name"].text in signing if signing is not None else bool(has)


def _called(at: At) -> str:
    kind, version = at["kind"].text or "something without a kind", at["apiVersion"].text
    return f"{kind} ({version})" if version else kind


def _objects(files: Mapping[str, bytes]) -> Iterator[_Object]:
    for file, content in files.items():
        try:
            for document in located(content):
                for value, path in objects(document):
                    yield _Object(file, document, At(value, path))
        except ValueError as error:
            raise UsageError(f"{file} can't be checked: it {str(error).removeprefix('it ')}",
                             hint="`oc get module NAME -o yaml` prints what can be checked") from error


def _of_releases(releases: Sequence[str], known: Known) -> Iterator[str]:
    for release in releases:
        if release not in known.releases:
            raise UsageError(f"the catalogue has no release {release}", hint="`doit toolkit` brings it up to date")
        yield from known.releases[release]


def _told(
    one: _Object, known: Known, validation: ValidationCache, kernels: Sequence[str], nodes: Sequence[At]
) -> Iterator[Told]:
    top = one.at
    chosen = _selector(top)
    wanted = [*kernels, *(node["status"]["nodeInfo"]["kernelVersion"].text for node in nodes if _fits(node, chosen))]
    twice = (Finding("twice", path, f"{path[-1]!r} stands there twice", "the last one counts: leave one out")
             for path in one.document.twice if path[:len(top.path)] == top.path)
    meant, wrong = faults_of_fields(top, validation)
    at = [finding.path for finding in wrong if finding.rule in ("type", "value")]
    more = [finding for finding in (*rules.findings(meant), *library.findings(meant, known, sorted({*wanted} - {""})))
            if not any(finding.path[:len(path)] == path for path in at)]
    yield from sorted((one.told(finding, top) for finding in (*twice, *wrong, *more)), key=lambda told: told.line)


def _selector(top: At) -> dict[str, Any]:
    spec = rules.module_specs(top) or top["spec"]
    value = spec["selector"].value
    return value if isinstance(value, dict) else {}


def _fits(node: At, selector: Mapping[str, Any]) -> bool:
    labels = node["metadata"]["labels"]
    return all(labels[name].value == value for name, value in selector.items())
