"""Signatures beside images as cosign, podman, CRI-O and OpenShift read them: "simple signing" in an OCI artifact.

Format: cosign's specs/SIGNATURE_SPEC.md, containers/image's docs/containers-signature.5.md. A signature's layer is the
payload, its annotation the signature over it; the artifact's tag is made of the image's digest.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry.base.files import canonical_json, parse_json, sha256_bytes
from foundry.formats.images.manifest import OCI_MANIFEST, Descriptor

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_TYPE = "cosign container image signature"
_ANNOTATION = "dev.cosignproject.cosign/signature"
_TAG = re.compile(r"sha256-[0-9a-f]{64}(\.(sig|att|sbom))?")
_CONFIG = b"{}"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"  # cosign reads no other


@dataclass(frozen=True)
class Signature:
    """What is signed, the signature over it (DER), and what else its layer says."""

    payload: bytes
    signature: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)


def signature_tag(digest: str) -> str:
    """The tag of the signatures of the image with that digest, in the image's repository."""
    return f"{digest.replace(':', '-')}.sig"


def is_attached(tag: str) -> bool:
    """Whether what is under the tag is about an image: signatures, other attachments of cosign's, or referrers."""
    return _TAG.fullmatch(tag) is not None


def payload(digest: str, reference: str) -> bytes:
    """What is signed: an image's digest and the name (``registry/repository:tag``) that it is published under."""
    return canonical_json({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": _TYPE,
        },
        "optional": {},
    })


def digest_in(payload: bytes) -> str:
    """The digest of the image that a payload is about; empty where it is no payload of this kind."""
    try:
        critical = parse_json(payload)["critical"]
        return str(critical["image"]["docker-manifest-digest"]) if critical["type"] == _TYPE else ""
    except (ValueError, LookupError, TypeError):
        return ""


def signature_in(layer: Descriptor, payload: bytes) -> Signature:
    """The signature that a layer of a signatures' manifest is; an empty one where it has none."""
    try:
        found = base64.b64decode(layer.annotations.get(_ANNOTATION, ""), validate=True)
    except ValueError:
        found = b""
    others = {name: text for name, text in layer.annotations.items() if name != _ANNOTATION}
    return Signature(payload, found, others)


def signatures_manifest(signatures: Iterable[Signature]) -> tuple[bytes, dict[str, bytes]]:
    """The manifest of an image's signatures, and its blobs by digest."""
    blobs = {_digest(_CONFIG): _CONFIG}
    layers: list[dict[str, Any]] = []
    for one in signatures:
        blobs[_digest(one.payload)] = one.payload
        layers.append({
            "mediaType": PAYLOAD_TYPE, "digest": _digest(one.payload), "size": len(one.payload),
            "annotations": {**one.annotations, _ANNOTATION: base64.b64encode(one.signature).decode()},
        })
    return canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": _CONFIG_TYPE, "digest": _digest(_CONFIG), "size": len(_CONFIG)}, "layers": layers,
    }), blobs


def _digest(data: bytes) -> str:
    return f"sha256:{sha256_bytes(data)}"
