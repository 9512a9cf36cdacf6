"""Stage module: a cell's own copy, its patches, the compile in the toolkit, the gate.

Nothing of a cell is believed until its record is written, which is the last
step; what a killed run left is thrown away by the next. After a failure the
patched copy stays, so that the compile can be replayed by hand.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError, no_space, says_no_space
from foundry.base.files import is_full, read_json, regular_files, remove_stale, remove_tree, sha256_bytes
from foundry.base.records import input_facts, output_facts, write_record
from foundry.cell.compile_command import CONFINED, Places, compile_arguments
from foundry.cell.output_checks import require_allowed, require_listed, sibling_exports
from foundry.config import patches
from foundry.config.recipe import BUILD_SCRIPT, Recipe
from foundry.driver.source import FIRMWARE, TAR, TREE, tree_sha256
from foundry.driver.source import RECORD as SOURCE_RECORD
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.base.process import Completed
    from foundry.formats.modules.symvers import Export

RECORD = "module.json"
LOG = "build.log"
DEPMOD = "depmod"
WORK = "work"

# podman-run(1): exit codes of podman itself, not of what it ran.
_PODMAN_ITSELF = (125, 126, 127)
EXPORTS = 'cat "/lib/modules/$1/build/Module.symvers" 2>/dev/null || cat "/usr/src/kernels/$1/Module.symvers"'


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root."""
    return [str(foundry.states.source_folder(cell.driver) / TAR), BUILD_SCRIPT]


def recipe_for(foundry: Foundry, cell: Cell) -> Recipe:
    """How the cell's modules are made."""
    return foundry.config.recipe(cell.family, cell.driver)


def module_names(foundry: Foundry, cell: Cell) -> list[str]:
    """The modules' file names in the cell's folder; none where only the package says it and is not fetched yet."""
    return [one.base for one in recipe_for(foundry, cell).modules]


