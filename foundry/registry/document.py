"""A JSON document kept in a registry under a tag, as an OCI artifact of one layer.

A document of moderate size is embedded in its descriptor too (image specification
1.1, "data"), so that reading it takes the manifest alone: one request.
"""

from __future__ import annotations

import base64
from types import EllipsisType

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, parse_json, sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import OCI_MANIFEST, Manifest, parse_manifest
from foundry.registry.push import Content, Writer
from foundry.registry.repository import Repository

_EMPTY = b"{}"
_LARGEST_EMBEDDED = 2 << 20  # bytes; a manifest may have 4 MiB, and base64 makes 4 of 3
_MAX_DOCUMENT = 64 << 20  # bytes


def put_document(
    writer: Writer, tag: str, data: bytes, media_type: str, *, over: bytes | EllipsisType | None = ...
) -> str:
    """Keep the document under the tag, in place of what is there; the manifest's digest.

    `over` is what must be there (None: nothing): where it is something else, FoundryError
    ``document-changed``. Registries know no condition for a write, so somebody who writes in
    the one request between that look and ours is not seen; one who does so just after is
    (``push-mismatch``).
    """
    def look() -> None:
        if over is not ... and get_document(writer, tag, media_type) != over:
            raise FoundryError(f"{writer.name}:{tag} was changed meanwhile", reason=Reason.DOCUMENT_CHANGED, retry=True,
                               hint="somebody else publishes here: run again")

    layer: dict[str, object] = {"mediaType": media_type, "digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}
    if len(data) <= _LARGEST_EMBEDDED:
        layer["data"] = base64.b64encode(data).decode()
    empty = f"sha256:{sha256_bytes(_EMPTY)}"
    manifest = canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": media_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": len(_EMPTY)},
        "layers": [layer],
    })
    digest = f"sha256:{sha256_bytes(manifest)}"
    blobs = {empty: _EMPTY, str(layer["digest"]): data}
    writer.push(Content(manifest, OCI_MANIFEST, digest, blobs), tag, last_look=look)
    return digest


def get_document(place: Repository, tag: str, media_type: str) -> bytes | None:
    """The document under a tag, its digest checked; None only when the registry says that there is none.

    Raises FoundryError ``document-malformed`` when something else is there, and what `Registry.manifest` raises.
    """
    fetched = place.tagged(tag)
    if fetched is None:
        return None
    manifest = parse_manifest(fetched.data, fetched.media_type)
    if not isinstance(manifest, Manifest) or [layer.media_type for layer in manifest.layers] != [media_type]:
        raise FoundryError(f"{place.name}:{tag} is no document of type {media_type}", reason=Reason.DOCUMENT_MALFORMED,
                           hint="does something else use this tag?")
    [layer] = manifest.layers
    embedded = parse_json(fetched.data)["layers"][0].get("data")
    if not isinstance(embedded, str):
        return place.registry.blob(place.repository, layer.digest, min(layer.size, _MAX_DOCUMENT))
    try:
        data = base64.b64decode(embedded, validate=True)
    except ValueError:
        data = b""
    if len(data) != layer.size or f"sha256:{sha256_bytes(data)}" != layer.digest:
        raise FoundryError(f"{place.name}:{tag} is damaged: its data differs from its digest",
                           reason=Reason.DOCUMENT_MALFORMED)
    return data
