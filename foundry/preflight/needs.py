"""What the next commands need besides the machine: a catalogue, locks, places to publish to, a token."""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.base.versions import version_key
from foundry.github.repository import repository, require_token
from foundry.plan.gaps import gap_faults
from foundry.preflight import checks
from foundry.preflight.checks import Check
from foundry.preflight.readiness import require_writable, toolkit_references
from foundry.run.context import Foundry

CATALOGUE, LOCKS = "catalogue", "locks"


def _find(foundry: Foundry) -> str:
    return "doit sandbox:up" if foundry.settings.services == "sandbox" else "doit toolkit"


def check_catalogue(foundry: Foundry) -> list[Check]:
    """Whether it has, with kernels, what the matrix wants; a line for each minor that lacks something."""
    plan, entries = foundry.states.plan, foundry.config.catalogue
    faults = gap_faults(plan)
    if faults:
        return [Check(CATALOGUE, False, fault.render(), _find(foundry), Reason.CONFIGURATION) for fault in faults]
    releases = sorted({entry.version for entry in entries}, key=version_key)
    kernels = {kernel for entry in entries for kernel in entry.kernels.values()}
    span = f" ({releases[0]} to {releases[-1]})" if releases else ""
    return [Check(CATALOGUE, True, f"{len(releases)} releases{span} with {len(kernels)} kernels")]


def check_locks(foundry: Foundry) -> list[Check]:
    """The base image of each family that the matrix wants; a package is locked when it is first fetched."""
    found = []
    plan = foundry.states.plan
    for family in sorted({family.name for family in plan.families.values()}):
        lock, file = foundry.config.locks.of(family), foundry.config.locks.path(family)
        drivers = [driver for driver in plan.by_driver if plan.families[driver].name == family]
        locked = sum(driver in lock.packages for driver in drivers)
        if lock.base is None:
            found.append(Check(LOCKS, False, f"{file} has no base image yet", _find(foundry),
                               Reason.BASE_NOT_LOCKED))
        else:
            found.append(Check(LOCKS, True, f"{file} has the base image and {locked} of {len(drivers)} packages"
                               + ("" if locked == len(drivers) else "; the others when they are first fetched")))
    return found


def check_toolkit_access(foundry: Foundry) -> list[Check]:
    """Where no toolkit is known yet: whether those of a release could be read."""
    if toolkit_references(foundry) or not foundry.settings.releases.images:
        return []
    return checks.check_refusal(foundry.registries.reader, parse_reference(foundry.settings.releases.images[0]))


def check_signing(foundry: Foundry) -> list[Check]:
    """Whether the key that signs modules can be had, and is its certificate's; nothing is signed."""
    if not foundry.settings.signing.key:
        return []
    try:
        certificate = foundry.signer().certificate
    except FoundryError as error:
        made = foundry.settings.services == "sandbox" and error.reason == Reason.CERTIFICATE_UNREADABLE
        return [_bad("signing key", error) if not made else
                Check(LOCKS, False, error.message, _find(foundry), error.reason)]
    return [Check("signing key", True, f"is that of {certificate.subject!r}, which is valid until"
                                       f" {certificate.not_after:%Y-%m-%d}")]


def check_image_signing(foundry: Foundry) -> list[Check]:
    """Whether the key that signs images can be had, and is that of the first public key; nothing is signed."""
    try:
        signer = foundry.image_signer()
    except FoundryError as error:
        return [_bad("image signing key", error)]
    if signer is None:
        return []
    return [Check("image signing key", True, f"is the private half of {signer.public.fingerprint}")]


def check_publishing(foundry: Foundry) -> list[Check]:
    """Every place that images go to takes uploads, with the region and the credentials that that needs; the token."""
    found: dict[str, Check] = {}
    try:
        families = sorted({family.name for family in foundry.states.plan.families.values()})
        targets = {target.name: target for family in families for target in foundry.registries.targets(family)}
    except FoundryError as error:  # a region or an account that is not known
        return [_bad("publish", error), *_token(foundry)]
    for name, target in targets.items():
        try:
            require_writable(foundry, target)
            found[name] = Check("publish", True, f"{name} takes images")
        except FoundryError as error:
            found[name] = _bad("publish", error)
    nowhere = Check("publish", True, f"nowhere: the profile {foundry.config.profile.name} names no registry")
    return [*(found.values() or [nowhere]), *_token(foundry)]


def _token(foundry: Foundry) -> list[Check]:
    name = repository(foundry)
    if not name:
        return []
    try:
        require_token()
    except FoundryError as error:
        return [_bad("GitHub token", error)]
    return [Check("GitHub token", True, f"is set, for the releases of {name}")]


def _bad(name: str, error: FoundryError) -> Check:
    return Check(name, False, error.message, error.hint, error.reason)
