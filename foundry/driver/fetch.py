"""Stage fetch: the driver's packages, verified, and their lock.

From a YUM repository: repomd → primary → RPM by SHA-256, then the signature by the full
fingerprint. From an address: the file, by a hash that was written down before, or an RPM by its
signature. The first fetch of a version locks the hashes and what the packages say of
themselves (`foundry.driver.discover`); later ones must match.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import remove_stale, scratch, write_atomic
from foundry.base.records import output_facts, write_record
from foundry.base.templates import fields_of
from foundry.config.family import Family
from foundry.config.locks import LockedPackage, MainPackage
from foundry.config.package_specs import PackageSpec, specs_of
from foundry.packages.signing import pinned_fingerprint
from foundry.run.context import Foundry
from foundry.run.failure import noted

if TYPE_CHECKING:
    from foundry.formats.packages.repodata import RepoPackage
    from foundry.packages.obtain import Obtained

RECORD = "fetch.json"
LOG = "fetch.log"
ARCHIVE = "archive"  # the setting `source`

_repositories: dict[str, tuple[RepoPackage, ...]] = {}  # by base URL, as listed in this run
_repositories_lock = threading.Lock()


def fetch(foundry: Foundry, driver: str, family: Family) -> None:
    """Leave the packages and ``fetch.json`` in the driver's source folder and lock the version.

    Raises FoundryError: unknown version, wrong hash, wrong or missing signature,
    a package that differs from the locked one, one that is not what the family file says;
    ConfigError: a package that nothing vouches for; OutsideError: repository not to be had.
    """
    with noted(foundry.source_folder(driver), stage="fetch", key=foundry.states.fetch_key(driver, family)):
        _fetch(foundry, driver, family)


def files_of(family: Family, driver: str) -> list[str]:
    """The names of the fetched files in the driver's source folder."""
    return [spec.file for spec in specs_of(family, driver)]


def obtained(
    foundry: Foundry, family: Family, driver: str, known: MainPackage | None, work: Path, log: Path
) -> list[Obtained]:
    """The driver's packages, the main one first, in the folder `work`; what nothing vouches for is not kept.

    `known` is what is locked of them. Raises as `fetch`.
    """
    return [_obtain(foundry, family, spec, work, known, log) for spec in _specs(foundry, family, driver, known)]


def read(family: Family, driver: str, found: Sequence[Obtained], work: Path) -> MainPackage:
    """What the packages that were `obtained` say of themselves, as the lock keeps it. Raises as `fetch`."""
    from foundry.driver.discover import discover

    further = {one.spec.role: LockedPackage(**_facts(one)) for one in found[1:]}
    return discover(MainPackage(**_facts(found[0]), further=further), family, driver, work, found)


def _fetch(foundry: Foundry, driver: str, family: Family) -> None:
    folder = foundry.source_folder(driver)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    log.unlink(missing_ok=True)
    remove_stale(folder)
    record = folder / RECORD
    record.unlink(missing_ok=True)
    known = foundry.config.locks.of(family.name).packages.get(driver)
    with scratch(folder, "fetch") as work:
        found = obtained(foundry, family, driver, known, work, log)
        _require_vouched(family, driver, found)
        package = read(family, driver, found, work)
        for one in found:
            os.replace(work / one.spec.file, folder / one.spec.file)
    main = found[0]
    if foundry.config.locks.change(family.name, lambda lock: lock.with_package(driver, package)):
        foundry.journal.warn(f"{driver} is now locked in {foundry.config.locks.path(family.name)}: keep that file")
    write_record(record, "fetch", {
        "driver": driver, "family": family.name, "inputs": {},
        "outputs": output_facts(folder, [one.spec.file for one in found]),
        "key": foundry.states.fetch_key(driver, family),
        "content_sha256": main.content_sha256, "file_sha256": main.file_sha256, "url": main.url, **_signed(main),
        **({"further": {role: one.content_sha256 for role, one in package.further.items()}} if found[1:] else {}),
        **({"packages": [{"role": one.spec.role, "name": one.name, "url": one.url, "file_sha256": one.file_sha256,
                          **_signed(one)} for one in found[1:]]} if found[1:] else {}),
    })


