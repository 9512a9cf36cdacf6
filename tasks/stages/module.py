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
from typing import Any

from tasks.core import patches
from tasks.core.cells import Cell
from tasks.core.errors import FoundryError
from tasks.core.files import read_json, remove_stale, remove_tree, sha256_bytes
from tasks.core.keys import BUILD_SCRIPT, CellKey
from tasks.core.records import input_facts, output_facts, write_record
from tasks.stages.context import Foundry
from tasks.stages.source import RECORD as SOURCE_RECORD
from tasks.stages.source import TAR, TREE, tree_sha256

RECORD = "module.json"
LOG = "build.log"
DEPMOD = "depmod"
WORK = "work"


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root."""
    return [str(foundry.states.source_folder(cell.driver) / TAR), BUILD_SCRIPT]


def module_names(cell: Cell) -> list[str]:
    """The modules' file names in the cell's folder, in loading order."""
    return [Path(file).name for file in cell.family.module_files]


def module(foundry: Foundry, cell: Cell, key: CellKey) -> None:
    """Compile and gate the cell's modules; leaves them, depmod's files and ``module.json``.

    Raises FoundryError: a patch that does not fit, a compile error (with the
    compiler's first error), a module that the gate refuses.
    """
    folder = foundry.cell_folder(cell)
    log = folder / LOG
    work = folder / WORK
    (folder / RECORD).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    remove_tree(work)
    remove_stale(folder)
    try:
        applied = _patched_copy(foundry, cell, work / "src")
        foundry.images.need(cell.toolkit, log)
        _compile(foundry, cell, work, log)
        symvers = (work / "out/Module.symvers").read_bytes()
        gate = _gate(cell, work / "out/modules", symvers, log)
        compiler = (work / "out/compiler").read_text(encoding="utf-8").strip()
        outputs = _move_out(cell, work / "out", folder)
    except FoundryError:
        raise
    except BaseException:
        remove_tree(work)
        raise
    write_record(folder / RECORD, "module", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.module, "key_inputs": key.module_parts,
        "inputs": input_facts(foundry.root, file_deps(foundry, cell)), "outputs": outputs,
        "toolkit": cell.toolkit, "patches": applied, "patches_inert": inert_patches(cell), "gate": gate,
        "compiler": compiler, "symvers_sha256": sha256_bytes(symvers),
    })
    remove_tree(work)


def inert_patches(cell: Cell) -> dict[str, str]:
    """The family's patches that do not apply to the cell, each with the reason."""
    reasons = {patch.id: patch.inert_because(cell.driver, cell.kernel) for patch in cell.family.patches}
    return {name: why for name, why in reasons.items() if why}


def _patched_copy(foundry: Foundry, cell: Cell, dest: Path) -> list[dict[str, Any]]:
    source = foundry.source_folder(cell.driver)
    record = read_json(source / SOURCE_RECORD)
    if not isinstance(record, dict) or not (source / TREE).is_dir():
        raise FoundryError(
            f"the sources of {cell.driver} are not there", reason="source-missing",
            hint=f"run `doit source:{cell.driver}`",
        )
    if tree_sha256(source / TREE) != record["tree_sha256"]:
        raise FoundryError(
            f"the pristine sources of {cell.driver} were changed by hand", reason="source-changed",
            hint=f"remove {foundry.states.source_folder(cell.driver)} and build again; changes belong into patches",
        )
    shutil.copytree(source / TREE, dest, symlinks=True)
    for path in [dest, *dest.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o200)
    findings = []
    for patch in patches.applying(cell.family.patches, cell.driver, cell.kernel):
        findings += patches.apply(patch, dest)
    return findings


def _compile(foundry: Foundry, cell: Cell, work: Path, log: Path) -> None:
    from tasks.services.process import shell_line
    from tasks.stages.compile_log import first_error

    for name in ("build", "out"):
        (work / name).mkdir()
    timeout = float(foundry.settings["compile_timeout"])
    jobs = foundry.schedule.begin_compile(cell.name)
    try:
        with foundry.engine.container(cell.name) as name:
            arguments = _run_arguments(foundry, cell, work, jobs)
            done = foundry.engine.call(
                "run", f"--name={name}", *arguments, starts=True, log=log, timeout=timeout, check=False
            )
    finally:
        foundry.schedule.end_compile()
    if done.returncode != 0:
        replay = shell_line(foundry.engine.command("run", *arguments, starts=True))
        raise FoundryError(
            f"{cell.name} does not compile: {first_error(log) or f'exit code {done.returncode}, no error in the log'}",
            reason="compile-failed", log=log, replay=replay,
            hint="read the log, or replay the compile in the toolkit",
        )


def _run_arguments(foundry: Foundry, cell: Cell, work: Path, jobs: int) -> list[str]:
    """No network, no rights, sources read-only, always the same paths inside."""
    script = foundry.root / BUILD_SCRIPT
    environment = {
        "KERNEL": cell.kernel, "JOBS": str(jobs), "STRIP": cell.family.data.get("strip", "debug"),
        "MODULES": " ".join(cell.family.module_files), "LC_ALL": "C",
    }
    mounts = [
        (script.absolute(), "/foundry/build-module.sh", "ro"), ((work / "src").absolute(), "/foundry/src", "ro"),
        ((work / "build").absolute(), "/foundry/work", "rw"), ((work / "out").absolute(), "/foundry/out", "rw"),
    ]
    return [
        "--rm", "--pull=never", "--network=none", "--cap-drop=all", "--user=0", "--workdir=/",
        "--security-opt=no-new-privileges", "--security-opt=label=disable", f"--label={foundry.engine.label}",
        *(f"--env={name}={value}" for name, value in environment.items()),
        *(f"--volume={source}:{target}:{mode}" for source, target, mode in mounts),
        "--entrypoint=/bin/sh", cell.toolkit, "/foundry/build-module.sh",
        *cell.family.data.get("make", {}).get("arguments", []),
    ]


def _gate(cell: Cell, modules: Path, symvers: bytes, log: Path) -> dict[str, Any]:
    from tasks.formats.gate import check
    from tasks.formats.symvers import parse

    exported = parse(symvers)
    findings: dict[str, Any] = {}
    for module in cell.family["modules"]:
        name = Path(module["file"]).name
        report = check(
            modules / name, kernel=cell.kernel, expected_name=module["name"], symvers=exported, arch=cell.arch,
            modversions=None,
        )
        findings[name] = report.to_json()
        with log.open("a", encoding="utf-8") as stream:
            for finding in report.findings:
                stream.write(f"gate {name}: {'ok' if finding.ok else 'REFUSED'} {finding.rule}: {finding.detail}\n")
        report.require()
    return findings


def _move_out(cell: Cell, out: Path, folder: Path) -> Mapping[str, Any]:
    """Move what was built to its place; the record that believes in it is written after this."""
    for name in module_names(cell):
        os.replace(out / "modules" / name, folder / name)
    remove_tree(folder / DEPMOD)
    os.replace(out / "depmod", folder / DEPMOD)
    names = [*module_names(cell), *(f"{DEPMOD}/{path.name}" for path in (folder / DEPMOD).iterdir())]
    for name in names:
        (folder / name).chmod(0o644)
    return output_facts(folder, names)
