"""Proving images and statements that lie in a folder, by public keys alone: no network, no account, no profile.

An OCI layout with images and what lies beside them, as skopeo, oras and mirrors leave it; or the files of a release.
Format: OCI image layout specification, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.attest.check import faults_of_image, faults_of_ledger
from foundry.attest.statements import KINDS, SIGNATURE_TYPE
from foundry.base.errors import FoundryError, UsageError
from foundry.base.files import parse_json, read_file, sha256_bytes
from foundry.base.names import ATTESTATIONS_FILE, LEDGER_BUNDLE, LEDGER_FILE
from foundry.base.reasons import Reason
from foundry.base.references import SHA256_DIGEST
from foundry.base.schema import ValidationCache
from foundry.cell.published import files_of
from foundry.formats.attestations.bundle import (
    BUNDLE_TYPE,
    parse_bundle,
    parse_statement,
    signature_of_file,
)
from foundry.formats.images.layout import blob_file
from foundry.formats.images.manifest import Index, Manifest, parse_config, parse_manifest
from foundry.formats.images.simple_signing import PAYLOAD_TYPE, digest_in, signature_in
from foundry.ledger.verify import Verdict
from foundry.plan.ledger import parse_ledger
from foundry.registry.push import Content
from foundry.registry.referrers import believed
from foundry.signing.image_key import PublicKey

_LAYOUT = "oci-layout"
_IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_MOST = 10_000  # manifests

Payloads = dict[str, list[bytes]]


def verify_folder(place: Path, keys: Sequence[PublicKey], validation: ValidationCache) -> Iterator[Verdict]:
    """Look at all images of a layout, or at the statements of a release. Raises UsageError for another folder."""
    if (place / _LAYOUT).is_file():
        yield from _layout(place, keys)
    elif (place / LEDGER_FILE).is_file():
        yield from _release(place, keys, validation)
    else:
        raise UsageError(f"{place} is neither an OCI layout nor the files of a release",
                         hint=f"an OCI layout has a file {_LAYOUT}, a release {LEDGER_FILE}")


@dataclass(frozen=True)
class _Stored:
    """A manifest of a layout."""

    digest: str
    data: bytes
    parsed: Manifest | Index

    @property
    def subject(self) -> str:
        """The digest of what it refers to; empty where that is nothing."""
        subject = parse_json(self.data).get("subject")
        return str(subject.get("digest", "")) if isinstance(subject, dict) else ""


def _layout(place: Path, keys: Sequence[PublicKey]) -> Iterator[Verdict]:
    stored = list(_manifests(place))
    images = [one for one in stored if _is_image(one)]
    if not images:
        raise UsageError(f"{place} has no image")
    for image in images:
        faults: list[str] = []
        try:
            faults += _image_faults(place, image, stored, keys)
        except FoundryError as error:
            faults.append(error.message)
        yield Verdict(image.digest, tuple(faults))


def _is_image(one: _Stored) -> bool:
    parsed = one.parsed
    return isinstance(parsed, Manifest) and parsed.config.media_type in _IMAGE_CONFIGS and not one.subject and not any(
        layer.media_type == PAYLOAD_TYPE for layer in parsed.layers)


def _image_faults(
    place: Path, image: _Stored, stored: Sequence[_Stored], keys: Sequence[PublicKey]
) -> Iterator[str]:
    assert isinstance(image.parsed, Manifest)  # noqa: S101 - as was looked
    blobs = {part.digest: _blob(place, part.digest) for part in (image.parsed.config, *image.parsed.layers)}
    content = Content(image.data, image.parsed.media_type, image.digest, blobs)
    if not any(_classic(place, one, image.digest, keys) for one in stored):
        yield "none of the keys signed it (cosign's classic form)"
    there: Payloads = {}
    for one in stored:
        for layer in one.parsed.layers if isinstance(one.parsed, Manifest) and one.subject == image.digest else ():
            if layer.media_type == BUNDLE_TYPE:
                _take(there, _blob(place, layer.digest), image.digest, keys)
    yield from _lacking(there)
    labels = parse_config(blobs[image.parsed.config.digest]).labels
    yield from faults_of_image(there, labels, files_of(content))


def _lacking(there: Payloads) -> Iterator[str]:
    if SIGNATURE_TYPE not in there:
        yield "none of the keys signed a bundle of it"
    yield from (f"it has no {name} by one of the keys" for name, kind in KINDS.items() if kind not in there)


def _classic(place: Path, one: _Stored, digest: str, keys: Sequence[PublicKey]) -> bool:
    layers = one.parsed.layers if isinstance(one.parsed, Manifest) else ()
    for layer in layers:
        if layer.media_type == PAYLOAD_TYPE:
            found = signature_in(layer, _blob(place, layer.digest))
            if digest_in(found.payload) == digest and any(
                key.verifies(found.signature, found.payload) for key in keys
            ):
                return True
    return False


def _release(place: Path, keys: Sequence[PublicKey], validation: ValidationCache) -> Iterator[Verdict]:
    """The ledger's signature, and of each of its signed images the statements."""
    data, bundle = read_file(place / LEDGER_FILE), place / LEDGER_BUNDLE
    signature = signature_of_file(read_file(bundle)) if bundle.is_file() else b""
    signed = any(key.verifies(signature, data) for key in keys)
    yield Verdict(LEDGER_FILE, () if signed else ("none of the keys signed it",))
    ledger = parse_ledger(data, LEDGER_FILE, validation)
    files = [path for path in (place / ATTESTATIONS_FILE, place / "verify" / ATTESTATIONS_FILE) if path.is_file()]
    if not files:
        raise UsageError(f"{place} has no {ATTESTATIONS_FILE}", hint="it is in verify.tar.gz: unpack that there")
    there: dict[str, Payloads] = {row.digest: {} for row in ledger.rows.values()}
    for line in read_file(files[0]).splitlines():
        found = parse_bundle(line)
        said = parse_statement(found.payload) if found is not None else None
        if said is not None and said.digest in there:
            _take(there[said.digest], line, said.digest, keys)
    for row in ledger.sorted_rows():
        if row.image_signer:
            faults = faults_of_ledger(there[row.digest], row, ledger.driver, ledger.family)
            yield Verdict(f"{row.tags[0]}@{row.digest}", tuple(faults))


