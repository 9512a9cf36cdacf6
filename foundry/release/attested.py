"""Stage attest: what users verify a driver's images with, and all signed statements about them, in ``verify/``."""

from __future__ import annotations

from collections.abc import Sequence

from foundry.base.files import canonical_json, sha256_bytes
from foundry.base.names import ATTESTATIONS_FILE
from foundry.ledger.attest import bundles_of
from foundry.ledger.ledgers import kept_ledger
from foundry.plan.cells import Cell
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.release.folders import Folder
from foundry.run.context import Foundry

FOLDER = Folder("attest", "verify")
_FORM = 1  # of what is written; another number writes it anew


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that it depends on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver)), *foundry.settings.image_signing.public_keys]


def current(foundry: Foundry, driver: str) -> bool:
    """Whether what is here is of today's ledger and keys; no network request."""
    ledger = foundry.states.ledger(driver)
    return ledger is not None and FOLDER.current(foundry, driver, _key(foundry, ledger))


def attest(foundry: Foundry, driver: str) -> None:
    """Write ``verify/``: keys, policies, commands, and the bundles of all signed images, a line each.

    Raises what `foundry.ledger.attest.bundles_of` raises; what was there stays then.
    """
    from foundry.release.verification import files

    ledger = kept_ledger(foundry, driver)
    family, rows = foundry.config.families[ledger.family], _signed(ledger)
    bundles = [bundle for row in rows for bundle in bundles_of(
        foundry, Cell(driver, family, row.kernel, row.arch, row.releases, row.toolkit), row)]
    repositories = sorted({name for row in rows for name in row.registries})
    made = files(f"{family.name}-driver", repositories, foundry.public_keys(), rows[-1].digest) if repositories else {}
    if made:
        made[ATTESTATIONS_FILE] = b"".join(bundle + b"\n" for bundle in bundles)
    FOLDER.write(foundry, driver, ledger.family, _key(foundry, ledger), file_deps(foundry, driver), made)


def _signed(ledger: Ledger) -> Sequence[Row]:
    return [row for row in ledger.sorted_rows() if row.image_signer and row.registries]


def _key(foundry: Foundry, ledger: Ledger) -> str:
    rows = [[row.digest, row.image_signer, dict(row.attestations), list(row.registries)] for row in _signed(ledger)]
    return sha256_bytes(canonical_json([_FORM, rows, [key.fingerprint for key in foundry.public_keys()]]))
