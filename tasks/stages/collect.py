"""Stage collect: what shards left, merged into this checkout. It alone then writes ledgers for others.

Nothing of a shard is believed because it says so: a row counts if it is what
this checkout itself would write for the cell today, apart from the digests and
the time, which only who pushed can know. What can't be taken is said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.cells import Cell
from tasks.core.errors import FoundryError
from tasks.core.files import pretty_json, write_atomic
from tasks.core.keys import NOT_FETCHED
from tasks.core.ledger import SCHEMA, Row
from tasks.core.state import FAILURE_FILE, CellState
from tasks.core.targets import targets_of
from tasks.stages import fetch, image, ledgers, module, publish
from tasks.stages.cell import TIMES_FILE
from tasks.stages.context import Foundry
from tasks.stages.left import LOGS, Left, read_left, read_totals, shard_folders, shown
from tasks.stages.totals import Totals

_PUBLISHED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SKEW = timedelta(minutes=10)  # how far the clocks of machines may differ


@dataclass
class Taken:
    """What was taken of one shard's folder: cells by what is known of them now; what was refused, and why.

    `totals` are the run's, where it left them.
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
        return f"{shown(str(self.folder))}: {said}" + (f"; {len(self.refused)} refused" if self.refused else "")


def collect(foundry: Foundry, folders: Iterable[Path]) -> tuple[list[Taken], list[str]]:
    """Merge what the folders have; what was taken of each, and a sentence for each that has nothing.

    Raises what `tasks.stages.ledgers.fetch_missing` raises.
    """
    ledgers.fetch_missing(foundry, foundry.states.plan.by_driver)
    foundry.look_again()
    cells = {cell.name: cell for cell in (*foundry.states.plan.cells, *foundry.states.plan.withheld)}
    found: list[tuple[Taken, list[Left]]] = []
    lost = []
    for folder in folders:
        shards = list(shard_folders(folder))
        if not shards:
            lost.append(f"{folder}: no shard left anything here")
        for shard in shards:
            lefts, refused = read_left(shard, cells, foundry.config.verdicts)
            totals, no_totals = read_totals(shard, foundry.config.verdicts)
            refused += [*no_totals, *(one for left in lefts for one in left.refused)]
            found.append((Taken(shard, refused=refused, totals=totals), lefts))
    unlocked = _lock(foundry, {left.cell.driver for _, lefts in found for left in lefts if left.documents})
    news: dict[str, tuple[Cell, Row]] = {}
    for taken, lefts in found:
        _take(foundry, taken, lefts, unlocked, news)
    by_driver: dict[str, list[tuple[Cell, Row]]] = defaultdict(list)
    for cell, row in news.values():
        by_driver[cell.driver].append((cell, row))
    for driver, rows in by_driver.items():
        ledgers.put_rows(foundry, driver, rows)
    foundry.look_again()
    for taken, lefts in found:
        for left in lefts:
            _take_failure(foundry, taken, left)
    foundry.look_again()
    return [taken for taken, _ in found], lost


def _lock(foundry: Foundry, drivers: Iterable[str]) -> dict[str, str]:
    """Have packages locked whose content no lock names yet: without it no key is known. Driver → why that failed."""
    failed = {}
    for driver in sorted(drivers):
        states = [foundry.states.again(cell) for cell in foundry.states.plan.by_driver.get(driver, ())]
        if any(state.key is None and state.why.text == NOT_FETCHED for state in states):
            try:
                fetch.fetch(foundry, driver, foundry.states.plan.families[driver])
            except FoundryError as error:
                failed[driver] = error.message
    foundry.look_again()
    return failed


def _take(
    foundry: Foundry, taken: Taken, lefts: Sequence[Left], unlocked: Mapping[str, str],
    news: dict[str, tuple[Cell, Row]],
) -> None:
    """Records, times and logs; rows into `news`. Failures are for later, when all rows are known."""
    for left in lefts:
        if left.cell.driver in unlocked:
            taken.refused.append(f"{left.cell.name}: {shown(unlocked[left.cell.driver])}")
            continue
        _take_records(foundry, left)
        state = foundry.states.again(left.cell)
        record = left.documents.get(publish.RECORD)
        if record is None:
            continue
        row = {name: value for name, value in record["row"].items() if name != "noted"}
        fault = _fault(foundry, state, row)
        if fault:
            taken.refused.append(f"{left.cell.name}/{publish.RECORD}: {shown(fault)}")
            continue
        taken.rows.append(left.cell.name)
        here = news[left.cell.name][1] if left.cell.name in news else state.row
        if not _is_older(row, here):
            news[left.cell.name] = state.cell, row
            (foundry.cell_folder(left.cell) / FAILURE_FILE).unlink(missing_ok=True)