def _specs(foundry: Foundry, family: Family, driver: str, known: MainPackage | None) -> tuple[PackageSpec, ...]:
    """The driver's packages. Where each RHEL release has a folder: from that of the locked package, else the lowest.

    ConfigError where an address holds a field that nobody knows.
    """
    releases = foundry.states.plan.rhel_releases(driver) or [""]
    found = [specs_of(family, driver, release) for release in releases]
    url = known.url if known is not None else ""
    specs = next((specs for specs in found if url.startswith(specs[0].repository or specs[0].url)), found[0])
    faults = [
        Fault(family.file, spec.path, f"{text} asks for {{{field}}}, and no kernel of {driver} tells it")
        for spec in specs for text in (spec.repository, spec.url, spec.version) for field in fields_of(text)
    ]
    if faults:
        raise ConfigError(faults, hint="give it a value in `parameters`")
    return specs


def _obtain(
    foundry: Foundry, family: Family, spec: PackageSpec, work: Path, known: MainPackage | None, log: Path
) -> Obtained:
    """One package, to a file in the folder `work`; the vendor's key goes beside the log."""
    from foundry.net.http import get
    from foundry.packages.obtain import Trust, obtain

    seconds = foundry.settings.network_timeout
    key_file, fingerprint = None, ""
    key_name = log.with_name(f"signing-key-{spec.role}.asc" if spec.role else "signing-key.asc")
    entry = known.further.get(spec.role) if known is not None and spec.role else known
    locked_sha256 = entry.content_sha256 if entry is not None else None
    if foundry.settings.source == ARCHIVE:
        from foundry.archive.source import obtain_archived

        return obtain_archived(foundry, family, spec, work / spec.file, key_file=key_name, log=log,
                               locked_sha256=locked_sha256)
    if spec.signing is not None:
        key_file = key_name
        key_url = foundry.addresses.resolve(spec.signing["key_url"])
        write_atomic(key_file, get(key_url, max_bytes=1 << 20, total=seconds, log=log))
        fingerprint = pinned_fingerprint(foundry.root, spec.signing, family.file, f"{spec.path}.signing")
    address = foundry.addresses.resolve(spec.repository or spec.url)
    return obtain(
        spec, work / spec.file, Trust(key_file, fingerprint, locked_sha256), address=address,
        listed=_listed(address, log, seconds) if spec.repository else None, log=log, seconds=seconds,
    )


def _require_vouched(family: Family, driver: str, found: list[Obtained]) -> None:
    """What nobody signed counts only by a hash that was written down before it was fetched."""
    faults = [
        Fault(family.file, f"{one.spec.path}.sha256",
              f"the package {one.href} of {driver} is not signed, and nothing says which file is meant;"
              f' nothing of it was used. Once you have checked it, add "{driver}": {one.file_sha256}')
        for one in found if not one.known
    ]
    if faults:
        raise ConfigError(faults, hint="compare the hash with what the vendor says, on another way than this download")


def _listed(base_url: str, log: Path, seconds: float) -> tuple[RepoPackage, ...]:
    """The repository's listing, read once a run for all drivers."""
    from foundry.packages.repository import list_packages

    with _repositories_lock:
        found = _repositories.get(base_url)
        if found is None:
            found = _repositories[base_url] = list_packages(base_url, log=log, seconds=seconds)
        return found


def _facts(one: Obtained) -> dict[str, Any]:
    """What the lock keeps of a package: its content's hash and the facts that labels show."""
    return {
        "name": one.name, "href": one.href, "url": one.url, "content_sha256": one.content_sha256,
        "build_time": one.build_time, "license": one.license,
    }


def _signed(one: Obtained) -> dict[str, Any]:
    if one.signature is None:
        return {}
    return {"signature": {"fingerprint": one.signature.fingerprint, "created": one.signature.created}}
