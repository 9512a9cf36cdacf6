"""The state of every cell and source: what is done, what is pending, and why.

Nothing here touches the network or starts a process: records, ledgers and
content hashes alone decide.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import canonical_json, read_json, sha256_bytes
from foundry.base.reasons import Reason
from foundry.base.records import Record, outputs_missing, read_record
from foundry.config.family import Family
from foundry.config.load import Config
from foundry.config.recipe import complete
from foundry.plan.cells import Cell, Plan, make_plan
from foundry.plan.keys import CellKey, FileHashes, HashSnapshot, cell_key, changed_parts, part_words
from foundry.plan.ledger import Ledger, Place, ledger_path, read_ledger
from foundry.plan.rows import Row
from foundry.plan.why import CURRENT, FORCED, IN_LEDGER, NOT_BUILT, NOT_FETCHED, Why
from foundry.registry.targets import targets_of

PUBLISHED, BUILT, PENDING, FAILED = "published", "built", "pending", "failed"
FAILURE_FILE = "failure.json"
# Parts of a family file, besides its repository and key, that decide what is fetched and what is read in it.
_FETCHED = ("download", "signature", "sha256", "further_packages", "variables", "firmware")
_REASONS = frozenset(Reason)
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class CellState:
    """What is known of a cell before a run. `failure` is what `failure.json` says of a cell that failed."""

    cell: Cell
    key: CellKey | None
    state: str
    why: Why
    module_done: bool
    image_done: bool
    image: Record | None = None
    row: Row | None = None
    failure: Mapping[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why the cell is in its state, in words."""
        return self.why.text

    @property
    def adopted(self) -> bool:
        """Published: neither toolkit, source nor module is needed."""
        return self.state == PUBLISHED


@dataclass(frozen=True)
class SourceState:
    """What is known of a driver's package and source tree before a run."""

    driver: str
    family: Family
    fetch_done: bool
    source_done: bool
    needed: bool
    reason: str

    def shown(self, done: bool) -> tuple[str, str]:
        """State and reason of one of the two stages."""
        if done:
            return "done", "up to date"
        return (PENDING, self.reason or "its settings changed") if self.needed else ("", "not needed")


def force_build(environ: Mapping[str, str] = os.environ) -> bool:
    """True when FORCE_BUILD asks for everything selected to be rebuilt."""
    return environ.get("FORCE_BUILD", "").strip().lower() in _TRUE


