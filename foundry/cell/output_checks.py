"""What a build may and did produce, against what its recipe says: kernels, the list of modules, their exports."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.versions import kernel_version, version_key
from foundry.config.recipe import Recipe
from foundry.plan.cells import Cell

if TYPE_CHECKING:
    from foundry.formats.modules.symvers import Export

_SYMVERS = "Module.symvers"
_MAX_SYMVERS = 64 << 20  # bytes


def require_allowed(recipe: Recipe, cell: Cell) -> None:
    """FoundryError ``module-excluded`` where the package's ``dkms.conf`` says that it is not for this kernel."""
    for name, wanted in recipe.exclusive.items():
        if not _fits(name, wanted, cell):
            raise FoundryError(
                f"the package of {cell.driver} is not for kernel {cell.kernel}: its dkms.conf says {name}={wanted}",
                reason="module-excluded", hint="take its releases out of the matrix's entry of this driver",
            )


def require_listed(recipe: Recipe, cell: Cell, work: Path) -> None:
    """FoundryError ``module-unlisted`` where the build made a module that nobody listed.

    `work` holds ``src``, the patched copy, and ``build``, what became of it. Modules that the
    vendor's own files hold already were not built.
    """
    listed = {one.base for one in recipe.modules}
    made = sorted(
        path for path in _files(work / "build", ".ko")
        if path.name not in listed and not (work / "src" / path.relative_to(work / "build")).exists()
    )
    if made:
        names = ", ".join(path.relative_to(work / "build").as_posix() for path in made[:5])
        raise FoundryError(
            f"the build of {cell.name} also produced {names}, which is not listed", reason="module-unlisted",
            hint=f"add it to `modules` in {cell.family.file}, or let make build less (`make.arguments`)",
        )


def sibling_exports(recipe: Recipe, build: Path, modules: Path) -> Mapping[str, Export]:
    """What the modules of one image export to each other, with their CRCs, from the build's own Module.symvers.

    The build may write what it likes into that file: a symbol counts only where the module in the
    folder `modules` that is said to export it does. Raises FoundryError ``symvers-malformed``.
    """
    from foundry.formats.modules.symvers import parse

    found: dict[str, Export] = {}
    if len(recipe.modules) == 1:
        return found
    exported = {(Path(one.base).stem, name) for one in recipe.modules for name in _exported(modules / one.base)}
    for path in _files(build, _SYMVERS):
        if path.name == _SYMVERS and path.stat().st_size <= _MAX_SYMVERS:
            found |= {name: one for name, one in parse(path.read_bytes()).items()
                      if (one.module.rpartition("/")[2], name) in exported}
    return found


def _exported(module: Path) -> tuple[str, ...]:
    from foundry.formats.modules.elf import read_module

    try:
        return read_module(module).exports
    except FoundryError:
        return ()  # the gate says what is wrong with it


def exports_of(modules: Sequence[Path]) -> Mapping[str, Export]:
    """What finished modules export to each other; the CRCs are those that their importers were compiled with."""
    from foundry.formats.modules.elf import read_module
    from foundry.formats.modules.symvers import Export

    if len(modules) == 1:
        return {}
    facts = {path: read_module(path) for path in modules}
    versions = {name: crc for one in facts.values() for name, crc in one.versions.items()}
    return {
        name: Export(versions.get(name, 0), path.stem, "EXPORT_SYMBOL", "")
        for path, one in facts.items() for name in one.exports
    }


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    """Plain files below a folder that code we don't trust wrote into; links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if name.endswith(suffix) and path.is_file() and not path.is_symlink():
                yield path


def _fits(name: str, wanted: str, cell: Cell) -> bool:
    if name.endswith("_MIN"):
        return version_key(kernel_version(cell.kernel)) >= version_key(wanted)
    if name.endswith("_MAX"):
        return version_key(kernel_version(cell.kernel)) <= version_key(wanted)
    try:
        return re.search(wanted, cell.arch if name.endswith("_ARCH") else cell.kernel) is not None
    except (re.error, RecursionError):
        return True  # bash's own form of expressions: left to the compiler