def _take_records(foundry: Foundry, left: Left) -> None:
    """What stages left, unless this checkout has what they made itself."""
    folder = foundry.cell_folder(left.cell)
    state = foundry.states.again(left.cell)
    built_here = {module.RECORD: state.module_done, image.RECORD: state.image_done}
    if not state.adopted and all(built_here.values()):
        return
    for name in (module.RECORD, image.RECORD):
        record = left.documents.get(name)
        # one that is adopted says what the ledger says, or what somebody would have us believe
        if record is not None and record["outputs"] and not record.get("adopted") and not built_here[name]:
            write_atomic(folder / name, pretty_json(record))
    if TIMES_FILE in left.documents:
        write_atomic(folder / TIMES_FILE, pretty_json(left.documents[TIMES_FILE]))
    for name, data in left.logs.items():
        write_atomic(folder / name, data)


def _take_failure(foundry: Foundry, taken: Taken, left: Left) -> None:
    """Why a cell failed, if it is not published and the try was with today's key."""
    if left.cell.name in taken.rows:
        return
    failure = left.documents.get(FAILURE_FILE)
    state = foundry.states.again(left.cell)
    if failure is None or state.adopted or state.key is None:
        taken.others.append(left.cell.name)
        return
    if failure["key"] != state.key.key:
        taken.refused.append(f"{left.cell.name}/{FAILURE_FILE}: is of other inputs than today's")
        return
    folder = foundry.cell_folder(left.cell)
    log = folder / LOGS[failure["stage"]]
    texts = {name: _plain(failure[name]) for name in ("message", "hint", "replay")}
    write_atomic(folder / FAILURE_FILE, pretty_json({**failure, **texts, "log": str(log) if log.exists() else ""}))
    taken.failures.append(left.cell.name)


def _fault(foundry: Foundry, state: CellState, row: Row) -> str:
    """Why a row is not one that this checkout would write for the cell today; empty when it is."""
    cell, key = state.cell, state.key
    document = {"schema": SCHEMA, "driver": cell.driver, "family": cell.family.name, "cells": [row]}
    faults = foundry.config.verdicts.faults("ledger", document, "")
    if faults:
        return faults[0].render()
    if key is None:
        return f"its key is not known here: {state.reason}"
    if row["key"] != key.key:
        return "is of other inputs than today's"
    lock = foundry.config.locks[cell.family.name]["packages"][cell.driver]["content_sha256"]
    wanted: dict[str, Any] = {
        "kernel": cell.kernel, "arch": cell.arch, "key_inputs": key.parts, "tags": list(publish.tags(foundry, cell)),
        "releases": list(cell.releases), "toolkit": cell.toolkit, "lock": lock,
    }
    for name, value in wanted.items():
        if row.get(name) != value:
            return f"its {name} is not what it is here"
    targets = targets_of(foundry.settings, cell.family.name)
    names = row.get("registries", [])
    if len(names) != len(targets) or not all(target.is_in(names) for target in targets):
        return "it is not in the profile's registries, or in others"
    return _fault_of_time(row.get("published", ""))


def _fault_of_time(text: str) -> str:
    """A time to come would make a row win for ever."""
    try:
        when = datetime.fromisoformat(text) if _PUBLISHED.fullmatch(text) else None
    except ValueError:
        when = None
    if when is None:
        return "it does not say when it was published"
    return "it was published in the future" if when > datetime.now(UTC) + _SKEW else ""


def _is_older(row: Row, here: Row | None) -> bool:
    """Whether what is here was published with the same key after the row."""
    return here is not None and here["key"] == row["key"] and here.get("published", "") > row["published"]


def _plain(text: str) -> str:
    """Without control characters, line by line."""
    return "\n".join("".join(one if one.isprintable() else "?" for one in line) for line in text.splitlines())
