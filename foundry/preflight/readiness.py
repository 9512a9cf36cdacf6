"""Before work starts: what the machine and its credentials lack, said before anything is fetched or compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence

from foundry.base.environment import flag
from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference
from foundry.cell.image import base_reference
from foundry.preflight import checks
from foundry.registry.ecr.places import is_ecr
from foundry.registry.ecr.repositories import require_repository
from foundry.registry.targets import Target
from foundry.run.context import Foundry
from foundry.toolkit.remote import require_target


def base_references(foundry: Foundry) -> list[Reference]:
    """The locked base images of the families that the matrix wants."""
    found = []
    for family in {family.name: family for family in foundry.states.plan.families.values()}.values():
        base = foundry.config.locks.of(family.name).base
        if base is not None:
            found.append(parse_reference(base_reference(base.name, base.digest)))
    return found


def toolkit_references(foundry: Foundry) -> list[Reference]:
    """The toolkits of all cells."""
    return [parse_reference(cell.toolkit) for cell in foundry.states.plan.cells]


def require(foundry: Foundry, pending: Iterable[str], environ: Mapping[str, str] = os.environ) -> None:
    """OutsideError for the first thing without which the pending tasks can't be done.

    `pending` are names of tasks. In GitHub Actions, where tools are given, only credentials are looked at.
    """
    names = list(pending)
    builds = [name.partition(":")[2] for name in names if name.startswith(("module:", "image:"))]
    toolkits = [name for name in names if name.startswith("dtk:") and not name.startswith("dtk:publish:")]
    starts = bool(builds or toolkits)
    _require_boots(foundry, names)
    found: list[checks.Check] = []
    if not flag("GITHUB_ACTIONS", environ):
        fetches = any(name.startswith("fetch:") for name in names)
        found += checks.check_tools([*(["podman"] if starts else []), *(["gpgv"] if fetches else [])])
        found += checks.check_space(foundry.root) + checks.check_clock()
        _raise_first(found)
        found += checks.check_container(foundry.containers.engine, anew=False) if starts else []
    _raise_first(found)
    _require_targets(foundry, {name.partition(":")[2] for name in names if name.startswith("push:")})
    if any(name.startswith("dtk:publish:") for name in names):
        _require_toolkits_target(foundry)
    if builds and shutil.which("podman") is not None:
        access = checks.check_access(lambda host: foundry.registries.reader(host, None), _to_pull(foundry, builds))
        _raise_first(checks.refusals(access))


def _require_boots(foundry: Foundry, names: Sequence[str]) -> None:
    """What signs and boots is here where it must be; that wanted proofs can't be had is a warning."""
    def arches(*stages: str) -> dict[str, str]:
        cells = [foundry.states.plan.by_name[name.partition(":")[2]] for name in names if name.startswith(stages)]
        return {cell.arch: foundry.states.no_boot[cell.arch] for cell in cells if cell.arch in foundry.states.no_boot}

    for arch, why in arches("boot:").items():
        raise OutsideError(f"kernels for {arch} can't be booted here: {why}", reason=Reason.TOOL_MISSING,
                           hint="`doit doctor` names the package; `proof: wanted` publishes without proofs")
    if foundry.settings.proof == "wanted":
        for arch, why in arches("image:").items():
            foundry.journal.warn(f"no kernel for {arch} is booted here to prove its modules: {why}")
    if any(name.startswith("sign:") for name in names):
        foundry.signer()
    if any(name.startswith("push:") for name in names):
        foundry.publishing_signer()


def _require_targets(foundry: Foundry, cells: set[str]) -> None:
    """Every target takes uploads, and no tag has an image of others: said before anything is built for it."""
    families = {foundry.states.plan.by_name[name].family.name for name in cells}
    for family in sorted(families):
        for target in foundry.registries.targets(family):
            require_writable(foundry, target)
    if cells:
        from foundry.ledger.foreign_tags import require_none

        require_none(foundry, [foundry.states.of(foundry.states.plan.by_name[name]) for name in sorted(cells)])


def _require_toolkits_target(foundry: Foundry) -> None:
    """The registry takes toolkits: said before one is built for it."""
    require_writable(foundry, require_target(foundry))


def require_writable(foundry: Foundry, target: Target) -> None:
    """A registry that takes uploads: one is begun and cancelled. OutsideError where it does not."""
    if is_ecr(target.registry):
        require_repository(target)
    foundry.registries.writer(target).check()


def _raise_first(found: Sequence[checks.Check]) -> None:
    for check in found:
        if not check.ok:
            raise check.error()


def _to_pull(foundry: Foundry, cells: Iterable[str]) -> list[Reference]:
    """One image of each repository from which something has to be pulled; what is here already is not asked for."""
    states = [foundry.states.of(foundry.states.plan.by_name[name]) for name in dict.fromkeys(cells)]
    wanted = {(state.cell.toolkit, state.cell.arch) for state in states if not state.module_done}
    found: dict[str, Reference] = {}
    for text, arch in sorted(wanted):
        if arch in foundry.states.not_here:
            continue  # it fails without a pull
        reference = parse_reference(text)
        if reference.name not in found and not foundry.containers.engine.has_image(text):
            found[reference.name] = reference
    return list(found.values())
