"""The library as data for people and other tools: drivers with their images, releases, upgrades (`index.json`).

Its form is schemas/site-index.schema.json. It follows from the ledgers, the catalogue and the upgrades that are here:
the same of these give the same data, whenever and wherever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.versions import version_key
from foundry.base.yaml_text import yaml_documents
from foundry.config.catalogue import FLAVOURS
from foundry.kmm.manifests import Image, modules, preflight
from foundry.ledger.ledgers import ledger_of, ledgers_here
from foundry.plan.ledger import Ledger
from foundry.plan.releases import release_repository, release_tag
from foundry.plan.rows import Row
from foundry.plan.upgrades import read_upgrades
from foundry.release import source_tarballs
from foundry.release.bundle import driver_of, places, wishes_of
from foundry.release.unbuilt import withdrawn
from foundry.run.context import Foundry
from foundry.site.coverage import coverage_of

SCHEMA = 1
_KERNEL, _IMAGE, _TOOLKIT = "KERNEL-OF-A-NODE", "IMAGE-BY-DIGEST", "TOOLKIT-BY-DIGEST"

Data = dict[str, Any]


def library(foundry: Foundry) -> tuple[Data, list[str]]:
    """All of it, and a sentence on each ledger, and on the file of upgrades, that can't be read."""
    trouble: list[str] = []
    drivers: dict[tuple[str, str], Data] = {}
    for name in sorted({*foundry.states.plan.by_driver, *ledgers_here(foundry)}, key=version_key, reverse=True):
        try:
            ledger = ledger_of(foundry, name)
            if ledger.family in foundry.config.families:
                drivers[ledger.family, name] = _driver(foundry, ledger)
        except FoundryError as error:
            trouble.append(f"the ledger of {name} can't be read, so its images are not shown: {error.sentence}")
    try:
        upgrades = _upgrades(foundry)
    except FoundryError as error:
        trouble.append(f"the upgrades between releases can't be read: {error.sentence}")
        upgrades = {"edges": {}, "risks": {}}
    return {
        "schema": SCHEMA, "drivers": [drivers[place] for place in sorted(drivers, key=lambda place: place[0])],
        "releases": list(_releases(foundry)), "upgrades": upgrades,
    }, trouble


def _driver(foundry: Foundry, ledger: Ledger) -> Data:
    family = foundry.config.families[ledger.family]
    refused = withdrawn(foundry, ledger)
    rows = [row for row in reversed(ledger.sorted_rows()) if row.registries and row.digest not in refused]
    repository = release_repository(foundry.settings)
    package = foundry.config.locks.of(family.name).packages.get(ledger.driver)
    return {
        "family": family.name, "title": family["title"], "version": ledger.driver,
        "modules": [one.name for one in foundry.config.recipe(family, ledger.driver).modules],
        "revision": ledger.revision, "updated": max((row.published for row in rows), default=""),
        **({"release": f"https://github.com/{repository}/releases/tag/{release_tag(family.name, ledger.driver)}"}
           if repository else {}),
        **({"package": {"file": package.href, "sha256": package.content_sha256,
                        "license": family.license_of(package.license)}} if package is not None else {}),
        "sources": sorted(source_tarballs.tarballs(foundry, ledger.driver, ledger))
        if ledger.driver in foundry.states.plan.families else sorted(ledger.sources),
        "manifests": _manifests(foundry, ledger), "preflight": _preflight(foundry, ledger), "patches": _patches(ledger),
        "images": [_image(foundry, ledger, row) for row in rows], "missing": list(_missing(foundry, ledger)),
    }


def _image(foundry: Foundry, ledger: Ledger, row: Row) -> Data:
    series = ledger.series.get(row.key_inputs.get("patches", ""), ())
    found: Data = {
        "kernel": row.kernel, "arch": row.arch, "digest": row.digest, "tags": list(row.tags),
        "pull": places(foundry, ledger.family, row),
        "releases": sorted(row.releases, key=version_key), "toolkit": row.toolkit, "key": row.key,
        "published": row.published, "size": row.size, "patches": [str(patch["id"]) for patch in series],
        "attestations": dict(row.attestations),
    }
    if row.proof is not None:
        found["proof"] = {"outcome": row.proof["outcome"],
                          "checks": [one["name"] for one in row.proof.get("checks", ())],
                          **({"fault": row.proof["fault"]} if row.proof.get("fault") else {})}
    found |= {"modules_signed_by": row.signature["signer"]} if row.signature is not None else {}
    found |= {"image_signed_by": row.image_signer} if row.image_signer else {}
    found |= {"depends": list(row.depends)} if row.depends else {}
    if row.revision is not None:
        found["since_revision"] = row.revision.number
    if row.replaces is not None:
        found["replaces"] = {"digest": row.replaces.digest, "reason": row.replaces.reason}
    return found


