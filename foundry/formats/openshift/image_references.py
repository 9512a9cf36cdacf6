"""``release-manifests/image-references``: which images an OpenShift release is made of.

An ImageStream (image.openshift.io/v1) whose tags name images by digest. A payload with two operating
systems has a second toolkit and node image, ``driver-toolkit-10`` and ``rhel-coreos-10``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from foundry.base.errors import FoundryError
from foundry.base.files import parse_json
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference

PATH = "release-manifests/image-references"
MAX_BYTES = 8 << 20
TOOLKIT = "driver-toolkit"
_MOST = 10_000  # tags
_LONGEST = 100  # characters of a release
_stream = re.compile(rf"{TOOLKIT}((?:-[0-9]{{1,3}})?)")
# The node image beside a toolkit, by the name that OpenShift, OKD and old releases give it.
_NODES = ("rhel-coreos{}", "stream-coreos{}", "rhel-coreos{}-9", "rhel-coreos{}-8")


@dataclass(frozen=True)
class Stream:
    """One operating system of a release: `name` of the toolkit's tag, its image, and the node image if there is one."""

    name: str
    toolkit: Reference
    node: Reference | None


@dataclass(frozen=True)
class Payload:
    """The release that a payload says to be, ``4.18.15``, and its operating systems, at least one."""

    release: str
    streams: tuple[Stream, ...]


def parse(data: bytes) -> Payload:
    """What a payload says of itself, its images by digest.

    Raises FoundryError ``payload-malformed``, ``payload-without-toolkit``.
    """
    release, images = _content(data)
    streams = []
    for name in sorted(images):
        match = _stream.fullmatch(name)
        if match is None:
            continue
        node = next((images[one] for one in (text.format(match[1]) for text in _NODES) if one in images), None)
        streams.append(Stream(name, _reference(name, images[name]), _reference("node", node) if node else None))
    if not streams:
        raise FoundryError(f"it has no {TOOLKIT}", reason=Reason.PAYLOAD_WITHOUT_TOOLKIT,
                           hint="is it a release of OpenShift? `releases.exclude` leaves a release out")
    return Payload(release, tuple(streams))


def _content(data: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        document = parse_json(data)
    except ValueError as error:
        _malformed(f"it is no JSON ({str(error)[:200]})")
    spec = document.get("spec") if isinstance(document, dict) and document.get("kind") == "ImageStream" else None
    tags = spec.get("tags") if isinstance(spec, dict) else None
    if not isinstance(tags, list) or len(tags) > _MOST:
        _malformed("it is no ImageStream with tags")
    images: dict[str, Any] = {}
    for tag in tags:
        name = tag.get("name") if isinstance(tag, dict) else None
        if not isinstance(name, str):
            _malformed("a tag has no name")
        if name in images:
            _malformed(f"the tag {ascii(name)[:80]} is there twice")
        images[name] = tag.get("from")
    metadata = document["metadata"] if isinstance(document.get("metadata"), dict) else {}
    release = metadata.get("name")
    if not isinstance(release, str) or not 0 < len(release) <= _LONGEST:
        _malformed("it does not name its release")
    return release, images


def _reference(name: str, source: Any) -> Reference:
    text = source.get("name") if isinstance(source, dict) and source.get("kind") == "DockerImage" else None
    try:
        reference = parse_reference(text) if isinstance(text, str) else None
    except FoundryError:
        reference = None
    if reference is None or not reference.digest:
        _malformed(f"{name} is no image by digest")
    return reference.at(reference.digest)


def _malformed(why: str) -> NoReturn:
    raise FoundryError(f"its /{PATH} is malformed: {why}", reason=Reason.PAYLOAD_MALFORMED,
                       hint="`releases.exclude` leaves a release out")
