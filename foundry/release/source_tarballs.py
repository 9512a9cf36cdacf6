"""Stage sources: the source tarballs that go with a driver's images, as the GPL asks for.

A tarball is made from what the ledger says of the published images, on
whatever machine they were built. The ledger keeps what a tarball was made from and its checksum: a
checkout that has none of the files knows whether those that are published are
right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, sha256_bytes, sha256_file
from foundry.base.reasons import Reason
from foundry.base.versions import version_key
from foundry.config.family import Family
from foundry.config.locks import LockedPackage, MainPackage
from foundry.config.patches import Patch, applying
from foundry.config.recipe import BUILD_SCRIPT
from foundry.driver import fetch, source
from foundry.ledger.ledgers import change, ledger_file, ledger_of
from foundry.plan.keys import made_hash, modules_hash, patches_hash
from foundry.plan.ledger import Ledger
from foundry.plan.releases import asset_name
from foundry.plan.rows import Row
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.release.corresponding_source import Series

DRIVER, BUSYBOX = "driver", "busybox"
LOG = "sources.log"
_FORM = 2  # of the tarballs: another number makes them anew


def missing(foundry: Foundry, driver: str, ledger: Ledger) -> list[str]:
    """The kinds of tarballs that the ledger lacks, or has of other inputs; makes no network request."""
    wanted = keys(foundry, driver, ledger)
    current = {entry["kind"] for entry in ledger.sources.values() if entry["key"] == wanted.get(entry["kind"])}
    return [kind for kind in wanted if kind not in current]


def tarballs(foundry: Foundry, driver: str, ledger: Ledger) -> dict[str, Mapping[str, Any]]:
    """What the ledger says of the tarballs of today's inputs, by file name."""
    wanted = keys(foundry, driver, ledger)
    return {name: entry for name, entry in ledger.sources.items() if entry["key"] == wanted.get(entry["kind"])}


