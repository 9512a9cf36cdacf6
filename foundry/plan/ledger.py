"""The ledger: per driver, every published cell (``images.json``).

Here it is a file, ``build/<profile>/release/<driver>/images.json``. A cell
whose row bears its current key is published: it needs no toolkit, no source and
no module. A ledger of a newer schema is refused, never misread.

Besides the rows it holds what notes and sources are made from, so that a
checkout that built nothing can make them: the patches of every series that a
row was built with, what the source tarballs were made from, and since which
revision a row is as it is. A revision is a content of the ledger that was kept
beside the images; each that differs from the one before has the next number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import parse_json, pretty_json, read_file
from foundry.base.names import LEDGER_FILE
from foundry.base.plain_text import line
from foundry.base.schema import ValidationCache
from foundry.base.versions import version_key
from foundry.plan.keys import key_of
from foundry.plan.rows import Revision, Row, row_from

SCHEMA = 3


class NewerLedger(ConfigError):
    """A ledger of a newer version of kmod-foundry: nothing may be written in its place."""


Place = tuple[str, str]  # kernel, arch


@dataclass(frozen=True)
class Ledger:
    """One driver's ledger.

    `series` are patches (`foundry.config.patches.Patch.as_data`) by the hash that the rows' keys have for
    them; `sources` are the facts on source tarballs by file name.
    """

    driver: str
    family: str
    rows: Mapping[Place, Row] = field(default_factory=dict)
    series: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it is written: rows by kernel version; the same content gives the same bytes."""
        more = {name: value for name, value in (("series", self.series), ("sources", self.sources)) if value}
        return pretty_json({
            "schema": SCHEMA, "driver": self.driver, "family": self.family,
            "cells": [row.as_data() for row in self.sorted_rows()], **more,
        })

    def sorted_rows(self) -> list[Row]:
        """The rows by kernel version."""
        return sorted(self.rows.values(), key=lambda row: (version_key(row.kernel), row.kernel, row.arch))

    @property
    def revision(self) -> int:
        """The number of the newest revision; 0 before the first."""
        return max((row.revision.number for row in self.rows.values() if row.revision is not None), default=0)

    @property
    def revised(self) -> bool:
        """Whether every row is as its revision says."""
        return not any(_differs(row) for row in self.rows.values())

    def with_row(self, row: Row, series: Sequence[Mapping[str, Any]]) -> Ledger:
        """With a cell's new row and the patches that it was built with."""
        place = row.kernel, row.arch
        before = self.rows.get(place)
        rows = {**self.rows, place: replace(row, revision=before.revision) if before is not None else row}
        name = row.key_inputs.get("patches", "")
        return replace(self, rows=rows, series={**self.series, **({name: series} if name and series else {})})

    def with_sources(self, sources: Mapping[str, Mapping[str, Any]]) -> Ledger:
        """With the facts on these source tarballs in place of older ones of the same names, or of the same inputs."""
        made = [(entry["kind"], entry["key"]) for entry in sources.values()]
        others = {name: entry for name, entry in self.sources.items() if (entry["kind"], entry["key"]) not in made}
        return replace(self, sources={**others, **sources})

    def with_revision(self) -> Ledger:
        """The same rows; what is new or other than in the last revision is of the next one."""
        number = self.revision + 1
        return replace(self, rows={
            place: _revised(row, number) if _differs(row) else row for place, row in self.rows.items()
        })

    def over(self, other: Ledger) -> Ledger:
        """All of both; of what both have, this ledger's."""
        return replace(
            self, rows={**other.rows, **self.rows}, series={**other.series, **self.series},
            sources={**other.sources, **self.sources},
        )

    def merged(self, other: Ledger) -> Ledger:
        """All rows of both; of two for the same cell the one that was published later.

        Of two tarballs of the same name that of the later revision, which knew more rows.
        """
        rows = {**other.rows, **self.rows}
        for place in self.rows.keys() & other.rows.keys():
            mine, theirs = self.rows[place], other.rows[place]
            later, earlier = (mine, theirs) if _age(mine) >= _age(theirs) else (theirs, mine)
            rows[place] = replace(later, revision=later.revision or earlier.revision)
        old, new = (other, self) if self.revision >= other.revision else (self, other)
        return replace(
            self, rows=rows, series={**other.series, **self.series}, sources={**old.sources, **new.sources}
        )

    def contradicted(self, other: Ledger) -> dict[Place, str]:
        """Of cells that both have: what `other` says that this ledger, which is written before it, can't have become.

        The same inputs have one image, until somebody builds it anew and writes both; and rows get newer, not older.
        """
        found = {}
        for place in self.rows.keys() & other.rows.keys():
            mine, theirs = self.rows[place], other.rows[place]
            if mine.digest != theirs.digest and (mine.key == theirs.key or theirs.published > mine.published):
                found[place] = f"{theirs.digest}, published {line(theirs.published)}"
        return found


