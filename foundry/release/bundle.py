"""Stage bundle: the Kubernetes manifests that make a cluster use a driver's images, by digest, in ``kmm/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from foundry.base.errors import UsageError
from foundry.base.files import canonical_json, sha256_bytes
from foundry.base.templates import fill_known
from foundry.base.versions import minor_of
from foundry.base.yaml_text import yaml_documents
from foundry.kmm.files import bundle_files
from foundry.kmm.manifests import Driver, Image, Wishes, left_out, modules, preflight
from foundry.ledger.ledgers import kept_ledger, ledger_of, ledgers_here
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.registry.targets import targets_of
from foundry.release.folders import Folder
from foundry.release.unbuilt import withdrawn
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.kmm.known import Known

FOLDER = Folder("bundle", "kmm")
_KMM = re.compile(r"2\.[0-9]{1,3}")
_FORM = 2  # of what is written; another number writes it anew


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that it depends on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver))]


@dataclass(frozen=True)
class Asked:
    """What the command line asks of one bundle: kernels, releases (patterns) and minors alone, another KMM."""

    kernels: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    minors: tuple[str, ...] = ()
    no_fallback: bool = False
    kmm: str = ""

    def takes(self, row: Row) -> bool:
        """Whether the bundle has the image."""
        return (
            (not self.kernels or any(fnmatchcase(row.kernel, one) for one in self.kernels))
            and (not self.releases or any(fnmatchcase(name, one) for name in row.releases for one in self.releases))
            and (not self.minors or any(minor_of(name) in self.minors for name in row.releases)))


ALL = Asked()


def current(foundry: Foundry, driver: str, asked: Asked = ALL) -> bool:
    """Whether what is here is of today's ledger and settings; no network request."""
    ledger = foundry.states.ledger(driver)
    if ledger is None:
        return False
    found = driver_of(foundry, ledger, asked)
    return bool(found.images) and FOLDER.current(foundry, driver, _key(foundry, ledger, asked, found))


def bundle(foundry: Foundry, driver: str, asked: Asked = ALL) -> None:
    """Write ``kmm/``; nothing, and a warning, where no image of the driver is in a registry.

    Raises UsageError where what is asked for fits none, and for another KMM than 2.*.
    """
    if asked.kmm and not _KMM.fullmatch(asked.kmm):
        raise UsageError(f"--kmm={asked.kmm}: no release of KMM is called so", hint="as in --kmm=2.4")
    ledger = kept_ledger(foundry, driver)
    found = driver_of(foundry, ledger, asked)
    files: dict[str, bytes] = {}
    if found.images:
        wishes = wishes_of(foundry, ledger, asked)
        for sentence in left_out(found, wishes):
            foundry.journal.warn(f"manifests of {driver}: {sentence}")
        repositories = list(dict.fromkeys(image.repository for image in found.images))
        files = bundle_files(found, wishes, repositories, foundry.settings.kmm.mirror)
    elif driver_of(foundry, ledger).images:
        raise UsageError(f"no image of {driver} is of these kernels, releases and minors",
                         hint=f"`doit status {driver}` shows those that there are")
    else:
        foundry.journal.warn(f"{driver} has no image in a registry that a cluster could use: there are no manifests"
                             f" (`doit publish:{driver}` publishes)")
    FOLDER.write(foundry, driver, ledger.family, _key(foundry, ledger, asked, found), file_deps(foundry, driver), files)


def driver_of(foundry: Foundry, ledger: Ledger, asked: Asked = ALL) -> Driver:
    """The driver as manifests know it: its published images that no boot refused, the newest first."""
    family = foundry.config.families[ledger.family]
    recipe = foundry.config.recipe(family, ledger.driver)
    refused = withdrawn(foundry, ledger)
    rows = [row for row in reversed(ledger.sorted_rows()) if row.registries and row.digest not in refused]
    return Driver(
        family.name, ledger.driver, tuple(one.name for one in recipe.modules),
        tuple(Image(row.kernel, places(foundry, family.name, row)[0], row.toolkit, row.releases, bool(row.image_signer))
              for row in rows if asked.takes(row)),
        recipe.loading_order, "firmware" in family.data, tuple(sorted({one for row in rows for one in row.devices})),
        tuple(sorted({one for row in rows for one in row.loads})),
    )


def example(foundry: Foundry, ledger: Ledger) -> str:
    """The driver's Modules with the newest image alone, as YAML; empty where no image is in a registry."""
    driver = driver_of(foundry, ledger)
    shown = replace(driver, images=driver.images[:1])
    return yaml_documents(modules(shown, wishes_of(foundry, ledger))).decode() if shown.images else ""


def on_the_way(foundry: Foundry, ledger: Ledger, kernels: Sequence[str], last: Sequence[str]) -> str:
    """The driver's Modules for these kernels, and preflights for the `last` ones, as YAML; empty where no image is."""
    driver, wishes = driver_of(foundry, ledger, Asked(tuple(kernels) or ("",))), wishes_of(foundry, ledger)
    if not driver.images:
        return ""
    return yaml_documents([*modules(driver, wishes), *(
        preflight(image, wishes) for image in driver.images if image.kernel in last)]).decode()


def wishes_of(foundry: Foundry, ledger: Ledger, asked: Asked = ALL) -> Wishes:
    """What family file, profile and command line say of clusters."""
    said, profile = foundry.config.families[ledger.family].data.get("kmm", {}), foundry.settings.kmm
    boot = fill_known(profile.boot_repository, {"family": ledger.family, "driver": ledger.driver})
    return Wishes(
        profile.namespace, said.get("selector"), tuple(said.get("tolerations", ())),
        tuple(said.get("in_tree_modules_to_remove", ())), profile.image_repo_secret,
        profile.fallback and not asked.no_fallback, said.get("ordered_upgrades", False), said.get("operator"),
        asked.kmm or profile.version, boot,
    )


def known(foundry: Foundry) -> Known:
    """What the ledgers and the catalogue of this checkout know of images and kernels; no network request."""
    from foundry.kmm.known import Known  # which reads regular expressions: not on the way of "nothing to do"

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
            releases.setdefault(entry.version, []).append(entry.on_nodes())
    return Known(rows, frozenset(refused), releases, bool(foundry.settings.kmm.image_repo_secret),
                 foundry.settings.proof != "off")


def places(foundry: Foundry, family: str, row: Row) -> list[str]:
    """The image by digest, in each registry that has it; the profile's, in their order, come first."""
    named = [name for target in targets_of(foundry.settings.publish, family) for name in row.registries
             if target.is_in([name])]
    return [f"{name}@{row.digest}" for name in dict.fromkeys([*named, *row.registries])]


def _key(foundry: Foundry, ledger: Ledger, asked: Asked, driver: Driver) -> str:
    said = [asdict(driver), asdict(wishes_of(foundry, ledger, asked)),
            foundry.settings.kmm.mirror]
    return sha256_bytes(canonical_json([_FORM, said]))
