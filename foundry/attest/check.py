"""Whether signed statements about an image say what the image, its labels and its ledger say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foundry.attest import sbom
from foundry.attest.statements import KINDS, SIGNATURE_TYPE
from foundry.base.files import sha256_bytes
from foundry.base.names import KEY_LABEL
from foundry.formats.attestations.bundle import Signed, parse_statement
from foundry.formats.images.rootfs import Entry
from foundry.plan.rows import Row

_KEYS = "`image_signing.public_keys`"


def payloads(there: Mapping[str, Sequence[Signed]]) -> dict[str, list[bytes]]:
    """What was signed, by predicate type."""
    return {kind: [signed.payload for signed in found] for kind, found in there.items()}


def faults_of_ledger(there: Mapping[str, Sequence[bytes]], row: Row, driver: str, family: str) -> Iterator[str]:
    """What is missing of that which a ledger's row names, or says something else; `there` is what our keys signed.

    `there` holds statements about the row's image by predicate type.
    """
    if not there.get(SIGNATURE_TYPE):
        yield f"no key of {_KEYS} signed a bundle of it"
    for name, digest in row.attestations.items():
        if digest not in map(sha256_bytes, there.get(KINDS[name], ())):
            yield f"its {name}, which the ledger names, is not beside it, signed by a key of {_KEYS}"
    for payload in _known(there, "provenance", row):
        said = _predicate(payload).get("buildDefinition", {})
        inside, outside = said.get("internalParameters", {}), said.get("externalParameters", {})
        wanted = {"driver": driver, "family": family, "kernel": row.kernel, "arch": row.arch}
        if outside != wanted or inside.get("key") != row.key or inside.get("keyInputs") != dict(row.key_inputs):
            yield "its provenance is of another cell, or of other inputs, than the ledger's"


def faults_of_image(
    there: Mapping[str, Sequence[bytes]], labels: Mapping[str, str], files: Mapping[str, Entry], row: Row | None = None
) -> Iterator[str]:
    """What statements say that the image itself does not bear out; of those that the row names, where there is one."""
    for payload in _known(there, "provenance", row):
        inside = _predicate(payload).get("buildDefinition", {}).get("internalParameters", {})
        said = inside.get("labels", {})
        wrong = sorted(name for name in {*said, *labels} if said.get(name) != labels.get(name))
        if wrong:
            yield f"its provenance has other labels: {', '.join(wrong)[:200]}"
        if inside.get("key") != labels.get(KEY_LABEL):
            yield "its provenance has another key than its label"
    here = {sha256_bytes(entry.content) for entry in files.values() if entry.kind == "file"}
    for payload in _known(there, "sbom", row):
        named = sbom.file_hashes(_predicate(payload))
        if named != here:
            yield (f"its bill of materials names {len(named - here)} files that it does not have, and lacks"
                   f" {len(here - named)} that it has")
    for payload in _known(there, "test-result", row):
        result = _predicate(payload).get("result")
        if result not in ("PASSED", "WARNED"):
            yield f"its test result is {ascii(result)[:40]}"


def _known(there: Mapping[str, Sequence[bytes]], name: str, row: Row | None) -> list[bytes]:
    """The statements of a kind; where a row names one, that one."""
    found = there.get(KINDS[name], ())
    return [one for one in found if row is None or sha256_bytes(one) == row.attestations.get(name)]


def _predicate(payload: bytes) -> Mapping[str, Any]:
    said = parse_statement(payload)
    return said.predicate if said is not None else {}