def module(foundry: Foundry, cell: Cell, key: CellKey) -> float:
    """Compile and gate the cell's modules; leaves them, depmod's files and ``module.json``.

    Returns the seconds that it waited for the toolkit.

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
    recipe = recipe_for(foundry, cell)
    require_allowed(recipe, cell)
    try:
        applied = _patched_copy(foundry, cell, work / "src")
        toolkit = foundry.containers.platforms.image_of(cell.toolkit, cell.arch)
        with foundry.containers.images.used(toolkit, cell.arch, log) as waited:
            exports = kernel_exports(foundry, cell, toolkit, log)
            _compile(foundry, cell, recipe, toolkit, work, log)
        out = _checked_output(cell, work / "out")
        require_listed(recipe, cell, work)
        siblings = sibling_exports(recipe, work / "build", out / "modules")
        gate = _gate(cell, recipe, out / "modules", exports, siblings, log)
        compiler = (out / "compiler").read_text(encoding="utf-8", errors="replace").strip()[:200]
        outputs = _move_out(foundry, cell, recipe, out, folder)
    except FoundryError as error:
        if error.reason == "no-space":
            remove_tree(work)
        raise
    except BaseException:
        remove_tree(work)
        raise
    write_record(folder / RECORD, "module", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.module, "key_inputs": key.module_parts,
        "inputs": input_facts(foundry.root, file_deps(foundry, cell)), "outputs": outputs,
        "toolkit": cell.toolkit, "patches": applied, "patches_inert": inert_patches(cell), "gate": gate,
        "compiler": compiler, "symvers_sha256": sha256_bytes(exports),
    })
    remove_tree(work)
    return waited


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


def _compile(foundry: Foundry, cell: Cell, recipe: Recipe, toolkit: str, work: Path, log: Path) -> None:
    from foundry.base.process import shell_line
    from foundry.cell.compile_log import first_error, last_line

    for name in ("build", "out"):
        (work / name).mkdir()
    timeout = float(foundry.settings["compile_timeout"])
    jobs = foundry.schedule.begin_compile(cell.name)
    try:
        arguments = _run_arguments(foundry, cell, recipe, toolkit, work, jobs)
        done = _run(foundry, cell, toolkit, arguments, log, timeout)
    finally:
        foundry.schedule.end_compile()
    replay = shell_line(foundry.containers.engine.command("run", *arguments, starts=True))
    first = first_error(log)
    if done.returncode != 0 and (says_no_space(first) or is_full(work)):  # where the log's end did not fit either
        why = first if says_no_space(first) else f"{os.strerror(errno.ENOSPC)} ({work})"
        raise no_space(f"{cell.name} can't be compiled: {why}", log=log)
    if done.returncode in _PODMAN_ITSELF:
        raise FoundryError(
            f"podman could not run the compile of {cell.name}: {last_line(log)}",
            reason="podman-failed", log=log, replay=replay, hint="run `doit doctor`",
        )
    if done.returncode != 0:
        raise FoundryError(
            f"{cell.name} does not compile: {first or f'exit code {done.returncode}, no error in the log'}",
            reason="compile-failed", log=log, replay=replay,
            hint="read the log, or replay the compile in the toolkit",
        )


def _run(
    foundry: Foundry, cell: Cell, toolkit: str, arguments: list[str], log: Path, timeout: float
) -> Completed:
    """Run the compile; once more where somebody else removed the toolkit meanwhile."""
    for attempt in (1, 2):
        with foundry.containers.engine.container(cell.name) as name:
            done = foundry.containers.engine.call(
                "run", f"--name={name}", *arguments, starts=True, log=log, timeout=timeout, check=False
            )
        if done.returncode not in _PODMAN_ITSELF or foundry.containers.engine.has_image(toolkit) or attempt == 2:  # noqa: PLR2004
            break
        foundry.containers.images.again(toolkit, log)
    return done


def kernel_exports(foundry: Foundry, cell: Cell, toolkit: str, log: Path) -> bytes:
    """The kernel's own Module.symvers, read in a container of `toolkit` in which nothing of the driver runs.

    Once for each kernel of a toolkit: it may have a real-time one, too, which exports other symbols.
    """
    from foundry.base.process import failure_sentence

    with foundry.exports_lock:
        if (toolkit, cell.kernel) not in foundry.exports:
            with foundry.containers.engine.container(f"exports {cell.name}") as name:
                done = foundry.containers.engine.call(
                    "run", f"--name={name}", *CONFINED, f"--label={foundry.containers.engine.label}",
                    "--entrypoint=/bin/sh", toolkit, "-c", EXPORTS, "sh", cell.kernel,
                    starts=True, check=False,
                )
            if done.returncode in _PODMAN_ITSELF:
                raise FoundryError(failure_sentence(done), reason="podman-failed", hint="run `doit doctor`")
            if done.returncode != 0 or not done.stdout:
                raise FoundryError(
                    f"the toolkit of {cell.name} has no build tree for kernel {cell.kernel}",
                    reason="toolkit-without-kernel", log=log,
                    hint=f"is {cell.toolkit} the toolkit of that kernel? Correct the catalogue",
                )
            foundry.exports[toolkit, cell.kernel] = done.stdout.encode()
        return foundry.exports[toolkit, cell.kernel]


def _checked_output(cell: Cell, out: Path) -> Path:
    """The output folder, after a look at what the driver's own code may have put there."""
    for folder in (out / "modules", out / DEPMOD):
        for path in regular_files(folder):
            if folder.name == DEPMOD and not path.name.startswith("modules."):
                raise FoundryError(f"the build of {cell.name} left {path.name} among depmod's files",
                                   reason="output-unsafe")
    regular_files(out / "compiler")
    return out


def _run_arguments(
    foundry: Foundry, cell: Cell, recipe: Recipe, toolkit: str, work: Path, jobs: int
) -> list[str]:
    places = Places(
        script=str((foundry.root / BUILD_SCRIPT).absolute()), source=str((work / "src").absolute()),
        work=str((work / "build").absolute()), out=str((work / "out").absolute()),
    )
    return [f"--label={foundry.containers.engine.label}", *compile_arguments(
        places, recipe=recipe, kernel=cell.kernel, arch=cell.arch, toolkit=toolkit, jobs=str(jobs),
    )]


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
        with log.open("a", encoding="utf-8") as stream:
            for finding in report.findings:
                stream.write(f"gate {name}: {'ok' if finding.ok else 'REFUSED'} {finding.rule}: {finding.detail}\n")
        report.require()
    return findings


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
