"""A JSON document kept in a registry under a tag, as an OCI artifact of one layer, and one more with its signature.

A document of moderate size is embedded in its descriptor too (image specification
1.1, "data"), so that reading it takes the manifest alone: one request.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from types import EllipsisType

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, parse_json, sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.attestations.bundle import BUNDLE_TYPE
from foundry.formats.images.manifest import OCI_MANIFEST, Descriptor, Manifest, parse_manifest
from foundry.registry.push import Content, Writer
from foundry.registry.repository import Repository

_EMPTY = b"{}"
_LARGEST_EMBEDDED = 2 << 20  # bytes; a manifest may have 4 MiB, and base64 makes 4 of 3
_MAX_DOCUMENT = 64 << 20  # bytes


@dataclass(frozen=True)
class Document:
    """A document, and the Sigstore bundle with its signature; empty where nobody signed it."""

    data: bytes
    bundle: bytes = b""


def put_document(
    writer: Writer, tag: str, document: Document, media_type: str, *, over: bytes | EllipsisType | None = ...
) -> str:
    """Keep the document under the tag, in place of what is there; the manifest's digest.

    `over` is what must be there (None: nothing): where it is something else, FoundryError
    ``document-changed``. Registries know no condition for a write, so somebody who writes in
    the one request between that look and ours is not seen; one who does so just after is
    (``push-mismatch``).
    """
    def look() -> None:
        there = get_document(writer, tag, media_type) if over is not ... else None
        if over is not ... and (there.data if there is not None else None) != over:
            raise FoundryError(f"{writer.name}:{tag} was changed meanwhile", reason=Reason.DOCUMENT_CHANGED, retry=True,
                               hint="somebody else publishes here: run again")

    parts = {media_type: document.data, **({BUNDLE_TYPE: document.bundle} if document.bundle else {})}
    empty = _digest(_EMPTY)
    manifest = canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": media_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": len(_EMPTY)},
        "layers": [_layer(kind, data) for kind, data in parts.items()],
    })
    blobs = {empty: _EMPTY, **{_digest(data): data for data in parts.values()}}
    writer.push(Content(manifest, OCI_MANIFEST, _digest(manifest), blobs), tag, last_look=look)
    return _digest(manifest)


def get_document(place: Repository, tag: str, media_type: str) -> Document | None:
    """The document under a tag, its digest checked; None only when the registry says that there is none.

    Its signature is not checked. Raises FoundryError ``document-malformed`` when something else is there, and what
    `Registry.manifest` raises.
    """
    fetched = place.tagged(tag)
    if fetched is None:
        return None
    manifest = parse_manifest(fetched.data, fetched.media_type)
    kinds = [layer.media_type for layer in manifest.layers] if isinstance(manifest, Manifest) else []
    if not isinstance(manifest, Manifest) or kinds not in ([media_type], [media_type, BUNDLE_TYPE]):
        raise FoundryError(f"{place.name}:{tag} is no document of type {media_type}", reason=Reason.DOCUMENT_MALFORMED,
                           hint="does something else use this tag?")
    embedded = [layer.get("data") for layer in parse_json(fetched.data)["layers"]]
    return Document(*(_read(place, tag, layer, data) for layer, data in zip(manifest.layers, embedded, strict=True)))


def _read(place: Repository, tag: str, layer: Descriptor, embedded: object) -> bytes:
    if not isinstance(embedded, str):
        return place.registry.blob(place.repository, layer.digest, min(layer.size, _MAX_DOCUMENT))
    try:
        data = base64.b64decode(embedded, validate=True)
    except ValueError:
        data = b""
    if len(data) != layer.size or _digest(data) != layer.digest:
        raise FoundryError(f"{place.name}:{tag} is damaged: its data differs from its digest",
                           reason=Reason.DOCUMENT_MALFORMED)
    return data


def _layer(media_type: str, data: bytes) -> dict[str, object]:
    layer: dict[str, object] = {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
    if len(data) <= _LARGEST_EMBEDDED:
        layer["data"] = base64.b64encode(data).decode()
    return layer


def _digest(data: bytes) -> str:
    return f"sha256:{sha256_bytes(data)}"
