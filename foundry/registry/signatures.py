"""Signatures that lie beside images in a registry: who signed an image, and one more."""

from __future__ import annotations

from collections.abc import Sequence

from foundry.base.errors import FoundryError
from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import OCI_MANIFEST, Manifest, parse_manifest
from foundry.formats.images.simple_signing import (
    PAYLOAD_TYPE,
    Signature,
    digest_in,
    payload,
    signature_in,
    signature_tag,
    signatures_manifest,
)
from foundry.registry.client import Fetched
from foundry.registry.push import Content, Writer
from foundry.registry.repository import Repository
from foundry.signing.image_key import ImageSigner, PublicKey

_NO_SIGNATURES = (Reason.DOCUMENT_MALFORMED, Reason.MANIFEST_MALFORMED, Reason.MANIFEST_UNSUPPORTED)
_LONGEST = 64 << 10  # bytes of a payload
_MOST = 32  # signatures of an image that are read: every user who can push can add some


def signer_of(place: Repository, digest: str, keys: Sequence[PublicKey]) -> str:
    """The fingerprint of the first of these keys that signed the image; empty where none did.

    Two requests, and one for each further signature. Raises what `Registry.manifest` raises: an answer that can't be
    had is never "not signed".
    """
    if not keys:
        return ""
    try:
        there = place.tagged(signature_tag(digest))
        found = _signatures(place, there) if there is not None else []
    except FoundryError as error:
        if error.reason not in _NO_SIGNATURES:
            raise
        return ""
    return next((key.fingerprint for key in keys if any(_is_by(one, digest, key) for one in found)), "")


def sign_image(writer: Writer, digest: str, tag: str, signer: ImageSigner) -> str:
    """Have the signature beside the image that is there under the tag; the digest of the signatures' manifest.

    Signatures of others stay; one of this key that is there is left as it is. Raises what `Writer.push` raises, and
    FoundryError ``document-malformed`` where something else is under the signatures' tag.
    """
    there = writer.tagged(signature_tag(digest))
    others = _signatures(writer, there) if there is not None else []
    if there is not None and any(_is_by(one, digest, signer.public) for one in others):
        return there.digest
    said = payload(digest, f"{writer.name}:{tag}")
    return _put(writer, digest, [*others, Signature(said, signer.sign(said))], there)


def take_over(writer: Writer, digest: str, signatures: Sequence[Signature]) -> None:
    """Have signatures from elsewhere beside the image, and those that are there. Raises as `sign_image` does."""
    there = writer.tagged(signature_tag(digest))
    others = _signatures(writer, there) if there is not None else []
    if new := [one for one in signatures if one not in others]:
        _put(writer, digest, [*others, *new], there)


def _put(writer: Writer, digest: str, signatures: Sequence[Signature], there: Fetched | None) -> str:
    """Write the signatures in place of what is there; the digest of their manifest."""
    manifest, blobs = signatures_manifest(signatures)

    def look() -> None:
        now = writer.tagged(signature_tag(digest))
        if (now.digest if now else "") != (there.digest if there else ""):
            raise FoundryError(f"somebody else signs {writer.name}@{digest} at the same time",
                               reason=Reason.DOCUMENT_CHANGED, retry=True, hint="run again")

    content = Content(manifest, OCI_MANIFEST, f"sha256:{sha256_bytes(manifest)}", blobs)
    writer.push(content, signature_tag(digest), last_look=look, small=True)
    return content.digest


def _signatures(place: Repository, there: Fetched) -> list[Signature]:
    manifest = parse_manifest(there.data, there.media_type)
    layers = manifest.layers if isinstance(manifest, Manifest) else ()
    if not layers or len(layers) > _MOST or any(
        layer.media_type != PAYLOAD_TYPE or layer.size > _LONGEST for layer in layers
    ):
        raise FoundryError(f"{place.name} has something else than an image's signatures ({there.digest})",
                           reason=Reason.DOCUMENT_MALFORMED, hint="who writes there? remove its tag `sha256-….sig`")
    return [signature_in(layer, place.registry.blob(place.repository, layer.digest, layer.size)) for layer in layers]


def _is_by(one: Signature, digest: str, key: PublicKey) -> bool:
    return digest_in(one.payload) == digest and key.verifies(one.signature, one.payload)
