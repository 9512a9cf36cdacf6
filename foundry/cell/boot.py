"""Stage boot: the proof that a cell's own kernel loads the very modules that are in its image.

The kernel of the cell's toolkit is booted in a virtual machine with the image's ``/opt`` in it; modprobe loads and
unloads as KMM's worker does. Modules are signed where the profile has a key: then the kernel insists on signatures, and
must refuse the same module unsigned and signed by somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import read_file, scratch, sha256_bytes, sha256_file
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.base.records import input_facts, read_record, write_record
from foundry.cell import module, sign
from foundry.cell.kit import FOLDER as KITS
from foundry.cell.kit import NO_PROOF, Kit, in_tree_of, kit_folder, kit_here, take_kit
from foundry.cell.published import Published, files_of
from foundry.plan.cells import Cell
from foundry.plan.keys import BOOT_SCRIPTS, CellKey
from foundry.plan.state import CellState
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.boot.verdict import Verdict
    from foundry.formats.images.rootfs import Entry

RECORD = "boot.json"
LOG = "boot.log"
PROVEN, UNPROVEN, FAILED = "proven", "unproven", "failed"
_IN_LEDGERS = ("outcome", "key", "modules", "fault", "checks", "kernel_sha256", "accelerator", "qemu", "secure_boot",
               "log_sha256", "warnings", "tainted")
_REFUSED = ("foreign.ko", "unsigned.ko")
_INIT = BOOT_SCRIPTS[0]
_SECONDS = 60.0


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root; not the image: its labels alone may change."""
    modules = sign.RECORD if foundry.settings.signing.key else module.RECORD
    return [f"{foundry.states.cell_path(cell)}/{modules}", *BOOT_SCRIPTS]


def boot(foundry: Foundry, cell: Cell, state: CellState, key: CellKey) -> None:
    """Boot the cell's kernel and have it load the image's modules; leaves ``boot.json`` and the console, ``boot.log``.

    Raises FoundryError: ``does-not-load``, ``does-not-unload``, ``signatures-not-enforced``; where the profile requires
    proofs also ``no-kernel-image``, ``kernel-does-not-boot``, and ``tool-missing`` for a machine without QEMU.
    """
    folder = foundry.cell_folder(cell)
    log = folder / LOG
    (folder / RECORD).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    if why := foundry.states.no_boot.get(cell.arch):
        raise OutsideError(f"{cell.name} can't be booted here: {why}", reason=Reason.TOOL_MISSING,
                           hint="run `doit doctor`: it names the package to install")
    image = files_of(Published(foundry, state, state.row if state.adopted else None, log).whole())
    modules = module_hashes(image)
    facts: dict[str, Any] = {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.proof, "key_inputs": key.proof_parts, "toolkit": cell.toolkit, "modules": modules,
        "inputs": input_facts(foundry.root, file_deps(foundry, cell)) if not state.adopted else {}, "outputs": {},
    }
    try:
        kit = _kit(foundry, cell, image, log)
        verdict, machine_facts = _booted(foundry, cell, key, kit, image, log)
        if verdict.reason in NO_PROOF:
            raise FoundryError(verdict.fault, reason=verdict.reason, log=log,
                               hint="read the log; does the toolkit have that kernel?")
    except FoundryError as error:
        if error.reason not in NO_PROOF or foundry.settings.proof == "required":
            raise
        foundry.journal.warn(f"{cell.name} is not proven: {error.message}")
        write_record(folder / RECORD, "boot", {**facts, "outcome": UNPROVEN, "fault": error.message})
        return
    told = {
        "checks": [one.as_data() for one in verdict.checks], "warnings": list(verdict.warnings),
        "tainted": verdict.tainted, "log_sha256": sha256_file(log), **machine_facts,
    }
    if verdict.fault:
        write_record(folder / RECORD, "boot", {**facts, **told, "outcome": FAILED, "fault": verdict.fault})
        raise FoundryError(f"{cell.name} {verdict.fault}", reason=verdict.reason or Reason.DOES_NOT_LOAD, log=log,
                           hint="the log is the console of the booted kernel")
    for warning in verdict.warnings:
        foundry.journal.warn(f"{cell.name}: the kernel warned while it was booted: {warning}")
    write_record(folder / RECORD, "boot", {**facts, **told, "outcome": PROVEN})


def proof_of(foundry: Foundry, cell: Cell, key: CellKey) -> Mapping[str, Any] | None:
    """What a ledger keeps of the cell's proof; None where there is none of today's modules here."""
    record = read_record(foundry.cell_folder(cell) / RECORD, "boot")
    if record is None or record["key"] != key.proof or record["outcome"] == FAILED:
        return None
    return {name: record[name] for name in _IN_LEDGERS if name in record}


