"""Sigstore bundles: in-toto statements about images, signed as DSSE envelopes; and signatures of files.

Formats: in-toto's spec/v1 (statement), secure-systems-lab's DSSE protocol 1.0, sigstore's protobuf-specs (bundle v0.3
with a public key), cosign's specs/BUNDLE_SPEC.md (how a bundle refers to an image in a registry). A bundle holds no
certificate and no entry of a public log: the key alone vouches for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry.base.files import canonical_json, parse_json, sha256_bytes
from foundry.formats.images.manifest import OCI_MANIFEST, Descriptor

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "dev.sigstore.bundle.predicateType"  # an annotation
LARGEST = 4 << 20  # bytes of a bundle
_STATEMENT = "https://in-toto.io/Statement/v1"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_CONTENT = "dev.sigstore.bundle.content"
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # of somebody else's bytes


@dataclass(frozen=True)
class Statement:
    """What is said of one image (its manifest's ``sha256:…``): a predicate of a type, which is a URI."""

    digest: str
    predicate_type: str
    predicate: Mapping[str, Any] = field(hash=False)
    name: str = ""

    def to_bytes(self) -> bytes:
        """What is signed; the same statement has the same bytes."""
        return canonical_json({
            "_type": _STATEMENT,
            "subject": [{"name": self.name, "digest": {"sha256": self.digest.removeprefix("sha256:")}}],
            "predicateType": self.predicate_type, "predicate": self.predicate,
        })


@dataclass(frozen=True)
class Signed:
    """A bundle, what is signed in it, and the signatures over that (DER)."""

    bundle: bytes
    payload: bytes
    signatures: tuple[bytes, ...]

    def is_by(self, verifies: Callable[[bytes, bytes], bool]) -> bool:
        """Whether one of the signatures is the key's, which says so of a signature and a content."""
        signed = _to_sign(self.payload)
        return any(verifies(one, signed) for one in self.signatures)


def make_bundle(payload: bytes, sign: Callable[[bytes], bytes], public_key: str) -> bytes:
    """The bundle of a statement's bytes; `public_key` is the key's SHA-256 (DER, 64 hex digits), a hint for readers."""
    return _bundle(public_key, "dsseEnvelope", {
        "payload": _base64(payload), "payloadType": _PAYLOAD_TYPE,
        "signatures": [{"sig": _base64(sign(_to_sign(payload))), "keyid": ""}],
    })


def make_file_bundle(content: bytes, sign: Callable[[bytes], bytes], public_key: str) -> bytes:
    """The bundle with the signature of a file, as ``cosign verify-blob`` reads it."""
    digest = _base64(bytes.fromhex(sha256_bytes(content)))
    return _bundle(public_key, "messageSignature", {
        "messageDigest": {"algorithm": "SHA2_256", "digest": digest}, "signature": _base64(sign(content)),
    })


def signature_of_file(bundle: bytes) -> bytes:
    """The signature (DER) in a file's bundle, not checked yet; empty where it is none."""
    try:
        return base64.b64decode(parse_json(bundle)["messageSignature"]["signature"], validate=True)
    except _MALFORMED:
        return b""


def parse_bundle(data: bytes) -> Signed | None:
    """What is in a bundle; None where it is none with an in-toto statement. Nothing of it is checked yet."""
    try:
        envelope = parse_json(data)["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD_TYPE:
            return None
        return Signed(
            data,
            base64.b64decode(envelope["payload"], validate=True),
            tuple(base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]),
        )
    except _MALFORMED:
        return None


def parse_statement(payload: bytes) -> Statement | None:
    """The statement in what is signed; None where it is none about one image."""
    try:
        found = parse_json(payload)
        [subject] = found["subject"]
        if found["_type"] != _STATEMENT or not isinstance(found["predicate"], dict):
            return None
        return Statement(f"sha256:{subject['digest']['sha256']}", str(found["predicateType"]), found["predicate"],
                         str(subject.get("name", "")))
    except _MALFORMED:
        return None


def referring(bundle: bytes, predicate_type: str, image: Descriptor) -> tuple[bytes, dict[str, bytes], dict[str, Any]]:
    """The manifest by which a bundle refers to an image, its blobs by digest, and its entry in a list of referrers."""
    blobs = {_digest(_EMPTY): _EMPTY, _digest(bundle): bundle}
    annotations = {_CONTENT: "dsse-envelope", PREDICATE: predicate_type}
    manifest = canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": BUNDLE_TYPE,
        "config": {"mediaType": _EMPTY_TYPE, "digest": _digest(_EMPTY), "size": len(_EMPTY)},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": _digest(bundle), "size": len(bundle)}],
        "subject": {"mediaType": image.media_type, "digest": image.digest, "size": image.size},
        "annotations": annotations,
    })
    return manifest, blobs, {
        "mediaType": OCI_MANIFEST, "digest": _digest(manifest), "size": len(manifest), "artifactType": BUNDLE_TYPE,
        "annotations": annotations,
    }


def _to_sign(payload: bytes) -> bytes:
    """DSSE's "pre-authentication encoding"."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _digest(data: bytes) -> str:
    return f"sha256:{sha256_bytes(data)}"


def _bundle(public_key: str, name: str, content: Mapping[str, Any]) -> bytes:
    return canonical_json({
        "mediaType": BUNDLE_TYPE, name: content,
        "verificationMaterial": {"publicKey": {"hint": _base64(bytes.fromhex(public_key))}},
    })


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
