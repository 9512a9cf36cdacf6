"""What a registry says of an image: manifests, indexes and image configurations, checked.

Formats: OCI image manifest, index and configuration (image-spec, version 1), and
Docker's forms of them, image manifest version 2, schema 2, and manifest list
(distribution, docs/content/spec). Schema 1 has no digest of a configuration and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from foundry.base.errors import FoundryError
from foundry.base.files import parse_json
from foundry.base.reasons import Reason

MAX_MANIFEST = 4 << 20  # bytes; what registries must take (OCI distribution specification)
MAX_CONFIG = 8 << 20  # bytes

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_INDEXES = (
    OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPT = _MANIFESTS + _INDEXES
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN = ("application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable.")
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
_MOST = 1000  # layers, entries, annotations, labels
_LONGEST = 64 << 10  # characters of a text; labels hold whole documents at times
_SHOWN = 20  # platforms
_digest = re.compile(r"sha256:[0-9a-f]{64}")
_type = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")  # RFC 6838, 4.2
_name = re.compile(r"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True)
class Platform:
    """For what an image is, in Go's words: ``linux``, ``amd64``; `variant` is ``v8`` and the like, or empty."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """A blob or manifest: ``sha256:`` and 64 hex digits, bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def foreign(self) -> bool:
        """Whether the blob need not be in the image's registry."""
        return bool(self.urls) or self.media_type.startswith(_FOREIGN)


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Index:
    """One name for images of several platforms."""

    entries: tuple[Descriptor, ...]
    media_type: str


@dataclass(frozen=True)
class ImageConfig:
    """What an image says of itself. `created` as it stands there; `diff_ids` of the plain layers, the lowest first."""

    os: str
    architecture: str
    created: str | None
    labels: Mapping[str, str] = field(hash=False)
    diff_ids: tuple[str, ...]


def parse_manifest(data: bytes, content_type: str = "") -> Manifest | Index:
    """The manifest or index in `data`; `content_type` is the answer's header, parameters and all.

    The document's own mediaType decides. Where it has none (it may be left out of OCI's),
    a known `content_type` does, else what the document holds.

    Raises FoundryError ``manifest-malformed``; ``manifest-unsupported`` for schema 1 and for
    what is no image.
    """
    read = _Reader("the manifest", Reason.MANIFEST_MALFORMED)
    document = read.document(data, MAX_MANIFEST)
    sent = content_type.partition(";")[0].strip().lower()
    said = read.text(document, "mediaType", "")
    version = document.get("schemaVersion")
    if sent.startswith(_SCHEMA1) or said.startswith(_SCHEMA1) or (version == 1 and type(version) is int):
        raise FoundryError(
            "the manifest is of Docker's schema 1, which names no image configuration",
            reason=Reason.MANIFEST_UNSUPPORTED, hint="push the image anew with a newer tool",
        )
    if version != 2 or type(version) is not int:  # noqa: PLR2004 - the one that there is
        read.fail(f"its schemaVersion is {_shown(version)}, not 2")
    if said and sent in ACCEPT and said != sent:
        read.fail(f"it was sent as {sent} and calls itself {_shown(said)}")
    media_type = said or (sent if sent in ACCEPT else _guess(document))
    if media_type not in ACCEPT:
        raise FoundryError(
            f"the manifest is of the type {_shown(media_type)}, which is no image's", reason=Reason.MANIFEST_UNSUPPORTED
        )
    if media_type in _INDEXES:
        return Index(read.descriptors(document, "manifests"), media_type)
    if "manifests" in document:  # one document that two readers could take for different things (CVE-2021-41190)
        read.fail("it is an image's and has `manifests`, as only an index has")
    config = read.descriptor(document.get("config"), "config")
    return Manifest(config, read.descriptors(document, "layers"), media_type, read.texts(document, "annotations"))


def images_in(index: Index) -> list[Descriptor]:
    """Those entries of an index that are no attestations."""
    return [entry for entry in index.entries if _is_image(entry)]


def choose(index: Index, architecture: str, os: str = "linux") -> Descriptor:
    """The image for a platform; `architecture` as in `foundry.base.names.OCI_ARCH`.

    Several that fit: one without variant first, then arm64's ``v8`` (which is the same), then
    the first one listed. Attestations are no images. FoundryError (``platform-missing``)
    when there is none.
    """
    images = images_in(index)
    fitting = [
        entry for entry in images
        if entry.platform and (entry.platform.os, entry.platform.architecture) == (os, architecture)
    ]
    if not fitting:
        there = list(dict.fromkeys(str(entry.platform) for entry in images if entry.platform))
        shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if there[_SHOWN:] else "")
        raise FoundryError(
            f"the index has no image for {os}/{architecture}; there is {shown or 'none with a platform'}",
            reason=Reason.PLATFORM_MISSING,
        )
    variants = ("", "v8") if architecture == "arm64" else ("",)

    def rank(entry: Descriptor) -> int:
        variant = entry.platform.variant if entry.platform else ""
        return variants.index(variant) if variant in variants else len(variants)

    return min(fitting, key=rank)


