"""Stage collect: what shards left, merged into this checkout. It alone then writes ledgers for others.

Nothing of a shard is believed because it says so: a row counts if it is what
this checkout itself would write for the cell today, apart from the digests and
the time, which only who pushed can know, and if the registries have that image
with the cell's key. What can't be taken is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import pretty_json, write_atomic
from foundry.base.plain_text import line, plain
from foundry.base.reasons import Reason
from foundry.cell.run import TIMES_FILE
from foundry.driver import fetch
from foundry.fleet.artifacts import LOGS, Artifact, read_artifacts, read_totals, shard_folders
from foundry.ledger import ledgers, publish
from foundry.ledger.adoption import adopt
from foundry.plan.cells import Cell
from foundry.plan.claims import fault_of_time
from foundry.plan.failures import FAILURE_FILE
from foundry.plan.ledger import SCHEMA
from foundry.plan.rows import Row, row_from, row_of
from foundry.plan.state import CellState
from foundry.registry.targets import targets_of
from foundry.run.context import Foundry
from foundry.run.totals import Totals

# What of a row only depends on what this checkout has, too.
_KNOWN_HERE = ("kernel", "arch", "key_inputs", "tags", "releases", "toolkit", "content_sha256")


@dataclass
class Taken:
    """What was taken of one shard's folder: cells by what is known of them now; what was refused, and why.

    `totals` are the run's, where it artifact them.
    """

    folder: Path
    rows: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    totals: Totals | None = None

    def line(self) -> str:
        """One sentence."""
        counts = ((self.rows, "published"), (self.failures, "failed"), (self.others, "neither"))
        said = ", ".join(f"{len(cells)} {word}" for cells, word in counts if cells) or "nothing"
        return f"{line(str(self.folder))}: {said}" + (f"; {len(self.refused)} refused" if self.refused else "")


@dataclass(frozen=True)
class _Claim:
    """A row that a shard left, which this checkout would write if the registries have the image."""

    taken: Taken
    state: CellState
    row: Row


def collect(foundry: Foundry, folders: Iterable[Path]) -> tuple[list[Taken], list[str]]:
    """Merge what the folders have; what was taken of each, and a sentence for each that has nothing.

    Raises what `foundry.ledger.ledgers.fetch_missing` and `foundry.ledger.adoption.adopt` raise.
    """
    ledgers.fetch_missing(foundry, foundry.states.plan.by_driver)
    foundry.states.forget(foundry.states.plan.by_driver)
    cells = {cell.name: cell for cell in (*foundry.states.plan.cells, *foundry.states.plan.withheld)}
    found: list[tuple[Taken, list[Artifact]]] = []
    lost = []
    for folder in folders:
        shards = list(shard_folders(folder))
        if not shards:
            lost.append(f"{folder}: no shard left anything here")
        for shard in shards:
            artifacts, refused = read_artifacts(shard, cells, foundry.config.validation)
            totals, no_totals = read_totals(shard, foundry.config.validation)
            refused += [*no_totals, *(one for artifact in artifacts for one in artifact.refused)]
            found.append((Taken(shard, refused=refused, totals=totals), artifacts))
    unlocked = _lock(foundry, {one.cell.driver for _, artifacts in found for one in artifacts if one.documents})
    claims: list[_Claim] = []
    for taken, artifacts in found:
        claims += _take(foundry, taken, artifacts, unlocked)
    news = _true(foundry, claims)
    by_driver: dict[str, list[tuple[Cell, Row]]] = defaultdict(list)
    for cell, row in news.values():
        by_driver[cell.driver].append((cell, row))
    for driver, rows in by_driver.items():
        ledgers.put_rows(foundry, driver, rows)
    drivers = {artifact.cell.driver for _, artifacts in found for artifact in artifacts}
    foundry.states.forget(drivers)
    for taken, artifacts in found:
        for artifact in artifacts:
            _take_failure(foundry, taken, artifact)
    foundry.states.forget(drivers)
    return [taken for taken, _ in found], lost


def _lock(foundry: Foundry, drivers: Iterable[str]) -> dict[str, str]:
    """Have packages locked whose content no lock names yet: without it no key is known. Driver → why that failed."""
    failed = {}
    for driver in sorted(drivers):
        states = [foundry.states.refresh(cell) for cell in foundry.states.plan.by_driver.get(driver, ())]
        if any(state.key is None and state.why.code == Reason.NOT_FETCHED for state in states):
            try:
                fetch.fetch(foundry, driver, foundry.states.plan.families[driver])
            except FoundryError as error:
                failed[driver] = error.message
            foundry.states.forget([driver])
    return failed


def _take(
    foundry: Foundry, taken: Taken, artifacts: Sequence[Artifact], unlocked: Mapping[str, str]
) -> Iterator[_Claim]:
    """Times and logs; yields the rows. Failures are for later, when all rows are known."""
    for artifact in artifacts:
        if artifact.cell.driver in unlocked:
            taken.refused.append(f"{artifact.cell.name}: {line(unlocked[artifact.cell.driver])}")
            continue
        _take_logs(foundry, artifact)
        state = foundry.states.refresh(artifact.cell)
        record = artifact.documents.get(publish.RECORD)
        if record is None:
            continue
        fault = _fault(foundry, state, record["row"])
        if fault:
            taken.refused.append(f"{artifact.cell.name}/{publish.RECORD}: {line(fault)}")
            continue
        yield _Claim(taken, state, replace(row_from(record["row"]), revision=None))


def _true(foundry: Foundry, claims: Iterable[_Claim]) -> dict[str, tuple[Cell, Row]]:
    """The rows that the registries bear out, by cell; of two for one cell the later one."""
    by_driver: dict[tuple[str, str], list[_Claim]] = defaultdict(list)
    for claim in claims:
        by_driver[claim.state.cell.driver, claim.state.cell.family.name].append(claim)
    news: dict[str, tuple[Cell, Row]] = {}
    for of, ours in by_driver.items():
        rows, refused = adopt(foundry, *of, {number: claim.row for number, claim in enumerate(ours)})
        for number, claim in enumerate(ours):
            cell = claim.state.cell
            if number in refused:
                claim.taken.refused.append(f"{cell.name}/{publish.RECORD}: {refused[number]}")
                continue
            claim.taken.rows.append(cell.name)
            here = news[cell.name][1] if cell.name in news else claim.state.row
            if not _is_older(rows[number], here):
                news[cell.name] = cell, rows[number]
                (foundry.cell_folder(cell) / FAILURE_FILE).unlink(missing_ok=True)
    return news


def _take_logs(foundry: Foundry, artifact: Artifact) -> None:
    """What stages left to read, unless this checkout has built the cell itself."""
    folder = foundry.cell_folder(artifact.cell)
    state = foundry.states.refresh(artifact.cell)
    if not state.adopted and state.module_done and state.image_done:
        return
    if TIMES_FILE in artifact.documents:
        write_atomic(folder / TIMES_FILE, pretty_json(artifact.documents[TIMES_FILE]))
    for name, data in artifact.logs.items():
        write_atomic(folder / name, data)


def _take_failure(foundry: Foundry, taken: Taken, artifact: Artifact) -> None:
    """Why a cell failed, if it is not published and the try was with today's key."""
    if artifact.cell.name in taken.rows:
        return
    failure = artifact.documents.get(FAILURE_FILE)
    state = foundry.states.refresh(artifact.cell)
    if failure is None or state.adopted or state.key is None:
        taken.others.append(artifact.cell.name)
        return
    if failure["key"] != state.key.key:
        taken.refused.append(f"{artifact.cell.name}/{FAILURE_FILE}: is of other inputs than today's")
        return
    folder = foundry.cell_folder(artifact.cell)
    log = folder / LOGS[failure["stage"]]
    texts = {name: plain(failure[name]) for name in ("message", "hint")}
    texts["replay"] = ""  # a command of elsewhere, for people to run; what it names is not here
    write_atomic(folder / FAILURE_FILE, pretty_json({**failure, **texts, "log": str(log) if log.exists() else ""}))
    taken.failures.append(artifact.cell.name)


