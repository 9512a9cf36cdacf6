"""What lies beside a published image: its signature in both forms, and signed statements about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.attest.statements import KINDS, SIGNATURE_TYPE, hashes, made, signature
from foundry.base.errors import FoundryError
from foundry.base.files import read_file, sha256_bytes, write_atomic
from foundry.base.names import ATTESTATIONS_FILE
from foundry.base.reasons import Reason
from foundry.cell.published import Published
from foundry.formats.attestations.bundle import Signed, make_bundle, parse_bundle
from foundry.formats.images.manifest import Descriptor
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey
from foundry.plan.rows import Row
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.push import Content, Writer
    from foundry.signing.image_key import ImageSigner


def attest(
    writer: Writer, cell: Cell, image: Content, said: Mapping[str, bytes], signer: ImageSigner, folder: Path
) -> list[str]:
    """Have the image's signature in both forms, and signed statements about it, beside it, and in the cell's `folder`.

    The digests of the manifests that they have.
    """
    from foundry.registry.referrers import attach
    from foundry.registry.signatures import sign_image

    # The name in the signature is that of the image's own tag: policies that compare names know the others by it.
    made = [sign_image(writer, image.digest, cell.tag, signer)]
    payloads = {SIGNATURE_TYPE: signature(cell, image.digest),
                **{KINDS[name]: payload for name, payload in said.items()}}
    bundles = {kind: make_bundle(payload, signer.sign, signer.public.fingerprint) for kind, payload in payloads.items()}
    made += attach(writer, Descriptor(image.media_type, image.digest, len(image.manifest)), bundles, signer.public)
    write_atomic(folder / ATTESTATIONS_FILE, b"".join(bundle + b"\n" for bundle in bundles.values()))
    return made


def bundles_of(foundry: Foundry, cell: Cell, row: Row) -> list[bytes]:
    """The bundles of a published image, that of its signature first: from the cell's folder, else from a registry.

    Raises what the registry raises, and FoundryError ``attestation-missing``.
    """
    from foundry.registry.referrers import attached, believed

    keys, wanted = foundry.public_keys(), {"signature": "", **row.attestations}
    kept = foundry.cell_folder(cell) / ATTESTATIONS_FILE
    lines = read_file(kept).splitlines() if kept.is_file() else []
    here: dict[str, list[Signed]] = defaultdict(list)
    for signed in filter(None, map(parse_bundle, lines)):
        if kind := believed(signed, row.digest, keys[:1]):
            here[kind].append(signed)
    if _chosen(here, wanted).keys() != wanted.keys():
        targets = [one for one in foundry.registries.targets(cell.family.name) if one.is_in(row.registries)]
        here = attached(foundry.registries.repository(targets[0]), row.digest, keys) if targets else {}
    found = _chosen(here, wanted)
    for name in wanted:
        if name not in found:
            raise _missing(name, cell, row.digest)
    return [signed.bundle for signed in found.values()]


def statements_of(foundry: Foundry, cell: Cell, key: CellKey, content: Published) -> dict[str, bytes]:
    """The statements about the image: those that the ledger has, where it has some; else what the records here say.

    Of an image that was made here, the tests are those that are known now: a boot may have come later.
    """
    from foundry.registry.referrers import attached

    known = content.row.attestations if content.row is not None else {}
    here = made(foundry, cell, key, content.whole())
    if here and {**hashes(here), **known, "test-result": ""} == {**hashes(here), "test-result": ""}:
        return here
    source = content.source()
    there = attached(source, content.digest, foundry.public_keys()) if source is not None else {}
    found = _chosen(there, known or dict.fromkeys(KINDS, ""))
    for name in known:
        if name not in found:
            raise _missing(name, cell, content.digest)
    return {name: signed.payload for name, signed in found.items()}


def _chosen(there: Mapping[str, Sequence[Signed]], wanted: Mapping[str, str]) -> dict[str, Signed]:
    """Of each kind the first statement with the SHA-256 that is wanted; without one, the first."""
    found: dict[str, Signed] = {}
    for name, digest in wanted.items():
        for signed in there.get(KINDS.get(name, SIGNATURE_TYPE), ()):
            if not digest or sha256_bytes(signed.payload) == digest:
                found.setdefault(name, signed)
    return found


def _missing(name: str, cell: Cell, digest: str) -> FoundryError:
    return FoundryError(
        f"the {name} of {cell.name}, which the ledger names, is not beside {digest} any more",
        reason=Reason.ATTESTATION_MISSING, hint="who removed it? FORCE_BUILD=true builds and attests anew")
