"""Lists of OpenShift releases: the release graph, and the tags of the release images' repository.

The graph is what api.openshift.com gives for a channel (openshift/cincinnati,
docs/design/openshift.md): ``nodes`` of version and payload. The tags are Quay's API's, a page at a time:
``4.20.1-x86_64`` with the digest of its manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import parse_json
from foundry.base.plain_text import line
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference

_MOST = 100_000  # nodes or tags
_MOST_EDGES, _ENDS = 1_000_000, 2
_LONGEST_RISK = 1000  # characters
_SHOWN = 120  # characters of what a server says
# Releases for everybody have numbers alone; OKD's, which are built of CentOS Stream, say so.
_general = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,6}(-okd-scos\.[0-9]{1,6})?")
_digest = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class TagPage:
    """One page of tags: version → digest for the architecture asked for, all names, and whether more follow."""

    releases: dict[str, str]
    names: frozenset[str]
    more: bool


def is_general(version: str) -> bool:
    """Whether a version is of a release that is generally available: no candidate, no preview."""
    return _general.fullmatch(version) is not None


def parse_graph(data: bytes, where: str) -> dict[str, Reference]:
    """The payloads of a channel's generally available releases, by version; `where` names the channel in errors.

    Raises OutsideError ``releases-malformed``, ``releases-empty`` (no node at all).
    """
    document = _object(data, where)
    nodes = document.get("nodes")
    if not isinstance(nodes, list) or len(nodes) > _MOST:
        _malformed(where, "it has no list of nodes")
    if not nodes:
        raise OutsideError(f"{where} has no releases", reason=Reason.RELEASES_EMPTY, hint=_HINT)
    found: dict[str, Reference] = {}
    for number, node in enumerate(nodes):
        version = node.get("version") if isinstance(node, dict) else None
        if not isinstance(version, str) or not version:
            _malformed(where, f"node {number} has no version")
        if not is_general(version):
            continue
        payload = node.get("payload")
        try:
            reference = parse_reference(payload) if isinstance(payload, str) else None
        except FoundryError:
            reference = None
        if reference is None or not reference.digest:
            _malformed(where, f"{version} has no payload by digest")
        if found.setdefault(version, reference) != reference:
            _malformed(where, f"{version} has two payloads")
    return found


@dataclass(frozen=True)
class Risk:
    """Why an upgrade is not recommended to every cluster."""

    name: str
    url: str = ""
    message: str = ""


@dataclass(frozen=True)
class Edge:
    """An upgrade from a release to another one; with `risks` it is not recommended to clusters that they apply to."""

    source: str
    target: str
    risks: tuple[Risk, ...] = ()


def parse_edges(data: bytes, where: str) -> list[Edge]:
    """The upgrades of a channel between generally available releases (openshift/cincinnati, docs/design/openshift.md).

    ``edges`` are pairs of places in ``nodes``; ``conditionalEdges`` name versions, and what speaks against them. Raises
    OutsideError ``releases-malformed``.
    """
    document = _object(data, where)
    nodes = document.get("nodes", ())
    versions = [node.get("version") if isinstance(node, dict) else None for node in nodes]
    found = []
    for number, edge in enumerate(_list(document, "edges", where)):
        if not isinstance(edge, list) or len(edge) != _ENDS or not all(
            isinstance(end, int) and not isinstance(end, bool) and 0 <= end < len(versions) for end in edge
        ):
            _malformed(where, f"edge {number} leads to no node")
        source, target = (versions[end] for end in edge)
        found.append(Edge(str(source), str(target)))
    for number, group in enumerate(_list(document, "conditionalEdges", where)):
        if not isinstance(group, dict):
            _malformed(where, f"conditional edge {number} is no object")
        risks = tuple(_risk(one) for one in _list(group, "risks", where) if isinstance(one, dict))
        for edge in _list(group, "edges", where):
            ends = [edge.get(name) if isinstance(edge, dict) else None for name in ("from", "to")]
            if not all(isinstance(end, str) for end in ends):
                _malformed(where, f"conditional edge {number} has no ends")
            found.append(Edge(str(ends[0]), str(ends[1]), risks or (Risk("unknown"),)))
    return [edge for edge in found if is_general(edge.source) and is_general(edge.target)]


def _risk(said: Mapping[str, Any]) -> Risk:
    texts = {name: line(value, _LONGEST_RISK) for name in ("name", "url", "message")
             if isinstance(value := said.get(name), str)}
    url = texts.get("url", "")
    return Risk(texts.get("name") or "unknown", url if url.startswith("https://") else "", texts.get("message", ""))


def _list(document: Mapping[str, Any], name: str, where: str) -> list[Any]:
    found = document.get(name, [])
    if not isinstance(found, list) or len(found) > _MOST_EDGES:
        _malformed(where, f"its {name} are no list")
    return found


def parse_tags(data: bytes, where: str, arch: str, page: int) -> TagPage:
    """One page of Quay's list of tags. Raises OutsideError ``releases-malformed``."""
    document = _object(data, where)
    tags, more, number = document.get("tags"), document.get("has_additional"), document.get("page", page)
    if not isinstance(tags, list) or len(tags) > _MOST or not isinstance(more, bool):
        _malformed(where, "it is no page of tags")
    if number != page:
        _malformed(where, f"it gives page {_shown(number)} for page {page}")
    found: dict[str, str] = {}
    names = set()
    for tag in tags:
        name = tag.get("name") if isinstance(tag, dict) else None
        if not isinstance(name, str):
            _malformed(where, "a tag has no name")
        names.add(name)
        version, _, suffix = name.rpartition("-")
        if suffix != arch or not is_general(version):
            continue
        digest = tag.get("manifest_digest")
        if not isinstance(digest, str) or not _digest.fullmatch(digest):
            _malformed(where, f"the tag {name} has no digest")
        if found.setdefault(version, digest) != digest:
            _malformed(where, f"the tag {name} is there twice, with two digests")
    return TagPage(found, frozenset(names), more)


def error_text(data: bytes) -> str:
    """What an error's body says: the graph's ``value``, Quay's ``error_message``; empty when it says nothing."""
    try:
        document = parse_json(data)
    except ValueError:
        return ""
    for name in ("value", "error_message", "message", "detail") if isinstance(document, dict) else ():
        if isinstance(document.get(name), str):
            return line(document[name], _SHOWN)
    return ""


_HINT = "nothing was changed; look at the address in config/ (`releases`), or try again later"


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = parse_json(data)
    except ValueError as error:
        _malformed(where, f"it is no JSON ({str(error)[:_SHOWN]})")
    if not isinstance(document, dict):
        _malformed(where, "it is no JSON object")
    if "kind" in document and "value" in document and "nodes" not in document:
        _malformed(where, f"it says {_shown(document['value'])}")
    return document


def _malformed(where: str, why: str) -> NoReturn:
    raise OutsideError(f"{where} can't be used: {why}", reason=Reason.RELEASES_MALFORMED, hint=_HINT)


def _shown(value: object) -> str:
    return line(value if isinstance(value, str) else ascii(value), _SHOWN)
