"""What is said of a cell's image, from the records of the stages that made it: statements that are signed and attached.

The ledger keeps the SHA-256 of each statement; who signs it anew, with another key, changes nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foundry.attest import provenance, sbom, test_result
from foundry.base.errors import FoundryError
from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason
from foundry.base.records import read_record
from foundry.base.templates import fill_known
from foundry.base.times import utc
from foundry.cell import image, module, sign
from foundry.cell.boot import proof_of
from foundry.cell.published import files_of
from foundry.config.locks import Base
from foundry.formats.attestations.bundle import Statement
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey
from foundry.plan.labels import created
from foundry.plan.releases import asset_url
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.push import Content

SIGNATURE_TYPE = "https://sigstore.dev/cosign/sign/v1"  # says nothing but that the image is signed
# Predicate types by what a ledger calls them.
KINDS = {"provenance": provenance.TYPE, "sbom": sbom.TYPE, "test-result": test_result.TYPE}


def signature(cell: Cell, digest: str) -> bytes:
    """The statement that an image is signed, and no more."""
    return Statement(digest, SIGNATURE_TYPE, {}, cell.tag).to_bytes()


def made(foundry: Foundry, cell: Cell, key: CellKey, content: Content) -> dict[str, bytes]:
    """Provenance, bill of materials and test results of an image that was made here, by the ledger's words for them.

    Empty where this checkout's records are not those of that image.
    """
    folder = foundry.cell_folder(cell)
    of_image = read_record(folder / image.RECORD, "image")
    of_module = read_record(folder / module.RECORD, "module")
    of_sign = read_record(folder / sign.RECORD, "sign") if key.certificate else None
    base = foundry.config.locks.of(cell.family.name).base
    if (
        base is None or of_image is None or of_module is None or of_image.get("adopted")
        or of_image["digest"] != content.digest or of_module["key"] != key.module
        or (key.certificate and of_sign is None)
    ):
        return {}
    if "materials" not in of_module:
        raise FoundryError(f"{cell.name} was built by an older version of kmod-foundry, which kept nothing for its"
                           " provenance", reason=Reason.MODULE_MISSING,
                           hint=f"build it anew: `FORCE_BUILD=true doit build:{cell.driver}`")
    predicates: dict[str, Mapping[str, Any]] = {
        "provenance": provenance.predicate(cell, key, of_module, of_image, of_sign, base, foundry.settings.source_url),
        "sbom": _bill(foundry, cell, base, content),
        "test-result": test_result.predicate(of_module, proof_of(foundry, cell, key)),
    }
    return {name: Statement(content.digest, KINDS[name], said, cell.tag).to_bytes()
            for name, said in predicates.items()}


def hashes(statements: Mapping[str, bytes]) -> dict[str, str]:
    """What a ledger keeps of statements."""
    return {name: sha256_bytes(payload) for name, payload in statements.items()}


def _bill(foundry: Foundry, cell: Cell, base: Base, content: Content) -> Mapping[str, Any]:
    package, family = foundry.config.locks.of(cell.family.name).packages[cell.driver], cell.family
    source = asset_url(foundry.settings, family.name, cell.driver, package.name) or package.url
    kind = {"rpm": "rpm", "deb": "deb"}.get(package.href.rpartition(".")[2], "generic")
    driver = sbom.Part(package.name, cell.driver, family.license_of(package.license), {source: ""}, kind)
    busybox = None
    if base.busybox is not None:
        version, known = base.busybox.version, base.busybox.sha256
        busybox = sbom.Part(
            "busybox", version, sbom.BUSYBOX_LICENSE, {url: known.get(url, "") for url in base.busybox.sources},
            "generic", f"cpe:2.3:a:busybox:busybox:{version}:*:*:*:*:*:*:*")
    name = fill_known(foundry.settings.image_repository, {"family": family.name}).rpartition("/")[2]
    return sbom.predicate(
        sbom.Image(name, cell.tag, content.digest, utc(created(package, base)), files_of(content)), driver, busybox)