def _patches(ledger: Ledger) -> Data:
    """Why there are patches, by their id."""
    return {str(patch["id"]): str(patch.get("why", "")) for name in sorted(ledger.series)
            for patch in ledger.series[name]}


def _manifests(foundry: Foundry, ledger: Ledger) -> list[Data]:
    """KMM's Modules as texts around their mappings, so that a page can make one of any kernels."""
    driver = driver_of(foundry, ledger)
    wishes = replace(wishes_of(foundry, ledger), fallback=False)
    found = []
    for module in modules(replace(driver, images=(Image(_KERNEL, _IMAGE, ""),)), wishes):
        lines = yaml_documents([module]).decode().splitlines(keepends=True)
        first = next(number for number, text in enumerate(lines) if _KERNEL in text)
        found.append({"before": "".join(lines[:first]), "mapping": "".join(lines[first:first + 2]),
                      "after": "".join(lines[first + 2:]), "kernel": _KERNEL, "image": _IMAGE})
    return found


def _preflight(foundry: Foundry, ledger: Ledger) -> Data:
    """What asks KMM before an upgrade whether there is an image, as a text with a kernel and its toolkit to put in."""
    text = yaml_documents([preflight(Image(_KERNEL, "", _TOOLKIT), wishes_of(foundry, ledger))]).decode()
    return {"text": text.replace(f"kernel-{_KERNEL.lower()}", "upgrade"), "kernel": _KERNEL, "toolkit": _TOOLKIT}


def _missing(foundry: Foundry, ledger: Ledger) -> Iterator[Data]:
    """Kernels of releases that have no image, with the reason."""
    for arch in foundry.settings.arch:
        for flavour in FLAVOURS:
            coverage = coverage_of(foundry, ledger, arch, flavour)
            lacking: dict[str, list[str]] = defaultdict(list)
            for release in coverage.kernels:
                for kernel in coverage.lacking(release):
                    lacking[kernel].append(release)
            for kernel in sorted(lacking, key=version_key, reverse=True):
                yield {"kernel": kernel, "arch": arch, "flavour": flavour, "why": coverage.why.get(kernel, ""),
                       "releases": sorted(lacking[kernel], key=version_key)}


def _releases(foundry: Foundry) -> Iterator[Data]:
    """The releases of the catalogue, the newest first, each architecture for itself."""
    entries = sorted(foundry.config.catalogue, key=lambda entry: (version_key(entry.version), entry.arch), reverse=True)
    found: dict[tuple[str, str], Data] = {}
    for entry in entries:
        if entry.arch not in foundry.settings.arch:
            continue
        one = found.setdefault(entry.place, {"version": entry.version, "arch": entry.arch, "kernels": {}})
        for flavour in entry.kernels:
            served = one["kernels"].setdefault(flavour, [])
            if entry.on_nodes(flavour) not in served:
                served.append(entry.on_nodes(flavour))
        if entry.mismatch:
            one["mismatch"] = {"toolkit": entry.kernel, "nodes": entry.node_kernel}
    yield from found.values()


def _upgrades(foundry: Foundry) -> Mapping[str, Any]:
    """As in the file that `doit toolkit` writes: by architecture, from → to → names of risks; and the risks."""
    file = foundry.settings.upgrades
    known = read_upgrades(foundry.root / file, file, foundry.config.validation)
    risks: dict[str, Data] = {}
    edges: dict[str, Any] = {}
    for arch, upgrades in sorted(known.items()):
        if arch in foundry.settings.arch:
            edges[arch] = {source: {target: [risk.name for risk in found] for target, found in upgrades.after(source)}
                           for source in sorted(upgrades.edges, key=version_key)}
            risks |= {risk.name: {"url": risk.url, "message": risk.message} for targets in upgrades.edges.values()
                      for some in targets.values() for risk in some}
    return {"edges": edges, "risks": dict(sorted(risks.items()))}
