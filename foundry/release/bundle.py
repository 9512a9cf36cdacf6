"""Stage bundle: the Kubernetes manifests that make a cluster use a driver's images, by digest, in ``kmm/``."""

from __future__ import annotations

from dataclasses import asdict

from foundry.base.files import canonical_json, sha256_bytes
from foundry.kmm.files import bundle_files
from foundry.kmm.known import Known
from foundry.kmm.manifests import Driver, Image, Wishes
from foundry.ledger.ledgers import kept_ledger, ledger_of, ledgers_here
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.registry.targets import targets_of
from foundry.release.folders import Folder
from foundry.release.unbuilt import withdrawn
from foundry.run.context import Foundry

FOLDER = Folder("bundle", "kmm")
_FORM = 1  # of what is written; another number writes it anew


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that it depends on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver))]


def current(foundry: Foundry, driver: str) -> bool:
    """Whether what is here is of today's ledger and settings; no network request."""
    ledger = foundry.states.ledger(driver)
    return ledger is not None and FOLDER.current(foundry, driver, _key(foundry, ledger))


def bundle(foundry: Foundry, driver: str) -> None:
    """Write ``kmm/``; nothing, and a warning, where no image of the driver is in a registry."""
    ledger = kept_ledger(foundry, driver)
    found = driver_of(foundry, ledger)
    files: dict[str, bytes] = {}
    if found.images:
        repositories = list(dict.fromkeys(image.repository for image in found.images))
        files = bundle_files(found, wishes_of(foundry, ledger.family), repositories, foundry.settings.kmm.mirror)
    else:
        foundry.journal.warn(f"{driver} has no image in a registry that a cluster could use: there are no manifests")
    FOLDER.write(foundry, driver, ledger.family, _key(foundry, ledger), file_deps(foundry, driver), files)


def driver_of(foundry: Foundry, ledger: Ledger) -> Driver:
    """The driver as manifests know it: its published images that no boot refused, the newest first."""
    family = foundry.config.families[ledger.family]
    recipe = foundry.config.recipe(family, ledger.driver)
    refused = withdrawn(foundry, ledger)
    rows = [row for row in reversed(ledger.sorted_rows()) if row.registries and row.digest not in refused]
    return Driver(
        family.name, ledger.driver, tuple(one.name for one in recipe.modules),
        tuple(Image(row.kernel, _first(foundry, family.name, row), row.toolkit) for row in rows),
        recipe.loading_order, "firmware" in family.data, tuple(sorted({one for row in rows for one in row.devices})),
    )


def wishes_of(foundry: Foundry, family: str) -> Wishes:
    """What the family file and the profile say of clusters."""
    said, profile = foundry.config.families[family].data.get("kmm", {}), foundry.settings.kmm
    return Wishes(
        profile.namespace, said.get("selector"), tuple(said.get("tolerations", ())),
        tuple(said.get("in_tree_modules_to_remove", ())), profile.image_repo_secret,
        ordered=said.get("ordered_upgrades", False), operator=said.get("operator"),
    )


def known(foundry: Foundry) -> Known:
    """What the ledgers and the catalogue of this checkout know of images and kernels; no network request."""
    rows: dict[str, list[Row]] = {}
    refused: set[str] = set()
    for driver in ledgers_here(foundry):
        ledger = ledger_of(foundry, driver)
        refused |= withdrawn(foundry, ledger)
        for row in ledger.sorted_rows():
            for name in row.registries:
                rows.setdefault(name, []).append(row)
    releases: dict[str, list[str]] = {}
    for entry in foundry.config.catalogue:
        if entry.arch in foundry.settings.arch:
            releases.setdefault(entry.version, []).append(entry.node_kernel or entry.kernel)
    return Known(rows, frozenset(refused), releases, bool(foundry.settings.kmm.image_repo_secret),
                 foundry.settings.proof != "off")


def _first(foundry: Foundry, family: str, row: Row) -> str:
    """The image by digest, in the first of the profile's registries that has it."""
    named = [name for target in targets_of(foundry.settings.publish, family) for name in row.registries
             if target.is_in([name])]
    return f"{(named or list(row.registries))[0]}@{row.digest}"


def _key(foundry: Foundry, ledger: Ledger) -> str:
    said = [asdict(driver_of(foundry, ledger)), asdict(wishes_of(foundry, ledger.family)), foundry.settings.kmm.mirror]
    return sha256_bytes(canonical_json([_FORM, said]))