def parse_config(data: bytes) -> ImageConfig:
    """An image's configuration; FoundryError (``image-config-malformed``)."""
    read = _Reader("the image's configuration", Reason.IMAGE_CONFIG_MALFORMED)
    document = read.document(data, MAX_CONFIG)
    rootfs = read.mapping(document, "rootfs")
    diff_ids = read.items(rootfs, "diff_ids")
    if rootfs.get("type") != "layers" or not all(isinstance(one, str) and _digest.fullmatch(one) for one in diff_ids):
        read.fail("its rootfs is no list of layers")
    return ImageConfig(
        os=read.name(document, "os"), architecture=read.name(document, "architecture"),
        created=read.text(document, "created", "") or None,
        labels=read.texts(read.mapping(document, "config"), "Labels"), diff_ids=tuple(diff_ids),
    )


def _guess(document: Mapping[str, Any]) -> str:
    return _INDEXES[0] if "manifests" in document and "config" not in document else _MANIFESTS[0]


def _is_image(entry: Descriptor) -> bool:
    name, attestation = _ATTESTATION
    unknown = entry.platform is not None and (entry.platform.os, entry.platform.architecture) == ("unknown", "unknown")
    return not unknown and entry.annotations.get(name) != attestation


def _shown(value: object) -> str:
    return ascii(value)[:80]


@dataclass(frozen=True)
class _Reader:
    """Takes fields out of a document, each of the type that it must have; what is not there or null is empty."""

    what: str
    reason: Reason

    def fail(self, why: str) -> NoReturn:
        raise FoundryError(f"{self.what} is malformed: {why}", reason=self.reason)

    def document(self, data: bytes, limit: int) -> Mapping[str, Any]:
        if len(data) > limit:
            self.fail(f"it has {len(data)} bytes, {limit} are the limit")
        try:
            document = parse_json(data)
        except ValueError as error:
            self.fail(f"it is no JSON ({str(error)[:200]})")
        if not isinstance(document, dict):
            self.fail("it is no JSON object")
        return document

    def mapping(self, parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = parent.get(name)
        if value is not None and not isinstance(value, dict):
            self.fail(f"{name} is no object")
        return value or {}

    def items(self, parent: Mapping[str, Any], name: str) -> Sequence[Any]:
        value = parent.get(name)
        if not isinstance(value, list):
            self.fail(f"{name} is no list")
        if len(value) > _MOST:
            self.fail(f"{name} has {len(value)} entries, {_MOST} are the limit")
        return value

    def text(self, parent: Mapping[str, Any], name: str, missing: str | None = None) -> str:
        value = parent.get(name)
        if value is None:
            value = missing
        if not isinstance(value, str) or len(value) > _LONGEST:
            self.fail(f"{name[:80]!a} is no text of at most {_LONGEST} characters")
        return value

    def name(self, parent: Mapping[str, Any], name: str, missing: str | None = None) -> str:
        value = self.text(parent, name, missing)
        if not _name.fullmatch(value):
            self.fail(f"its {name} is {_shown(value)}")
        return value

    def texts(self, parent: Mapping[str, Any], name: str) -> dict[str, str]:
        values = self.mapping(parent, name)
        if len(values) > _MOST:
            self.fail(f"{name} has {len(values)} entries, {_MOST} are the limit")
        return {key: self.text(values, key) for key in values}

    def descriptors(self, parent: Mapping[str, Any], name: str) -> tuple[Descriptor, ...]:
        return tuple(self.descriptor(one, f"{name}[{at}]") for at, one in enumerate(self.items(parent, name)))

    def descriptor(self, value: Any, place: str) -> Descriptor:
        if not isinstance(value, dict):
            self.fail(f"{place} is no object")
        media_type, digest, size = self.text(value, "mediaType"), self.text(value, "digest"), value.get("size")
        if not _type.fullmatch(media_type):
            self.fail(f"{place} has the type {_shown(media_type)}")
        if not _digest.fullmatch(digest):
            self.fail(f"{place} has the digest {_shown(digest)}, not one of SHA-256")
        if type(size) is not int or size < 0:
            self.fail(f"{place} has the size {_shown(size)}")
        platform = self.mapping(value, "platform")
        urls = [] if value.get("urls") is None else self.items(value, "urls")
        if not all(isinstance(url, str) and len(url) <= _LONGEST for url in urls):
            self.fail(f"{place} has urls that are no texts")
        return Descriptor(
            media_type, digest, size,
            Platform(self.name(platform, "os", ""), self.name(platform, "architecture", ""),
                     self.name(platform, "variant", "")) if platform else None,
            tuple(urls), self.texts(value, "annotations"),
        )
