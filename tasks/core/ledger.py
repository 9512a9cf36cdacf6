"""The ledger: per driver, every published cell (``images.json``).

Here it is a file, ``build/<profile>/release/<driver>/images.json``. A cell
whose row bears its current key is published: it needs no toolkit, no source and
no module. A ledger of a newer schema is refused, never misread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, Fault
from tasks.core.files import parse_json, pretty_json
from tasks.core.schema import Verdicts
from tasks.core.versions import version_key

SCHEMA = 1


def ledger_path(build: Path, driver: str) -> Path:
    """Where a driver's ledger is, below ``build/<profile>``."""
    return build / "release" / driver / "images.json"


def read_ledger(path: Path, file: str, verdicts: Verdicts) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The rows by (kernel, arch); empty when there is no ledger.

    Raises ConfigError when the file is there and is not a ledger that this
    version understands: an answer that can't be had is never "nothing published".
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    return rows_of(parse_ledger(content, file, verdicts))


def parse_ledger(content: bytes, file: str, verdicts: Verdicts) -> Mapping[str, Any]:
    """The checked document. Raises ConfigError as `read_ledger` does."""
    try:
        document = parse_json(content)
    except ValueError as error:
        raise ConfigError([Fault(file, "", f"is not JSON: {error}")]) from error
    newer = isinstance(document, dict) and isinstance(document.get("schema"), int) and document["schema"] > SCHEMA
    if newer:
        message = f"schema {document['schema']} is newer than this version of kmod-foundry understands ({SCHEMA})"
        raise ConfigError([Fault(file, "$.schema", message)], hint="update kmod-foundry")
    faults = verdicts.check("ledger", document, content, file)
    if faults:
        raise ConfigError(faults)
    checked: Mapping[str, Any] = document
    return checked


def rows_of(document: Mapping[str, Any]) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The rows by (kernel, arch)."""
    return {(row["kernel"], row["arch"]): row for row in document["cells"]}


def ledger_bytes(driver: str, family: str, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The ledger as it is written: rows by kernel version; the same rows give the same bytes."""
    cells = sorted(rows, key=lambda row: (version_key(row["kernel"]), row["kernel"], row["arch"]))
    return pretty_json({"schema": SCHEMA, "driver": driver, "family": family, "cells": cells})


def merged(
    ours: Mapping[tuple[str, str], Mapping[str, Any]], theirs: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """All rows of both; of two for the same cell the one that was published later."""
    rows = dict(theirs)
    for place, row in ours.items():
        other = rows.get(place)
        if other is None or row.get("published", "") >= other.get("published", ""):
            rows[place] = row
    return rows