def here(foundry: Foundry, driver: str, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether the tarball's file is in the driver's release folder, by its content: it is uploaded."""
    path = ledger_file(foundry, driver).with_name(name)
    return path.is_file() and path.stat().st_size == entry["size"] and sha256_file(path) == entry["sha256"]


def make(foundry: Foundry, driver: str) -> None:
    """Make the tarballs that the ledger lacks, and those whose files are not here, and note them in the ledger.

    Raises FoundryError ``series-unknown``, what the stages fetch and source raise, and what
    `foundry.release.busybox.fetch_busybox` raises; what could be made is kept.
    """
    ledger = ledger_of(foundry, driver)
    lacking = {*missing(foundry, driver, ledger), *(
        entry["kind"] for name, entry in tarballs(foundry, driver, ledger).items()
        if not here(foundry, driver, name, entry)
    )}
    problem: FoundryError | None = None
    for kind in (DRIVER, BUSYBOX):
        if kind not in lacking:
            continue
        try:
            path = _make_driver(foundry, driver, ledger) if kind == DRIVER else _make_busybox(foundry, driver)
        except FoundryError as error:
            problem = problem or error
            continue
        entry = {"kind": kind, "key": keys(foundry, driver, ledger)[kind], "sha256": sha256_file(path),
                 "size": path.stat().st_size}
        change(foundry, driver, lambda now, new={path.name: entry}: now.with_sources(new))  # type: ignore[misc]
    if problem is not None:
        raise problem


def _make_driver(foundry: Foundry, driver: str, ledger: Ledger) -> Path:
    from foundry.release.corresponding_source import CorrespondingSource, build_files, write_corresponding_source

    family = foundry.states.plan.families[driver]
    known = foundry.states.sources[driver]
    if not known.source_done:
        if not known.fetch_done:
            fetch.fetch(foundry, driver, family)
        source.source(foundry, driver, family)
    package = _package(foundry, driver, family)
    dest = ledger_file(foundry, driver).with_name(asset_name(package.name, driver))
    write_corresponding_source(dest, CorrespondingSource(
        title=family["title"], driver=driver, package_name=package.name, package_url=package.url,
        package_sha256=package.content_sha256, package_license=family.license_of(package.license),
        tree=foundry.source_folder(driver) / source.TREE, series=_series(foundry, ledger, family),
        files=build_files(foundry.root, family["containerfile"], family["licenses"]),
        recipe=foundry.config.recipe(family, driver), toolkits=_toolkits(ledger), mtime=package.build_time,
    ), dest.with_name(LOG))
    return dest


def _make_busybox(foundry: Foundry, driver: str) -> Path:
    from foundry.release.busybox import fetch_busybox

    folder = ledger_file(foundry, driver).parent
    path, _, _ = fetch_busybox(foundry, foundry.states.plan.families[driver], folder, folder / LOG)
    return path


def keys(foundry: Foundry, driver: str, ledger: Ledger) -> dict[str, str]:
    """What each tarball depends on, hashed; empty where nothing is published or locked."""
    family = foundry.states.plan.families[driver]
    lock = foundry.config.locks.of(family.name)
    package, base = lock.packages.get(driver), lock.base
    if not ledger.rows or package is None or base is None:
        return {}
    recipe = foundry.config.recipe(family, driver)
    files = [BUILD_SCRIPT, family["containerfile"], *family["licenses"]]
    plain = {field.name: getattr(package, field.name) for field in fields(LockedPackage)}
    plain["license"] = family.license_of(package.license)
    rows = [[row.kernel, _patches_of(row), row.toolkit] for row in ledger.sorted_rows()]
    found = {DRIVER: _hash([
        _FORM, driver, plain, rows, {name: foundry.states.hashes.get(name) for name in files},
        modules_hash(recipe), made_hash(recipe), family.data.get("strip", "debug"), family["title"],
    ])}
    busybox = base.busybox
    if busybox is not None:
        found[BUSYBOX] = _hash([_FORM, busybox.version, busybox.source, busybox.source_backup])
    return found


def _series(foundry: Foundry, ledger: Ledger, family: Family) -> tuple[Series, ...]:
    """The kernels of the ledger by the patches that their modules were built with."""
    from foundry.release.corresponding_source import Series

    kernels: dict[str, set[str]] = defaultdict(set)
    for row in ledger.rows.values():
        kernels[_patches_of(row)].add(row.kernel)
    return tuple(
        Series(tuple(sorted(names, key=version_key)), _patches(foundry, ledger, family, name, min(names)))
        for name, names in sorted(kernels.items())
    )


def _patches(foundry: Foundry, ledger: Ledger, family: Family, name: str, kernel: str) -> tuple[Patch, ...]:
    """The patches with that hash: as the ledger keeps them, else today's where they are the same."""
    today = applying(family.patches, ledger.driver, kernel)
    if name == patches_hash(today):
        return today
    if name == patches_hash(()):
        return ()
    if name in ledger.series:
        return tuple(Patch.from_config(patch) for patch in ledger.series[name])
    raise FoundryError(
        f"nobody knows any more with which patches {ledger.driver} for {kernel} was built",
        reason=Reason.SERIES_UNKNOWN,
        hint="its row is of an older version of kmod-foundry: rebuild it with FORCE_BUILD=true",
    )


def _patches_of(row: Row) -> str:
    return row.key_inputs.get("patches", "")


def _toolkits(ledger: Ledger) -> dict[str, str]:
    return {row.kernel: row.toolkit for row in ledger.rows.values()}


def _package(foundry: Foundry, driver: str, family: Family) -> MainPackage:
    package = foundry.config.locks.of(family.name).packages.get(driver)
    if package is None:
        raise FoundryError(f"the package of {driver} is not locked", reason=Reason.NOT_FETCHED,
                           hint=f"run `doit build:{driver}`")
    return package


def _hash(value: object) -> str:
    return sha256_bytes(canonical_json(value))
