"""`doit doctor`: what is missing on this machine or in the credentials, and the command that mends it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_CONFIG, EXIT_OUTSIDE, ConfigError, FoundryError
from foundry.cell.kit import FOLDER as KITS
from foundry.config.profile import resolve
from foundry.podman.emulation import host_arch
from foundry.podman.engine import Engine
from foundry.preflight import checks, needs
from foundry.preflight.checks import Check
from foundry.preflight.readiness import base_references, toolkit_references
from foundry.run.context import Foundry
from tasks import session
from tasks.commands.told import told

_CONFIGURATION = "config"
_NAME_WIDTH = 17


class Doctor(Command):  # type: ignore[misc]  # reason: doit has no types
    """Check configuration, tools, a container that really starts, space, clock, what the next commands need."""

    name = "doctor"

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 3 when something is missing outside, 2 when only the configuration is wrong."""
        profile = resolve(Path())
        foundry: Foundry | None = None
        try:
            foundry = session.foundry()
            found = [Check(_CONFIGURATION, True, f"profile {profile.name}: {profile.why}")]
        except ConfigError as error:
            found = [Check(_CONFIGURATION, False, error.message, "correct the files", error.reason)]
        found += _machine(foundry, Path("build") / profile.name)
        if foundry is not None:
            found += needs.check_catalogue(foundry) + needs.check_locks(foundry)
            found += needs.check_signing(foundry) + needs.check_image_signing(foundry) + _access(foundry)
        return _show(found)


def _machine(foundry: Foundry | None, build: Path) -> list[Check]:
    sandbox = foundry is not None and foundry.settings.services == "sandbox"
    archives = foundry is not None and any("archive" in family.data for family in foundry.config.families.values())
    found = checks.check_tools(dict.fromkeys((
        *checks.BUILD_TOOLS, *(checks.ARCHIVE_TOOLS if archives else ()), *(checks.SANDBOX_TOOLS if sandbox else ()),
    )))
    found += checks.check_container(Engine(build / "engine" / "engine.json"), anew=True)
    return found + _arches(foundry) + _boots(foundry) + checks.check_space(Path()) + checks.check_clock()


def _arches(foundry: Foundry | None) -> list[Check]:
    """The architectures of cells that are still to be compiled."""
    try:
        states = foundry.states.cells.values() if foundry is not None else ()
    except FoundryError:  # a ledger that can't be read: the registries' check says so
        return []
    foreign = {state.cell.arch for state in states if not state.module_done} - {host_arch()}
    return checks.check_arches(foreign, foundry.states.not_here if foundry is not None else {})


def _boots(foundry: Foundry | None) -> list[Check]:
    """What proofs need, where the profile has any."""
    if foundry is None or foundry.settings.proof == "off":
        return []
    settings = foundry.settings
    return checks.check_boots(
        settings.arch, foundry.root / foundry.config.build / KITS, signed=bool(settings.signing.key),
        secure_boot=settings.secure_boot, required=settings.proof == "required")


def _access(foundry: Foundry) -> list[Check]:
    """Asks the registries that toolkits and bases come from, and those that images go to."""
    try:
        reads = [*toolkit_references(foundry), *base_references(foundry)]
        found = needs.check_toolkit_access(foundry) + checks.check_access(foundry.registries.reader, reads)
        return found + needs.check_publishing(foundry)
    except FoundryError as error:  # services of the sandbox that don't start, a ledger that can't be read
        return [Check("registry", False, error.message, error.hint, error.reason)]


def _show(found: list[Check]) -> int:
    for check in found:
        print(f"{'ok' if check.ok else 'MISSING':<8}{check.name:<{_NAME_WIDTH}}{check.detail}")
        if check.fix and not check.ok:
            print(f"{'':<8}{'':<{_NAME_WIDTH}}fix: {check.fix}")
    missing = list(dict.fromkeys(check.name for check in found if not check.ok))
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
    if missing and {_CONFIGURATION, needs.CATALOGUE, needs.LOCKS}.issuperset(missing):
        return EXIT_CONFIG
    return EXIT_OUTSIDE if missing else 0
