"""Proving images and statements that lie in a folder, by public keys alone: no network, no account, no profile.

An OCI layout with images and what lies beside them, as skopeo, oras and mirrors leave it; or the files of a release.
Format: OCI image layout specification, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundry.attest.check import faults_of_image, faults_of_ledger
from foundry.attest.statements import KINDS, SIGNATURE_TYPE
from foundry.base.errors import FoundryError, UsageError
from foundry.base.files import parse_json, read_file, sha256_bytes, sha256_file
from foundry.base.names import ATTESTATIONS_FILE, CHECKSUMS_BUNDLE, CHECKSUMS_FILE, LEDGER_BUNDLE, LEDGER_FILE
from foundry.base.plain_text import line
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
from foundry.formats.images.simple_signing import PAYLOAD_TYPE, Signature, digest_in, signature_in
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
class _Part:
    """A manifest of a layout."""

    digest: str
    data: bytes
    parsed: Manifest | Index

    @property
    def subject(self) -> str:
        """The digest of what it refers to; empty where that is nothing."""
        subject = parse_json(self.data).get("subject")
        return str(subject.get("digest", "")) if isinstance(subject, dict) else ""


@dataclass(frozen=True)
class Stored:
    """An image of a layout, with the signatures and statements (bundles, by predicate type) of it that are by a key.

    `content` is None where it is damaged. `unsigned` says what it lacks of signatures and statements, `faults` what
    else is wrong.
    """

    digest: str
    content: Content | None = None
    signatures: Sequence[Signature] = ()
    bundles: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    unsigned: Sequence[str] = ()
    faults: Sequence[str] = ()


def images_of(place: Path, keys: Sequence[PublicKey]) -> Iterator[Stored]:
    """The images of a layout. Raises UsageError where it has none, FoundryError ``oci-damaged``."""
    parts = list(_manifests(place))
    images = [one for one in parts if _is_image(one)]
    if not images:
        raise UsageError(f"{place} has no image")
    for image in images:
        try:
            yield _stored(place, image, parts, keys)
        except FoundryError as error:
            yield Stored(image.digest, faults=(error.message,))


def _layout(place: Path, keys: Sequence[PublicKey]) -> Iterator[Verdict]:
    yield from (Verdict(one.digest, (*one.unsigned, *one.faults)) for one in images_of(place, keys))
    yield from verify_files(place, keys)


def verify_files(place: Path, keys: Sequence[PublicKey]) -> Iterator[Verdict]:
    """What lies beside the images of a kit: its list of checksums, with all files, and the ledger."""
    if (place / CHECKSUMS_FILE).is_file():
        unsigned = _unsigned(place, CHECKSUMS_FILE, CHECKSUMS_BUNDLE, keys)
        yield Verdict(CHECKSUMS_FILE, (*unsigned, *damage(place)))
    if (place / LEDGER_FILE).is_file():
        yield Verdict(LEDGER_FILE, _unsigned(place, LEDGER_FILE, LEDGER_BUNDLE, keys))


def damage(place: Path) -> Iterator[str]:
    """How the files of a kit differ from its list of checksums."""
    listed = read_file(place / CHECKSUMS_FILE).decode("utf-8", "replace").splitlines()
    named = {name: checksum for checksum, _, name in (entry.partition("  ") for entry in listed)}
    there = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if not path.is_dir()}
    for name, path in there.items():
        if name in named:
            if path.is_symlink() or sha256_file(path) != named[name]:
                yield f"{line(name)} is not what it says"
        elif name not in (CHECKSUMS_FILE, CHECKSUMS_BUNDLE):
            yield f"{line(name)} is not in it"
    yield from (f"{line(name)} is missing" for name in named if name not in there)


def _unsigned(place: Path, file: str, bundle: str, keys: Sequence[PublicKey]) -> tuple[str, ...]:
    signature = signature_of_file(read_file(place / bundle)) if (place / bundle).is_file() else b""
    content = read_file(place / file)
    return () if any(key.verifies(signature, content) for key in keys) else ("none of the keys signed it",)


def _is_image(one: _Part) -> bool:
    parsed = one.parsed
    return isinstance(parsed, Manifest) and parsed.config.media_type in _IMAGE_CONFIGS and not one.subject and not any(
        layer.media_type == PAYLOAD_TYPE for layer in parsed.layers)


def _stored(place: Path, image: _Part, parts: Sequence[_Part], keys: Sequence[PublicKey]) -> Stored:
    assert isinstance(image.parsed, Manifest)  # noqa: S101 - as was looked
    blobs = {part.digest: _blob(place, part.digest) for part in (image.parsed.config, *image.parsed.layers)}
    content = Content(image.data, image.parsed.media_type, image.digest, blobs)
    signatures = [one for part in parts for one in _classic(place, part, image.digest, keys)]
    bundles: dict[str, list[bytes]] = {}
    there: Payloads = {}
    for part in parts:
        for layer in part.parsed.layers if isinstance(part.parsed, Manifest) and part.subject == image.digest else ():
            data = _blob(place, layer.digest) if layer.media_type == BUNDLE_TYPE else b""
            if kind := _take(there, data, image.digest, keys):
                bundles.setdefault(kind, []).append(data)
    unsigned = [] if signatures else ["none of the keys signed it (cosign's classic form)"]
    labels = parse_config(blobs[image.parsed.config.digest]).labels
    return Stored(image.digest, content, signatures, bundles, (*unsigned, *_lacking(there)),
                  tuple(faults_of_image(there, labels, files_of(content))))


def _lacking(there: Payloads) -> Iterator[str]:
    if SIGNATURE_TYPE not in there:
        yield "none of the keys signed a bundle of it"
    yield from (f"it has no {name} by one of the keys" for name, kind in KINDS.items() if kind not in there)


def _classic(place: Path, one: _Part, digest: str, keys: Sequence[PublicKey]) -> Iterator[Signature]:
    for layer in one.parsed.layers if isinstance(one.parsed, Manifest) else ():
        if layer.media_type == PAYLOAD_TYPE:
            found = signature_in(layer, _blob(place, layer.digest))
            if digest_in(found.payload) == digest and any(
                key.verifies(found.signature, found.payload) for key in keys
            ):
                yield found


def _release(place: Path, keys: Sequence[PublicKey], validation: ValidationCache) -> Iterator[Verdict]:
    """The ledger's signature, and of each of its signed images the statements."""
    yield Verdict(LEDGER_FILE, _unsigned(place, LEDGER_FILE, LEDGER_BUNDLE, keys))
    ledger = parse_ledger(read_file(place / LEDGER_FILE), LEDGER_FILE, validation)
    files = [path for path in (place / ATTESTATIONS_FILE, place / "verify" / ATTESTATIONS_FILE) if path.is_file()]
    if not files:
        raise UsageError(f"{place} has no {ATTESTATIONS_FILE}", hint="it is in verify.tar.gz: unpack that there")
    there: dict[str, Payloads] = {row.digest: {} for row in ledger.rows.values()}
    for one in read_file(files[0]).splitlines():
        found = parse_bundle(one)
        said = parse_statement(found.payload) if found is not None else None
        if said is not None and said.digest in there:
            _take(there[said.digest], one, said.digest, keys)
    for row in ledger.sorted_rows():
        if row.image_signer:
            faults = faults_of_ledger(there[row.digest], row, ledger.driver, ledger.family)
            yield Verdict(f"{row.tags[0]}@{row.digest}", tuple(faults))


def _take(there: Payloads, bundle: bytes, digest: str, keys: Sequence[PublicKey]) -> str:
    """Keep a bundle's statement, if it is about the image and by one of the keys; its predicate type, else empty."""
    signed = parse_bundle(bundle)
    kind = believed(signed, digest, keys) if signed is not None else ""
    if signed is not None and kind:
        there.setdefault(kind, []).append(signed.payload)
    return kind


def _manifests(place: Path) -> Iterator[_Part]:
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
        yield _Part(digest, data, parsed)


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
