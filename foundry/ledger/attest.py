"""What lies beside a published image: its signature in both forms, and signed statements about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.attest.statements import KINDS, SIGNATURE_TYPE, hashes, made, signature
from foundry.base.errors import FoundryError
from foundry.base.files import append_to, sha256_bytes
from foundry.base.reasons import Reason
from foundry.cell.published import Published
from foundry.formats.images.manifest import Descriptor
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.push import Content, Writer
    from foundry.signing.image_key import ImageSigner


def attest(
    writer: Writer, cell: Cell, image: Content, said: Mapping[str, bytes], signer: ImageSigner, log: Path
) -> None:
    """Have the image's signature in both forms, and signed statements about it, beside it."""
    from foundry.registry.referrers import attach
    from foundry.registry.signatures import sign_image

    # The name in the signature is that of the image's own tag: policies that compare names know the others by it.
    made = [sign_image(writer, image.digest, cell.tag, signer)]
    made += attach(writer, Descriptor(image.media_type, image.digest, len(image.manifest)), {
        SIGNATURE_TYPE: signature(cell, image.digest), **{KINDS[name]: payload for name, payload in said.items()},
    }, signer)
    append_to(log)(f"{writer.name}@{image.digest} is signed: {', '.join(made)}, key {signer.public.fingerprint}")


def statements_of(foundry: Foundry, cell: Cell, key: CellKey, content: Published) -> dict[str, bytes]:
    """The statements about the image: those that the ledger has, where it has some; else what the records here say."""
    from foundry.registry.referrers import statements

    known = content.row.attestations if content.row is not None else {}
    here = made(foundry, cell, key, content.whole())
    if here and (not known or hashes(here) == known):
        return here
    source = content.source()
    there = statements(source, content.digest, foundry.public_keys()) if source is not None else {}
    found = {}
    for name, kind in KINDS.items():
        of_kind = there.get(kind, [])
        wanted = [one for one in of_kind if sha256_bytes(one) == known[name]] if name in known else of_kind
        if wanted:
            found[name] = wanted[0]
        elif name in known:
            raise FoundryError(
                f"the {name} of {cell.name}, which the ledger names, is not beside {content.digest} any more",
                reason=Reason.ATTESTATION_MISSING, hint="who removed it? FORCE_BUILD=true builds and attests anew")
    return found
