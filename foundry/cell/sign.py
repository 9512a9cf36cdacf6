"""Stage sign: the cell's modules with the profile's signature at their end; on this machine, in no container.

The private key is read here alone (`foundry.signing.keys`). A new certificate signs anew and compiles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import read_file, remove_tree, sha256_bytes, write_atomic
from foundry.base.reasons import Reason
from foundry.base.records import input_facts, output_facts, write_record
from foundry.cell import module
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey, key_of
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.signing.certificate import Certificate

RECORD = "sign.json"
LOG = "sign.log"
SIGNED = "signed"


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root."""
    return [f"{foundry.states.cell_path(cell)}/{module.RECORD}", foundry.settings.signing.certificate]


def sign(foundry: Foundry, cell: Cell, key: CellKey) -> None:
    """Sign the cell's modules: ``signed/<module>`` and ``sign.json``; what was signed is checked as the kernel does.

    Raises FoundryError: modules that are not those of the record, a key that can't be had or is another certificate's,
    a certificate that has expired or was replaced meanwhile, and what `foundry.formats.modules.signature.check` raises.
    """
    from foundry.formats.modules.signature import signed

    folder = foundry.cell_folder(cell)
    (folder / RECORD).unlink(missing_ok=True)
    remove_tree(folder / SIGNED)
    record = module.record_of(foundry, cell, key)
    signer = foundry.signer()
    if signer.certificate.fingerprint != key.certificate:  # it is read once in a run, the key's part each time
        raise FoundryError(f"the certificate {signer.certificate.subject!r} was replaced while this run was at work",
                           reason=Reason.CERTIFICATE_MISSING, hint="run again: then all modules are signed anew")
    made = {}
    for name in module.module_names(foundry, cell):
        content = read_file(folder / name)
        if sha256_bytes(content) != record["outputs"][name]["sha256"]:
            raise FoundryError(f"{name} of {cell.name} is not what was built", reason=Reason.MODULE_CHANGED,
                               hint="remove the file and build again")
        made[name] = signed(content, signer, record["signature_hash"])
    keep(foundry, cell, key, made, signer.certificate)


def keep(foundry: Foundry, cell: Cell, key: CellKey, modules: Mapping[str, bytes], certificate: Certificate) -> None:
    """Leave signed modules, by file name, and their record; raises what `foundry.formats.modules.signature.check` does.

    FoundryError ``module-missing`` where there are none.
    """
    from foundry.formats.modules.signature import check

    folder, found = foundry.cell_folder(cell), None
    (folder / SIGNED).mkdir(parents=True)
    for name, content in modules.items():
        found = check(content, certificate)
        write_atomic(folder / SIGNED / name, content)
    if found is None:
        raise FoundryError(f"{cell.name} has no modules to sign", reason=Reason.MODULE_MISSING)
    write_record(folder / RECORD, "sign", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key_of(key.signed_parts), "key_inputs": key.signed_parts,
        "inputs": input_facts(foundry.root, file_deps(foundry, cell)),
        "outputs": output_facts(folder, [f"{SIGNED}/{name}" for name in modules]),
        "signer": found.signer, "certificate": found.fingerprint, "hash": found.hash_name,
    })