class States:
    """The states of all cells and sources of one configuration, each found out once."""

    def __init__(self, config: Config, *, force: bool = False, not_here: Mapping[str, str] | None = None) -> None:
        """`not_here` are architectures that can't be compiled for on this machine, each with the reason."""
        self.config = config
        self.force = force
        self.not_here = not_here or {}
        self.hashes = FileHashes(config.root)
        self.inputs: dict[str, Mapping[str, str]] = {}  # of the cells' records, by doit's task name, as first read
        self._folders: dict[str, Path] = {}

    @cached_property
    def plan(self) -> Plan:
        """The cells that the matrix wants."""
        return make_plan(self.config, force=self.force)

    @cached_property
    def cells(self) -> Mapping[str, CellState]:
        """By cell name, in the order of the plan. ConfigError lists every faulty ledger."""
        ledgers, hashes = self._published, HashSnapshot(self.hashes)
        states: dict[str, CellState] = {}
        faults: list[Fault] = []
        for cell in self.plan.cells:
            try:
                states[cell.name] = self._cell(cell, ledgers.get(cell.driver, {}), hashes)
            except FoundryError as error:
                faults.append(Fault(str(self.config.locks.path(cell.family.name)), "$.base", error.message))
        if faults:
            raise ConfigError(faults)
        self.config.validation.keep()
        return states

    @cached_property
    def withheld(self) -> Mapping[str, CellState]:
        """By cell name, those that are not built because their releases' nodes have another kernel.

        What was built or published by force is shown as such.
        """
        reasons = {(one.driver, one.kernel, one.arch): one.text for one in reversed(self.plan.mismatches)}
        states = {}
        for cell in self.plan.withheld:
            state = self._cell(cell, self._published.get(cell.driver, {}))
            if state.state not in (PUBLISHED, BUILT):
                why = Why(Reason.KERNEL_MISMATCH, reasons[cell.driver, cell.kernel, cell.arch])
                state = replace(state, state=PENDING, why=why, failure=None)
            states[cell.name] = state
        return states

    @cached_property
    def sources(self) -> Mapping[str, SourceState]:
        """By driver."""
        return {driver: self._source(driver, family) for driver, family in self.plan.families.items()}

    def unbuilt(self, driver: str) -> bool:
        """Whether anything of the driver would have to be built."""
        cells = (self.cells[cell.name] for cell in self.plan.by_driver[driver])
        return any(not (state.module_done and state.image_done) for state in cells)

    def cell_folder(self, cell: Cell) -> Path:
        """``build/<profile>/cells/<driver>-<kernel>``, relative to the root."""
        folder = self._folders.get(cell.name)
        if folder is None:
            folder = self._folders[cell.name] = self.config.build / "cells" / cell.name
        return folder

    def source_folder(self, driver: str) -> Path:
        """``build/<profile>/sources/<driver>``, relative to the root."""
        return self.config.build / "sources" / driver

    def fetch_key(self, driver: str, family: Family) -> str:
        """What a fetched package depends on besides the lock: where it comes from and who signs it."""
        parts = [family.data.get("repository"), family.data.get("signing")]
        further = {name: family.data[name] for name in _FETCHED if name in family.data}
        if family.dkms:
            further |= {"source": family["source"], "modules": "modules" in family.data,
                        "command": "command" in family.data.get("make", {})}
        return sha256_bytes(canonical_json([driver, *parts, *([further] if further else [])]))

    @cached_property
    def ledgers(self) -> Mapping[str, Ledger]:
        """By driver, as they were when they were first looked at; those that are not here are left out."""
        ledgers, faults = {}, list[Fault]()
        hint = ""
        for driver in self.plan.by_driver:
            path = ledger_path(self.config.build, driver)
            try:
                found = read_ledger(self.config.root / path, str(path), self.config.validation)
            except ConfigError as error:
                faults += error.faults
                hint = hint or error.hint
                continue
            if found is not None:
                ledgers[driver] = found
        if faults:
            raise ConfigError(faults, hint=hint)
        return ledgers

    @cached_property
    def _published(self) -> dict[str, Mapping[Place, Row]]:
        """The rows of published cells: those that name a place where this profile publishes."""
        found: dict[str, Mapping[Place, Row]] = {}
        for driver, ledger in self.ledgers.items():
            targets = targets_of(self.config.settings.publish, self.plan.families[driver].name)
            found[driver] = {
                place: row for place, row in ledger.rows.items()
                if any(target.is_in(row.registries) for target in targets)
            }
        return found

    def _cell(self, cell: Cell, ledger: Mapping[Place, Row], hashes: FileHashes | None = None) -> CellState:
        row = ledger.get((cell.kernel, cell.arch))
        folder = self.config.root / self.cell_folder(cell)
        image = read_record(folder / "image.json", "image")
        module = read_record(folder / "module.json", "module")
        cell = cell.compiled_in(_toolkit_of(row, image, module))
        key = cell_key(cell, self.config, hashes or self.hashes)
        if isinstance(key, Why):
            return CellState(cell, None, PENDING, key, False, False, row=row)
        if not self.force and row is not None and row.key == key.key:
            return CellState(cell, key, PUBLISHED, IN_LEDGER, True, True, image, row)
        module_why = self._why(module, key.module, key, folder)
        image_why = self._why(image, key.key, key, folder)
        self.inputs |= {f"{r['stage']}:{cell.name}": r["inputs"] for r in (module, image) if r is not None}
        why = module_why or image_why
        failure = self._failure(key, folder) if why is not None else None
        if failure is not None:
            why = Why(Reason(failure["reason"]), f"{failure['reason']}: {failure.get('message')}")
        elif why is not None and image is None and row is not None and not self.force:
            why = _changed_since(row, key)
        if module_why is not None and failure is None and cell.arch in self.not_here:
            why = Why(Reason.ARCH_NOT_HERE, self.not_here[cell.arch])
        state = FAILED if failure is not None else PENDING if why is not None else BUILT
        return CellState(
            cell, key, state, why or CURRENT, module_why is None, image_why is None, image, row, failure
        )

    @staticmethod
    def _failure(key: CellKey, folder: Path) -> Mapping[str, Any] | None:
        """What the last try with the same key failed of."""
        failure = read_json(folder / FAILURE_FILE)
        known = isinstance(failure, dict) and failure.get("key") == key.key and str(failure.get("reason")) in _REASONS
        return failure if known else None

    def again(self, cell: Cell) -> CellState:
        """The cell's state as of now: since the run began its package may have been locked."""
        return self._cell(cell, self._published.get(cell.driver, {}))

    def note_row(self, cell: Cell, row: Row) -> None:
        """The cell's row in its ledger is this one from now on."""
        self._published[cell.driver] = {**self._published.get(cell.driver, {}), (cell.kernel, cell.arch): row}

    def _why(self, record: Record | None, wanted: str, key: CellKey, folder: Path) -> Why | None:
        """Why a stage has to run again; None when it is done."""
        if self.force:
            return FORCED
        if record is None or record.get("adopted"):
            return NOT_BUILT
        if record.get("key") != wanted:
            parts = key.module_parts if wanted == key.module else key.parts
            return _changed("changed", record.get("key_inputs", {}), parts)
        missing = outputs_missing(record, folder)
        return Why(Reason.OUTPUT_MISSING, f"missing: {missing}") if missing else None

    def _source(self, driver: str, family: Family) -> SourceState:
        lock = self.config.locks.of(family.name).packages.get(driver)
        needed = any(not self.cells[cell.name].module_done for cell in self.plan.by_driver[driver])
        folder = self.config.root / self.source_folder(driver)
        if lock is None or not complete(family, lock):
            return SourceState(driver, family, False, False, needed, NOT_FETCHED.text)
        content = lock.content_sha256
        fetched = read_record(folder / "fetch.json", "fetch")
        source = read_record(folder / "source.json", "source")
        further = {role: one.content_sha256 for role, one in lock.further.items()}
        fetch_done = _matches(fetched, content, folder) and bool(
            fetched and fetched.get("key") == self.fetch_key(driver, family) and fetched.get("further", {}) == further
        )
        source_done = _matches(source, content, folder) and (folder / "tree").is_dir() and bool(
            source and source.get("further", {}) == further
        )
        reason = "" if source_done else "not unpacked yet" if fetch_done else NOT_FETCHED.text
        return SourceState(driver, family, fetch_done, source_done, needed, reason)


def _changed(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Why:
    parts = changed_parts(before, now)
    if not parts:
        return Why(Reason.KEY_FORM, "the form of the key changed")
    return Why(Reason.CHANGED, f"{what}: {part_words(parts)}", parts)


def _changed_since(row: Row, key: CellKey) -> Why:
    """Of a cell that is in the ledger with another key."""
    return _changed("published, but changed since", row.key_inputs, key.parts)


def _toolkit_of(row: Row | None, *records: Record | None) -> str:
    """The digest of the toolkit that a cell was published or built with; empty when that is not known."""
    if row is not None:
        return row.key_inputs.get("toolkit") or row.toolkit.rpartition("@")[2]
    for known in records:
        if known is None:
            continue
        digest = known.get("key_inputs", {}).get("toolkit") or str(known.get("toolkit", "")).rpartition("@")[2]
        if digest:
            return str(digest)
    return ""


def _matches(record: Record | None, content: str, folder: Path) -> bool:
    return record is not None and record.get("content_sha256") == content and not outputs_missing(record, folder)
