"""Stage module: a cell's own copy, its patches, the compile in the toolkit, the gate.

Nothing of a cell is believed until its record is written, which is the last
step; what a killed run left is thrown away by the next. After a failure the
patched copy stays, so that the compile can be replayed by hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import (
    append_to,
    canonical_json,
    read_file,
    remove_stale,
    remove_tree,
    sha256_bytes,
)
from foundry.base.reasons import Reason
from foundry.base.records import Record, input_facts, output_facts, read_record, write_record
from foundry.cell.kit import keep_kit
from foundry.config import patches
from foundry.config.recipe import BUILD_SCRIPT, Recipe
from foundry.driver.fetch import RECORD as FETCH_RECORD
from foundry.driver.source import FIRMWARE, TAR, TREE, tree_sha256
from foundry.driver.source import RECORD as SOURCE_RECORD
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey
from foundry.run.builder import builder, commit
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.cell.compile import Compile
    from foundry.formats.modules.symvers import Export

RECORD = "module.json"
LOG = "build.log"
DEPMOD = "depmod"
WORK = "work"


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root."""
    return [f"{foundry.states.source_folder(cell.driver)}/{TAR}", BUILD_SCRIPT]


def recipe_for(foundry: Foundry, cell: Cell) -> Recipe:
    """How the cell's modules are made."""
    return foundry.config.recipe(cell.family, cell.driver)


def module_names(foundry: Foundry, cell: Cell) -> list[str]:
    """The modules' file names in the cell's folder; none where only the package says it and is not fetched yet."""
    return [one.base for one in recipe_for(foundry, cell).modules]


def record_of(foundry: Foundry, cell: Cell, key: CellKey) -> Record:
    """The record of the cell's modules; FoundryError ``module-missing`` where there are none of today's inputs."""
    record = read_record(foundry.cell_folder(cell) / RECORD, "module")
    if record is None or record.get("key") != key.module:
        raise FoundryError(f"{cell.name} has no module of today's inputs yet", reason=Reason.MODULE_MISSING,
                           hint=f"run `doit module:{cell.name}`")
    return record


def module(foundry: Foundry, cell: Cell, key: CellKey) -> float:
    """Compile and gate the cell's modules; leaves them, depmod's files and ``module.json``.

    Returns the seconds that it waited for the toolkit.

    Raises FoundryError: a patch that does not fit, a compile error (with the
    compiler's first error), a module that the gate refuses.
    """
    from foundry.base.deadline import Deadline
    from foundry.cell.compile import CONFIG, EXPORTS, Compile, kernel_file
    from foundry.cell.output_checks import require_allowed, sibling_exports
    from foundry.formats.modules.elf import read_module
    from foundry.formats.modules.symvers import module_name

    folder = foundry.cell_folder(cell)
    log = folder / LOG
    work = folder / WORK
    (folder / RECORD).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    remove_tree(work)
    remove_stale(folder)
    recipe = recipe_for(foundry, cell)
    require_allowed(recipe, cell)
    work.mkdir(mode=0o700, parents=True)  # nobody else on this machine gets at what the driver's code leaves there
    out = work / "out"
    try:
        applied = _patched_copy(foundry, cell, work / "src")
        toolkit = foundry.containers.platforms.image_of(cell.toolkit, cell.arch)
        with foundry.containers.images.used(toolkit, cell.arch, log) as waited:
            deadline = Deadline(f"the compile of {cell.name}", foundry.settings.compile_timeout,
                                "raise `compile_timeout` if that is what it needs", log)
            require_allowed(recipe, cell, lambda: kernel_file(foundry, cell, toolkit, log, CONFIG, deadline.left))
            exports = kernel_file(foundry, cell, toolkit, log, EXPORTS, deadline.left)
            compile = Compile(foundry, cell, recipe, toolkit, work, log, deadline)
            compile.make()
            siblings = sibling_exports(recipe, work / "build", out / "modules")
            gate = _gate(cell, recipe, out / "modules", exports, siblings, log)
            in_tree = _in_tree(foundry, cell, compile, gate)
            keep_kit(foundry, cell, toolkit, out / "depmod", log)
        deadline.left()
        compiler = read_file(out / "compiler").decode(errors="replace").strip()[:200]
        hash_name = read_file(out / "signature_hash").decode(errors="replace").strip()[:20] or "sha256"
        outputs = _move_out(foundry, cell, recipe, out, folder)
        made = {name: read_module(folder / name) for name in module_names(foundry, cell)}
        devices = sorted({device for facts in made.values() for device in facts.pci_devices})
        needed = {module_name(one) for facts in made.values() for one in facts.first("depends").split(",")}
        loads = sorted({module_name(name.removesuffix(".ko")) for name in made} - needed)
    except FoundryError as error:
        if error.reason in (Reason.NO_SPACE, Reason.OUTPUT_UNSAFE, Reason.MODULE_EXCLUDED):
            remove_tree(work)
        raise
    except BaseException:  # an interrupted compile is not to be looked into; it is raised on
        remove_tree(work)
        raise
    write_record(folder / RECORD, "module", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.module, "key_inputs": key.module_parts,
        "inputs": input_facts(foundry.root, file_deps(foundry, cell)), "outputs": outputs,
        "toolkit": cell.toolkit, "patches": applied, "patches_inert": inert_patches(cell), "gate": gate,
        "compiler": compiler, "signature_hash": hash_name, "symvers_sha256": sha256_bytes(exports),
        **({"in_tree": in_tree} if in_tree else {}), "devices": devices, "loads": loads,
        "materials": _materials(foundry, cell),
        "builder": builder(),
    })
    remove_tree(work)
    return waited


