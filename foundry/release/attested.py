"""Stage attest: what users verify a driver's images with, and all signed statements about them, in ``verify/``."""

from __future__ import annotations

import io
from collections.abc import Sequence

from foundry.base.files import canonical_json, remove_tree, scratch, sha256_bytes
from foundry.base.names import ATTESTATIONS_FILE
from foundry.base.records import input_facts, output_facts, outputs_changed, read_record, write_record
from foundry.ledger.attest import bundles_of
from foundry.ledger.ledgers import ledger_file, ledger_of
from foundry.plan.cells import Cell
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.run.context import Foundry

FOLDER = "verify"
RECORD = "attest.json"
LOG = "attest.log"
_FORM = 1  # of what is written; another number writes it anew


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that it depends on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver)), *foundry.settings.image_signing.public_keys]


def current(foundry: Foundry, driver: str) -> bool:
    """Whether what is here is of today's ledger and keys; no network request."""
    folder, ledger = ledger_file(foundry, driver).parent, foundry.states.ledger(driver)
    record = read_record(folder / RECORD, "attest")
    if record is None or ledger is None or outputs_changed(record, folder):
        return False
    return bool(record.get("key") == _key(foundry, ledger))


def attest(foundry: Foundry, driver: str) -> None:
    """Write ``verify/``: keys, policies, commands, and the bundles of all signed images, a line each.

    Raises what `foundry.ledger.attest.bundles_of` raises; what was there stays then.
    """
    from foundry.release.verification import files

    folder, ledger = ledger_file(foundry, driver).parent, ledger_of(foundry, driver)
    family, rows = foundry.config.families[ledger.family], _signed(ledger)
    bundles = [bundle for row in rows for bundle in bundles_of(
        foundry, Cell(driver, family, row.kernel, row.arch, row.releases, row.toolkit), row)]
    repositories = sorted({name for row in rows for name in row.registries})
    made = files(f"{family.name}-driver", repositories, foundry.public_keys(), rows[-1].digest) if repositories else {}
    if made:
        made[ATTESTATIONS_FILE] = b"".join(bundle + b"\n" for bundle in bundles)
    with scratch(folder, "attest") as work:
        for name, data in made.items():
            path = work / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        remove_tree(folder / FOLDER)
        if made:
            (work / FOLDER).replace(folder / FOLDER)
    write_record(folder / RECORD, "attest", {
        "driver": driver, "family": ledger.family, "key": _key(foundry, ledger),
        "inputs": input_facts(foundry.root, file_deps(foundry, driver)),
        "outputs": output_facts(folder, [f"{FOLDER}/{name}" for name in made]),
    })


def tarball(foundry: Foundry, driver: str, mtime: int) -> bytes:
    """All of it as one file, for the driver's release; empty where nothing is signed. The same each time."""
    from foundry.formats.trees.sourcetar import tree_entries, write_tar_gz

    folder, sink = ledger_file(foundry, driver).with_name(FOLDER), io.BytesIO()
    if folder.is_dir():
        write_tar_gz(sink, tree_entries(folder), top=FOLDER, mtime=mtime)
    return sink.getvalue()


def _signed(ledger: Ledger) -> Sequence[Row]:
    return [row for row in ledger.sorted_rows() if row.image_signer and row.registries]


def _key(foundry: Foundry, ledger: Ledger) -> str:
    rows = [[row.digest, row.image_signer, dict(row.attestations), list(row.registries)] for row in _signed(ledger)]
    return sha256_bytes(canonical_json([_FORM, rows, [key.fingerprint for key in foundry.public_keys()]]))
