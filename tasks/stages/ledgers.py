"""The drivers' ledgers: kept below ``build/<profile>``, and beside the images in their registries.

A cell's row is written as soon as its image is published; nothing is ever lost
from a ledger because something failed later. A checkout that has no ledger of a
driver asks the registry once; "there is none" is kept as an empty ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.cells import Cell
from tasks.core.errors import FoundryError
from tasks.core.files import pretty_json, read_json, sha256_bytes, write_atomic
from tasks.core.ledger import ledger_bytes, ledger_path, merged, parse_ledger, read_ledger, rows_of
from tasks.core.names import tag_of
from tasks.core.targets import Target
from tasks.core.versions import version_key
from tasks.services.lock import locked
from tasks.stages.context import Foundry

MEDIA_TYPE = "application/vnd.kmod-foundry.ledger.v1+json"
TAG_PREFIX = "ledger-"
_STORED = "stored.json"  # target → hash of the ledger that it was last given


def ledger_tag(driver: str) -> str:
    """The tag of a driver's ledger; no image has it, as those begin with the driver's version."""
    return tag_of(f"{TAG_PREFIX}{driver}")


def put_row(foundry: Foundry, cell: Cell, row: Mapping[str, Any]) -> None:
    """Put a published cell's row into the ledger, beside what others wrote meanwhile."""
    path = _path(foundry, cell.driver)
    with locked(path.with_name(".ledger.lock")):
        rows = dict(_rows(foundry, cell.driver))
        rows[cell.kernel, cell.arch] = row
        data = ledger_bytes(cell.driver, cell.family.name, rows.values())
        write_atomic(path, data)
    foundry.states.note_row(cell, row)


def fetch_missing(foundry: Foundry, drivers: Iterable[str]) -> None:
    """Have a ledger of each driver here: asks the first target's registry for those that are not.

    Raises what the registry raises: an answer that can't be had is never "nothing published".
    """
    for driver in drivers:
        path = _path(foundry, driver)
        family = foundry.states.plan.families[driver]
        targets = foundry.targets(family.name)
        if path.exists() or not targets:
            continue
        theirs = _read_remote(foundry, driver, 0)
        data = ledger_bytes(driver, family.name, theirs.rows.values())
        write_atomic(path, data)
        if theirs.content == data:
            _mark(foundry, driver, targets[0], data)


def store(foundry: Foundry, drivers: Iterable[str]) -> None:
    """Give each target the ledgers that it does not have as they are now. Raises what pushing raises."""
    from tasks.services.registry.document import put_document

    for driver in drivers:
        family = foundry.states.plan.families[driver].name
        for number, target in enumerate(foundry.targets(family)):
            data = _content(foundry, driver)
            if data is None or _stored(foundry, driver).get(target.name) == sha256_bytes(data):
                continue
            theirs = _read_remote(foundry, driver, number)
            data = _merge(foundry, driver, family, theirs.rows)
            if theirs.content != data:
                put_document(foundry.writer(family, number), ledger_tag(driver), data, MEDIA_TYPE)
            _mark(foundry, driver, target, data)


def not_stored(foundry: Foundry, driver: str) -> bool:
    """Whether a target lacks the ledger as it is now; finding out asks nobody."""
    data = _content(foundry, driver)
    if data is None or not rows_of(_parsed(foundry, driver, data)):
        return False
    marks = _stored(foundry, driver).values()
    return list(marks).count(sha256_bytes(data)) < len(foundry.settings["publish"])


def all_ledgers(foundry: Foundry) -> dict[str, Mapping[str, Any]]:
    """The ledgers by driver: those of the matrix, from the registry where they are not here, and others of this folder.

    Raises what the registry raises.
    """
    fetch_missing(foundry, foundry.states.plan.by_driver)
    folder = foundry.root / foundry.config.build / "release"
    drivers = sorted({*foundry.states.plan.by_driver, *(path.parent.name for path in folder.glob("*/images.json"))},
                     key=version_key)
    contents = {driver: _content(foundry, driver) for driver in drivers}
    return {driver: _parsed(foundry, driver, data) for driver, data in contents.items() if data is not None}


def _merge(foundry: Foundry, driver: str, family: str, theirs: Mapping[tuple[str, str], Mapping[str, Any]]) -> bytes:
    path = _path(foundry, driver)
    with locked(path.with_name(".ledger.lock")):
        data = ledger_bytes(driver, family, merged(_rows(foundry, driver), theirs).values())
        if data != path.read_bytes():
            write_atomic(path, data)
    return data


@dataclass(frozen=True)
class _Remote:
    """A ledger as a registry has it: its bytes, None where there is none, and its rows."""

    content: bytes | None
    rows: Mapping[tuple[str, str], Mapping[str, Any]]


def _read_remote(foundry: Foundry, driver: str, number: int) -> _Remote:
    from tasks.services.registry.document import get_document

    family = foundry.states.plan.families[driver].name
    writer = foundry.writer(family, number)
    content = get_document(writer, ledger_tag(driver), MEDIA_TYPE)
    if content is None:
        return _Remote(None, {})
    document = parse_ledger(content, f"{writer.name}:{ledger_tag(driver)}", foundry.config.verdicts)
    if document["driver"] != driver:
        raise FoundryError(f"{writer.name}:{ledger_tag(driver)} is the ledger of {document['driver']}, not of {driver}",
                           reason="document-malformed", hint="does something else use this tag?")
    return _Remote(content, rows_of(document))


def _mark(foundry: Foundry, driver: str, target: Target, data: bytes) -> None:
    """Remember that a target has these bytes."""
    marks = {**_stored(foundry, driver), target.name: sha256_bytes(data)}
    write_atomic(_path(foundry, driver).with_name(_STORED), pretty_json(marks))


def _path(foundry: Foundry, driver: str) -> Path:
    return foundry.root / ledger_path(foundry.config.build, driver)


def _rows(foundry: Foundry, driver: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    path = ledger_path(foundry.config.build, driver)
    return read_ledger(foundry.root / path, str(path), foundry.config.verdicts)


def _content(foundry: Foundry, driver: str) -> bytes | None:
    path = _path(foundry, driver)
    return path.read_bytes() if path.exists() else None


def _parsed(foundry: Foundry, driver: str, data: bytes) -> Mapping[str, Any]:
    return parse_ledger(data, str(ledger_path(foundry.config.build, driver)), foundry.config.verdicts)


def _stored(foundry: Foundry, driver: str) -> dict[str, str]:
    found = read_json(_path(foundry, driver).with_name(_STORED))
    return found if isinstance(found, dict) else {}
