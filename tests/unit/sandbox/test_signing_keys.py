"""The sandbox's own key and certificate: made once, for all checkouts that share its services."""

from __future__ import annotations

from pathlib import Path

from foundry.sandbox.make import signing_keys
from foundry.signing.certificate import read_certificate
from foundry.signing.keys import open_signer


def test_it_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "services/signing"
    first = signing_keys(folder)
    assert signing_keys(folder) == first and list(folder.parent.iterdir()) == [folder]
    signer = open_signer("signing.key", read_certificate(folder / "signing.crt"), {}, folder)
    assert signer.certificate.not_after.year > 2100 and signer.warnings == ()
