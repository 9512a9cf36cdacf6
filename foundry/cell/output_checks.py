"""What a build may and did produce, against what its recipe says: kernels, the list of modules, their exports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.expressions import EndlessError
from foundry.base.files import read_file, scratch
from foundry.base.reasons import Reason
from foundry.base.untrusted import copy_out, walk
from foundry.config.recipe import Recipe
from foundry.formats.packages.dkms_conditions import CONFIG, meets
from foundry.plan.cells import Cell

if TYPE_CHECKING:
    from foundry.formats.modules.symvers import Export

_MODULE = re.compile(r"(.*\.ko)(\.xz|\.zst|\.gz)?", re.DOTALL)
_SYMVERS = "Module.symvers"
_MAX_SYMVERS = 16 << 20  # bytes of all of them: a whole kernel's has 2 MiB
_SYMVERS_COSTS = 4096  # bytes that each counts for more than it has: there may be many small ones


def require_allowed(recipe: Recipe, cell: Cell, config: Callable[[], bytes] | None = None) -> None:
    """FoundryError ``module-excluded`` where the package's ``dkms.conf`` says that it is not for this kernel.

    `config` reads the kernel's configuration, where that counts; without it, conditions on that are not looked at.
    """
    for name, wanted in recipe.exclusive.items():
        if name == CONFIG and config is None:
            continue
        try:
            text = config().decode(errors="replace") if name == CONFIG and config else ""
            met = meets(name, wanted, kernel=cell.kernel, arch=cell.arch, config=text)
        except EndlessError as error:
            raise FoundryError(
                f"the {name} in the dkms.conf of {cell.driver} takes too long to judge: {wanted[:200]}",
                reason=Reason.DKMS_MALFORMED, hint="don't use the package before you know what this is for",
            ) from error
        if not met:
            raise FoundryError(
                f"the package of {cell.driver} is not for kernel {cell.kernel}: its dkms.conf says {name}={wanted}",
                reason=Reason.MODULE_EXCLUDED, hint="take its releases out of the matrix's entry of this driver",
            )


def require_listed(recipe: Recipe, cell: Cell, work: Path) -> None:
    """FoundryError ``module-unlisted`` where the build made a module that nobody listed.

    `work` holds ``src``, the patched copy, and ``build``, what became of it. Modules that the
    vendor's own files hold already were not built.
    """
    listed = {one.base for one in recipe.modules}
    made = [
        one.path for one in walk(work / "build")
        if (module := _MODULE.fullmatch(one.name)) and module[1] not in listed
        and not os.path.lexists(work / "src" / one.path)
    ]
    if made:
        raise FoundryError(
            f"the build of {cell.name} also produced {', '.join(made[:5])}, which is not listed",
            reason=Reason.MODULE_UNLISTED,
            hint=f"add it to `modules` in {cell.family.file}, or let make build less (`make.arguments`)",
        )


def sibling_exports(recipe: Recipe, build: Path, modules: Path) -> Mapping[str, Export]:
    """What the modules of one image export to each other, with their CRCs, from the build's own Module.symvers.

    The build may write what it likes into that file: a symbol counts only where the module in the
    folder `modules` that is said to export it does. Raises FoundryError ``symvers-malformed``, ``output-unsafe``.
    """
    from foundry.formats.modules.symvers import parse

    found: dict[str, Export] = {}
    if len(recipe.modules) == 1:
        return found
    exported = {(Path(one.base).stem, name) for one in recipe.modules for name in _exported(modules / one.base)}
    left = _MAX_SYMVERS
    for path in [one.path for one in walk(build) if one.name == _SYMVERS and one.is_file]:
        with scratch(modules.parent, "symvers") as folder:
            copy_out(build, path, folder / _SYMVERS, limit=max(left, 0))
            data = read_file(folder / _SYMVERS)
        left -= len(data) + _SYMVERS_COSTS
        said = parse(data)
        found |= {name: one for name, one in said.items() if (one.module.rpartition("/")[2], name) in exported}
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