def module_hashes(image: Mapping[str, Entry]) -> dict[str, str]:
    """The SHA-256 of the modules in an image, by file name."""
    return {Path(path).name: sha256_bytes(image[path].content) for path in modules_in(image)}


def modules_in(image: Mapping[str, Entry]) -> list[str]:
    """The paths of the modules, in their order."""
    return sorted(path for path, entry in image.items() if path.endswith(".ko") and entry.kind == "file")


def _kit(foundry: Foundry, cell: Cell, image: Mapping[str, Entry], log: Path) -> Kit:
    listed = image.get(f"opt/lib/modules/{cell.kernel}/modules.dep")
    in_tree = in_tree_of(listed.content if listed is not None else b"")
    if kit := kit_here(kit_folder(foundry, cell, in_tree)):
        return kit
    toolkit = foundry.containers.platforms.image_of(cell.toolkit, cell.arch)
    with foundry.containers.images.used(toolkit, cell.arch, log):
        kit = take_kit(foundry, cell, toolkit, in_tree, log)
    if not foundry.settings.keep_toolkits and not foundry.toolkit_needed(toolkit):
        foundry.containers.images.drop(toolkit)
    return kit


def _booted(
    foundry: Foundry, cell: Cell, key: CellKey, kit: Kit, image: Mapping[str, Entry], log: Path
) -> tuple[Verdict, dict[str, Any]]:
    """Boot it; the verdict, and the facts of the machine."""
    from foundry.boot import machine
    from foundry.boot.guest import contents
    from foundry.boot.verdict import Wanted, judge

    settings, recipe = foundry.settings, module.recipe_for(foundry, cell)
    said = cell.family.data.get("boot", {})
    names = recipe.loading_order or tuple(one.name for one in recipe.modules)
    wanted = Wanted(
        cell.kernel, tuple(names), tuple(name.replace("-", "_") for name in names),
        refused=_REFUSED if key.certificate else (),
        enforced=bool(key.certificate), secure_boot=settings.secure_boot, accepted=tuple(said.get("accepts", ())),
        unloads=said.get("unloads", True),
    )
    kits = foundry.root / foundry.config.build / KITS
    accelerator, why = machine.accelerator(cell.arch, kit.kernel, kits)
    with scratch(foundry.cell_folder(cell), "boot") as work:
        with (work / "initramfs").open("wb") as sink:
            sink.write(read_file(kit.root))
            refused = _refused(image, work) if key.certificate else {}
            sink.write(contents(image, wanted, read_file(foundry.root / _INIT), refused, mounts=kit.mounts))
        guest = machine.Guest(
            cell.arch, kit.kernel, work / "initramfs", secure_boot=settings.secure_boot,
            arguments=machine.arguments(enforced=wanted.enforced),
            certificates=[foundry.certificate().der] if key.certificate else [],
        )
        in_time = machine.boot(guest, accelerator, work, log, timeout=settings.boot_timeout)
    verdict = judge(read_file(log).decode(errors="replace"), wanted, in_time=in_time, seconds=settings.boot_timeout)
    program = machine.qemu(cell.arch)
    version = run([program, "--version"], timeout=_SECONDS).stdout.partition("\n")[0].strip()
    return verdict, {
        "kernel_sha256": kit.kernel_sha256, "accelerator": f"{accelerator} ({why})" if why else accelerator,
        "qemu": version, "modprobe": kit.modprobe, "secure_boot": settings.secure_boot,
        **({"firmware": str(found.code)} if guest.certificates and (
            found := machine.firmware_of(cell.arch, secure_boot=settings.secure_boot)) else {}),
    }


def _refused(image: Mapping[str, Entry], work: Path) -> dict[str, bytes]:
    """The first of the cell's modules as the kernel must refuse it: unsigned, and signed by a key that nobody has."""
    from foundry.formats.modules.signature import signed, split
    from foundry.signing.certificate import read_certificate
    from foundry.signing.keys import open_signer
    from foundry.signing.new import CERTIFICATE_FILE, KEY_FILE, write_pair

    write_pair(work / "foreign", "kmod-foundry foreign", years=1)
    certificate = read_certificate(work / "foreign" / CERTIFICATE_FILE)
    bare, _ = split(image[modules_in(image)[0]].content)
    signer = open_signer(f"foreign/{KEY_FILE}", certificate, {}, work)
    return dict(zip(_REFUSED, (signed(bare, signer, "sha256"), bare), strict=True))