def _take(there: Payloads, bundle: bytes, digest: str, keys: Sequence[PublicKey]) -> None:
    """Keep a bundle's statement, if it is about the image and by one of the keys."""
    signed = parse_bundle(bundle)
    if signed is not None and (kind := believed(signed, digest, keys)):
        there.setdefault(kind, []).append(signed.payload)


def _manifests(place: Path) -> Iterator[_Stored]:
    """All manifests and indexes that the layout's index leads to, each once."""
    try:
        waiting = [str(entry["digest"]) for entry in parse_json(read_file(place / "index.json"))["manifests"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FoundryError(f"{place} is no OCI layout: its index.json can't be read ({type(error).__name__})",
                           reason=Reason.OCI_DAMAGED, hint="copy it again") from error
    seen = set[str]()
    while waiting and len(seen) < _MOST:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        data = _blob(place, digest)
        parsed = parse_manifest(data)
        if isinstance(parsed, Index):
            waiting += [entry.digest for entry in parsed.entries if (place / blob_file(entry.digest)).is_file()]
        yield _Stored(digest, data, parsed)


def _blob(place: Path, digest: str) -> bytes:
    if not SHA256_DIGEST.fullmatch(digest):
        raise FoundryError(f"{place} names {ascii(digest)[:90]}, which is no digest of SHA-256",
                           reason=Reason.OCI_DAMAGED, hint="copy it again")
    try:
        data = read_file(place / blob_file(digest))
    except OSError as error:
        raise FoundryError(f"{place} lacks {digest}: {error.strerror}", reason=Reason.OCI_DAMAGED,
                           hint="copy it again") from error
    if digest != f"sha256:{sha256_bytes(data)}":
        raise FoundryError(f"{place}: a blob differs from its digest {digest}", reason=Reason.OCI_DAMAGED,
                           hint="copy it again")
    return data
