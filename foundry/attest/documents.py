"""Ledgers are signed, too: who can write to a registry or a release could else leave rows out, or change them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import read_file, write_atomic
from foundry.base.reasons import Reason
from foundry.formats.attestations.bundle import make_file_bundle, signature_of_file
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.document import Document


def bundle_of(foundry: Foundry, data: bytes, file: Path | None = None) -> bytes:
    """The signature of a document as a Sigstore bundle; empty where the profile signs nothing.

    The one in the `file` is taken where it is of these bytes by the current key, else the file is written. Raises as
    `Foundry.image_signer`.
    """
    keys = foundry.public_keys()
    there = read_file(file) if file is not None and file.is_file() else b""
    if keys and keys[0].verifies(signature_of_file(there), data):
        return there
    signer = foundry.image_signer()
    made = make_file_bundle(data, signer.sign, signer.public.fingerprint) if signer is not None else b""
    if file is not None and made:
        write_atomic(file, made)
    return made


def is_signed(foundry: Foundry, document: Document) -> bool:
    """Whether one of the profile's public keys signed a document; where it has none, everything counts as signed."""
    keys, signature = foundry.public_keys(), signature_of_file(document.bundle)
    return not keys or any(key.verifies(signature, document.data) for key in keys)


def require_signed(foundry: Foundry, document: Document, where: str) -> None:
    """FoundryError ``ledger-unsigned`` unless `is_signed`."""
    if not is_signed(foundry, document):
        raise FoundryError(f"{where} is not signed by a key of `image_signing.public_keys`: it is not believed",
                           reason=Reason.LEDGER_UNSIGNED,
                           hint="who wrote it? docs/attest.md, `Beginning to sign`, if that was before images were")