def ledger_path(build: Path, driver: str) -> Path:
    """Where a driver's ledger is, below ``build/<profile>``."""
    return build / "release" / driver / LEDGER_FILE


def read_ledger(path: Path, file: str, validation: ValidationCache) -> Ledger | None:
    """The ledger; None when there is no file.

    Raises ConfigError when the file is there and is not a ledger that this
    version understands, or has a row of other inputs than its key's: an answer
    that can't be had is never "nothing published".
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        return None
    ledger = parse_ledger(content, file, validation)
    require_keys(((row.key, row.key_inputs, f"{row.kernel} {row.arch}") for row in ledger.sorted_rows()), file)
    return ledger


def require_keys(rows: Iterable[tuple[str, Mapping[str, str], str]], file: str) -> None:
    """ConfigError where a key of a ledger of this checkout is not that of the inputs beside it: who changed it?"""
    faults = [Fault(file, "", f"{name}: its key is not that of its inputs") for key, inputs, name in rows
              if key != key_of(inputs)]
    if faults:
        raise ConfigError(faults, hint="the file was damaged or changed by hand: remove it, and what registries"
                                       " have is asked for")


def versioned_document(content: bytes, file: str, newest: int) -> Any:
    """The JSON of `content`; ConfigError when it is none, NewerLedger when its schema is newer than `newest`."""
    try:
        document = parse_json(content)
    except ValueError as error:
        raise ConfigError([Fault(file, "", f"is not JSON: {error}")]) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema > newest:
        message = f"schema {schema} is newer than this version of kmod-foundry understands ({newest})"
        raise NewerLedger([Fault(file, "$.schema", message)], hint="update kmod-foundry")
    return document


def parse_ledger(content: bytes, file: str, validation: ValidationCache) -> Ledger:
    """The checked ledger. Raises ConfigError as `read_ledger` does."""
    document = versioned_document(content, file, SCHEMA)
    faults = validation.check("ledger", document, content, file) or _repeated(document["cells"], file)
    if faults:
        raise ConfigError(faults)
    return Ledger(
        document["driver"], document["family"],
        {(row["kernel"], row["arch"]): row_from(row) for row in document["cells"]},
        document.get("series", {}), document.get("sources", {}),
    )


def _repeated(rows: Sequence[Mapping[str, Any]], file: str) -> list[Fault]:
    """A cell that is there twice: to take one of its rows would lose the other."""
    seen: set[Place] = set()
    faults = []
    for number, row in enumerate(rows):
        place = row["kernel"], row["arch"]
        if place in seen:
            faults.append(Fault(file, f"$.cells[{number}]", f"{row['kernel']} {row['arch']} is there twice"))
        seen.add(place)
    return faults


def _differs(row: Row) -> bool:
    return row.revision is None or row.revision.now != row.content


def _revised(row: Row, number: int) -> Row:
    """As the revision of that number has it; `was` is what the one before had, if it had the cell at all."""
    return replace(row, revision=Revision(number, row.content, row.revision.now if row.revision is not None else None))


def _age(row: Row) -> tuple[str, int]:
    return row.published, row.revision.number if row.revision is not None else 0
