"""Stage site: what is published, for people who look: pages, news and data, in ``build/<profile>/site/``."""

from __future__ import annotations

from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, read_file, remove_tree, scratch, sha256_bytes
from foundry.base.records import output_facts, outputs_changed, read_record, write_record
from foundry.ledger.ledgers import fetch_missing
from foundry.run.context import Foundry, has_ledger
from foundry.site.index import Data, library
from foundry.site.pages import STATIC, TEMPLATES, files

FOLDER, RECORD, LOG = "site", "site.json", "site.log"


def current(foundry: Foundry) -> bool:
    """Whether the pages that are here are of today's ledgers, catalogue, upgrades and templates; no network request."""
    folder = _folder(foundry)
    record = read_record(folder / RECORD, "site")
    if record is None or outputs_changed(record, folder) or not all(
        has_ledger(foundry, driver) for driver in (foundry.states.plan.by_driver if foundry.settings.publish else ())
    ):
        return False
    try:
        return bool(record["key"] == _key(foundry, *_known(foundry)))
    except FoundryError:
        return False


def site(foundry: Foundry) -> None:
    """Write the pages anew, all or none; ledgers that are not here are asked for.

    What can't be read is said on the first page. Raises what registries and GitHub raise.
    """
    if foundry.settings.publish:
        fetch_missing(foundry, foundry.states.plan.by_driver)
        foundry.states.forget(foundry.states.plan.by_driver)
    known, trouble = _known(foundry)
    folder = _folder(foundry)
    with scratch(folder, FOLDER) as work:
        made = files(foundry.root, known, trouble)
        for name, data in made.items():
            path = work / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / RECORD).unlink(missing_ok=True)
        remove_tree(folder / FOLDER)
        (work / FOLDER).replace(folder / FOLDER)
    write_record(folder / RECORD, "site", {
        "key": _key(foundry, known, trouble), "inputs": {},
        "outputs": output_facts(folder, [f"{FOLDER}/{name}" for name in made]),
    })


def _known(foundry: Foundry) -> tuple[Data, list[str]]:
    known, trouble = library(foundry)
    for text in trouble:
        foundry.journal.warn(text)
    return known, trouble


def _key(foundry: Foundry, known: Data, trouble: list[str]) -> str:
    shapes = [[path.name, sha256_bytes(read_file(path))] for folder in (TEMPLATES, STATIC)
              for path in sorted((foundry.root / folder).iterdir())]
    return sha256_bytes(canonical_json([known, trouble, shapes]))


def _folder(foundry: Foundry) -> Path:
    return foundry.root / foundry.config.build