def _materials(foundry: Foundry, cell: Cell) -> dict[str, Any]:
    """What went in, for its provenance: packages as they were fetched, patches by hash, this checkout's commit."""
    record = read_record(foundry.source_folder(cell.driver) / FETCH_RECORD, "fetch")
    packages = []
    if record is not None:
        main = foundry.config.locks.of(cell.family.name).packages[cell.driver]
        for one in ({"name": main.name, **record}, *record.get("packages", ())):
            signer = one.get("signature", {}).get("fingerprint", "")
            packages.append({"name": one["name"], "url": one["url"], "sha256": one["file_sha256"],
                             **({"signer": signer} if signer else {})})
    found, changed = commit(foundry.root)
    return {
        "packages": packages,
        "patches": {patch.id: sha256_bytes(canonical_json(patch.as_key()))
                    for patch in patches.applying(cell.family.patches, cell.driver, cell.kernel)},
        **({"commit": found} if found else {}), **({"changed": True} if changed else {}),
    }


def inert_patches(cell: Cell) -> dict[str, str]:
    """The family's patches that do not apply to the cell, each with the reason."""
    reasons = {patch.id: patch.inert_because(cell.driver, cell.kernel) for patch in cell.family.patches}
    return {name: why for name, why in reasons.items() if why}


def _patched_copy(foundry: Foundry, cell: Cell, dest: Path) -> list[dict[str, Any]]:
    source = foundry.source_folder(cell.driver)
    record = read_record(source / SOURCE_RECORD, "source")
    if record is None or not (source / TREE).is_dir():
        raise FoundryError(
            f"the sources of {cell.driver} are not there", reason=Reason.SOURCE_MISSING,
            hint=f"run `doit source:{cell.driver}`",
        )
    if tree_sha256(source / TREE) != record["tree_sha256"]:
        raise FoundryError(
            f"the pristine sources of {cell.driver} were changed by hand", reason=Reason.SOURCE_CHANGED,
            hint=f"remove {foundry.states.source_folder(cell.driver)} and build again; changes belong into patches",
        )
    shutil.copytree(source / TREE, dest, symlinks=True)
    for path in [dest, *dest.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))  # read by the container's user, too
    findings = []
    for patch in patches.applying(cell.family.patches, cell.driver, cell.kernel):
        findings += patches.apply(patch, dest)
    return findings


def _gate(
    cell: Cell, recipe: Recipe, modules: Path, exports: bytes, siblings: Mapping[str, Export], log: Path
) -> dict[str, Any]:
    from foundry.formats.modules.gate import check
    from foundry.formats.modules.symvers import parse

    exported = parse(exports)
    findings: dict[str, Any] = {}
    for module in recipe.modules:
        name = module.base
        report = check(
            modules / name, kernel=cell.kernel, expected_name=module.name, symvers=exported, arch=cell.arch,
            modversions=None, siblings=siblings,
        )
        findings[name] = report.to_json()
        note = append_to(log)
        for finding in report.findings:
            note(f"gate {name}: {'ok' if finding.ok else 'REFUSED'} {finding.rule}: {finding.detail}")
        report.require()
    return findings


def _in_tree(foundry: Foundry, cell: Cell, compile: Compile, gate: Mapping[str, Any]) -> dict[str, Any]:
    """The kernel's own modules that the cell's need, and whether depmod's files now know them; empty for none."""
    needed = sorted({name for report in gate.values() for name in report["depends"]})
    if not needed:
        return {}
    missing = compile.link(needed)
    if missing:
        foundry.journal.warn(
            f"{cell.name} needs {', '.join(needed)} of the kernel's own modules; its toolkit does not have"
            f" {', '.join(missing)}, so KMM can't load them: the node must have done so before"
        )
    return {"modules": needed, "linked": not missing}


def _move_out(foundry: Foundry, cell: Cell, recipe: Recipe, out: Path, folder: Path) -> Mapping[str, Any]:
    """Move what was built to its place, firmware beside it; the record that believes in it is written after this."""
    names = [one.base for one in recipe.modules]
    for name in names:
        os.replace(out / "modules" / name, folder / name)
    remove_tree(folder / DEPMOD)
    os.replace(out / "depmod", folder / DEPMOD)
    names += [f"{DEPMOD}/{path.name}" for path in (folder / DEPMOD).iterdir()]
    for name in names:
        (folder / name).chmod(0o644)
    return output_facts(folder, [*names, *_firmware(foundry, cell, folder)])


def _firmware(foundry: Foundry, cell: Cell, folder: Path) -> list[str]:
    """A copy of the driver's firmware in the cell's folder; the names of its files there."""
    remove_tree(folder / FIRMWARE)
    source = foundry.source_folder(cell.driver) / FIRMWARE
    if not source.is_dir():
        return []
    shutil.copytree(source, folder / FIRMWARE)
    return [path.relative_to(folder).as_posix() for path in (folder / FIRMWARE).rglob("*") if path.is_file()]