def _fault(foundry: Foundry, state: CellState, data: Mapping[str, Any]) -> str:
    """Why a row is not one that this checkout would write for the cell today; empty when it is."""
    cell, key = state.cell, state.key
    document = {"schema": SCHEMA, "driver": cell.driver, "family": cell.family.name, "cells": [data]}
    faults = foundry.config.validation.faults("ledger", document, "")
    if faults:
        return faults[0].render()
    if key is None:
        return f"its key is not known here: {state.reason}"
    row = row_from(data)
    if row.key != key.key or (row.proof is not None and row.proof["key"] != key.proof):
        return "is of other inputs than today's"
    wanted = row_of(cell, key, content_sha256=foundry.content_sha256(cell), digest=row.digest,
                    tags=publish.tags(foundry, cell), registries=row.registries)
    for name in _KNOWN_HERE:
        if getattr(row, name) != getattr(wanted, name):
            return f"its {name} is not what it is here"
    targets = targets_of(foundry.settings.publish, cell.family.name)
    if len(row.registries) != len(targets) or not all(target.is_in(row.registries) for target in targets):
        return "it is not in the profile's registries, or in others"
    return fault_of_time(row.published)


def _is_older(row: Row, here: Row | None) -> bool:
    """Whether what is here was published with the same key after the row."""
    return here is not None and here.key == row.key and here.published > row.published
