"""The state of every cell and source: what is done, what is pending, and why.

Nothing here touches the network or starts a process: records, ledgers and
content hashes alone decide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from foundry.base.environment import flag
from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import canonical_json, sha256_bytes
from foundry.base.names import depends_of, signature_of
from foundry.base.reasons import MACHINE_FAULTS, Reason
from foundry.base.records import Record, outputs_changed, outputs_missing, parse_record, read_record
from foundry.config.family import Family
from foundry.config.load import Config
from foundry.config.recipe import complete
from foundry.plan.cells import Cell, Plan, make_plan
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.failures import Circumstances, read_failure
from foundry.plan.keys import CellKey, DriverKeys, FileHashes, key_of
from foundry.plan.ledger import Ledger, Place, ledger_path, read_ledger
from foundry.plan.rows import Row
from foundry.plan.why import (
    CURRENT,
    FORCED,
    IN_LEDGER,
    NOT_BUILT,
    NOT_FETCHED,
    NOT_PROVEN,
    PUBLISHED_UNPROVEN,
    Why,
)
from foundry.registry.targets import targets_of

PUBLISHED, BUILT, PENDING, FAILED = "published", "built", "pending", "failed"
# Parts of a family file, besides its repository and key, that decide what is fetched and what is read in it.
_FETCHED = ("download", "signature", "sha256", "further_packages", "variables", "firmware")
_SOURCE_STAGES = ("fetch", "source")
_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Built:
    """What a cell's record says of its image. `size` is in bytes, of manifest, config and layers.

    `depends` are the kernel's own modules that it needs, `signature` says who signed its own.
    """

    key: str
    digest: str
    config_digest: str
    size: int
    depends: tuple[str, ...] = ()
    signature: Mapping[str, str] | None = None

    @classmethod
    def of(cls, record: Record) -> Built:
        """What is kept of a record; with thousands of cells the rest would take memory and is not asked for."""
        return cls(record.get("key", ""), record.get("digest", ""), record.get("config_digest", ""),
                   record.get("size", 0), depends_of(record.get("labels", {})),
                   signature_of(record.get("labels", {})))


@dataclass(frozen=True, slots=True)
class CellState:
    """What is known of a cell before a run. `failure` is what `failure.json` says of the last try.

    With `given_up` what failed is not done again: nothing changed since. `signed` and `proven` also where the profile
    does not want that.
    """

    cell: Cell
    key: CellKey | None
    state: str
    why: Why
    module_done: bool
    image_done: bool
    image: Built | None = None
    row: Row | None = None
    failure: Mapping[str, Any] | None = None
    given_up: bool = False
    signed: bool = True
    proven: bool = True

    @property
    def reason(self) -> str:
        """Why the cell is in its state, in words."""
        return self.why.text

    @property
    def adopted(self) -> bool:
        """Published: neither toolkit, source nor module is needed."""
        return self.state == PUBLISHED

    def shown(self, stage: str) -> tuple[str, str]:
        """State and reason of one of the stages ``module``, ``sign``, ``image`` and ``boot``."""
        done = {"module": self.module_done, "sign": self.signed, "image": self.image_done, "boot": self.proven}[stage]
        if self.adopted and (done or stage != "boot"):
            return self.state, self.reason
        if done:
            return "done", "up to date"
        failed = failed_task(self)
        if failed and failed != f"{stage}:{self.cell.name}":
            return PENDING, f"needs {failed}, which failed"
        return (PENDING if self.failure is None else FAILED) if self.adopted else self.state, self.reason


def failed_task(state: CellState) -> str:
    """The task that a failed cell failed of: one of its own, or its driver's; empty for other cells."""
    if state.state != FAILED or state.failure is None:
        return ""
    stage = state.failure.get("stage")
    return f"{stage}:{state.cell.driver if stage in _SOURCE_STAGES else state.cell.name}" if stage else ""


@dataclass(frozen=True)
class SourceState:
    """What is known of a driver's package and source tree before a run. `failure` as of cells."""

    driver: str
    family: Family
    fetch_done: bool
    source_done: bool
    needed: bool
    reason: str
    failure: Mapping[str, Any] | None = None

    def shown(self, stage: str) -> tuple[str, str]:
        """State and reason of one of the stages ``fetch`` and ``source``."""
        if self.fetch_done if stage == "fetch" else self.source_done:
            return "done", "up to date"
        if not self.needed:
            return "", "not needed"
        if self.failure is not None and self.failure.get("stage") == stage:
            return FAILED, _failed(self.failure).text
        return PENDING, self.reason or "its settings changed"


def force_build(environ: Mapping[str, str] = os.environ) -> bool:
    """True when FORCE_BUILD asks for everything selected to be rebuilt; UsageError for what is neither yes nor no."""
    return flag("FORCE_BUILD", environ)


class States:
    """The states of the cells and sources of one configuration, each found out when it is first asked for."""

    def __init__(self, config: Config, *, force: bool = False, not_here: Mapping[str, str] | None = None,
                 no_boot: Mapping[str, str] | None = None) -> None:
        """`not_here` are architectures that can't be compiled for on this machine, each with the reason.

        `no_boot` likewise those whose kernels can't be booted.
        """
        self.config = config
        self.force = force
        self.not_here, self.no_boot = not_here or {}, no_boot or {}
        self.bare = False  # as if nothing had been built or published
        self.retry_failed = False  # compile also what failed before and would fail again
        self.circumstances = Circumstances(config)
        self.working = False  # in a run: what something will be made from is compared by its content, not by its size
        self.by_content: set[str] = set()  # stages whose outputs are so in any case: they are named, or pushed
        self.hashes = FileHashes(config.root)
        self.inputs: dict[str, Mapping[str, str]] = {}  # of the cells' records, by doit's task name, as first read
        self._cells: dict[str, CellState] = {}
        self._sources: dict[str, SourceState] = {}
        self._keys: dict[str, DriverKeys] = {}
        self._ledgers: dict[str, Ledger | None] = {}
        self._rows: dict[str, Mapping[Place, Row]] = {}
        self._source_failures: dict[str, Mapping[str, Any] | None] = {}

    @cached_property
    def plan(self) -> Plan:
        """The cells that the matrix wants."""
        return make_plan(self.config, force=self.force)

    @property
    def cells(self) -> Mapping[str, CellState]:
        """Of all cells, by name, in the order of the plan. Raises as `of_all` does."""
        return {state.cell.name: state for state in self.of_all(self.plan.cells)}

    def of_all(self, cells: Sequence[Cell]) -> list[CellState]:
        """The states of several cells; ConfigError lists every faulty ledger, or every faulty lock."""
        _each(self.ledger, dict.fromkeys(cell.driver for cell in cells))
        states = _each(self.of, cells)
        self.config.validation.keep()
        return states

    def of(self, cell: Cell) -> CellState:
        """The state of one cell, as it was when it was first asked for. Raises ConfigError as `cells` does."""
        state = self._cells.get(cell.name)
        if state is None:
            keys = self._keys.get(cell.driver)
            try:
                if keys is None:
                    keys = self._keys[cell.driver] = self._driver_keys(cell)
                state = self._cells[cell.name] = self._cell(cell, keys)
            except ConfigError:
                raise
            except FoundryError as error:
                fault = Fault(str(self.config.locks.path(cell.family.name)), "$.base", error.message)
                raise ConfigError([fault]) from error
        return state

    def refresh(self, cell: Cell) -> CellState:
        """The cell's state as of now: since the run began its package may have been fetched and locked."""
        self._source_failures.pop(cell.driver, None)
        return self._cell(cell, self._driver_keys(cell))

    def forget(self, drivers: Collection[str], cells: Iterable[str] = ()) -> None:
        """Of these drivers, with all their cells, and of further cells, all is found out anew when it is asked for."""
        changed = [self.plan.by_name[name] for name in cells if name in self.plan.by_name]
        changed += [cell for driver in drivers for cell in self.plan.by_driver.get(driver, ())]
        for cell in changed:
            self._cells.pop(cell.name, None)
        for driver in {*drivers, *(cell.driver for cell in changed)}:
            for known in (self._sources, self._keys, self._ledgers, self._rows, self._source_failures):
                known.pop(driver, None)

    @cached_property
    def withheld(self) -> Mapping[str, CellState]:
        """By cell name, those that are not built because their releases' nodes have another kernel.

        What was built or published by force is shown as such.
        """
        reasons = {(one.driver, one.kernel, one.arch): one.text for one in reversed(self.plan.mismatches)}
        states = {}
        for cell in self.plan.withheld:
            state = self.refresh(cell)
            if state.state not in (PUBLISHED, BUILT):
                why = Why(Reason.KERNEL_MISMATCH, reasons[cell.driver, cell.kernel, cell.arch])
                state = replace(state, state=PENDING, why=why, failure=None)
            states[cell.name] = state
        return states

    def source(self, driver: str) -> SourceState:
        """What is known of a driver's package and source tree."""
        if driver not in self._sources:
            self._sources[driver] = self._source(driver, self.plan.families[driver])
        return self._sources[driver]

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Of all drivers."""
        return {driver: self.source(driver) for driver in self.plan.families}

    def unbuilt(self, driver: str) -> bool:
        """Whether anything of the driver would have to be built."""
        states = (self.of(cell) for cell in self.plan.by_driver[driver])
        return any(not (state.module_done and state.image_done) for state in states)

    def cell_folder(self, cell: Cell) -> Path:
        """``build/<profile>/cells/<driver>-<kernel>``, relative to the root."""
        return Path(self.cell_path(cell))

    def cell_path(self, cell: Cell) -> str:
        """The same as a text: of thousands of cells, paths would take their time."""
        return f"{self.config.build}/cells/{cell.name}"

    def source_folder(self, driver: str) -> Path:
        """``build/<profile>/sources/<driver>``, relative to the root."""
        return Path(f"{self.config.build}/sources/{driver}")

    def fetch_key(self, driver: str, family: Family) -> str:
        """What a fetched package depends on besides the lock: where it comes from and who signs it."""
        parts = [family.data.get("repository"), family.data.get("signing")]
        further = {name: family.data[name] for name in _FETCHED if name in family.data}
        if family.dkms:
            further |= {"source": family["source"], "modules": "modules" in family.data,
                        "command": "command" in family.data.get("make", {})}
        return sha256_bytes(canonical_json([driver, *parts, *([further] if further else [])]))

    def ledger(self, driver: str) -> Ledger | None:
        """A driver's ledger as it was when it was first looked at; None when there is none here."""
        if driver not in self._ledgers:
            path = ledger_path(self.config.build, driver)
            self._ledgers[driver] = read_ledger(self.config.root / path, str(path), self.config.validation)
        return self._ledgers[driver]

    def _published(self, driver: str) -> Mapping[Place, Row]:
        """The rows of published cells: those that name a place where this profile publishes."""
        if driver not in self._rows:
            targets = targets_of(self.config.settings.publish, self.plan.families[driver].name)
            ledger = self.ledger(driver)
            self._rows[driver] = {
                place: row for place, row in (ledger.rows.items() if ledger is not None else ())
                if any(target.is_in(row.registries) for target in targets) and not self.bare
            }
        return self._rows[driver]

    def _driver_keys(self, cell: Cell) -> DriverKeys:
        return DriverKeys(self.config, cell.family, cell.driver, self.hashes)

    def _cell(self, cell: Cell, keys: DriverKeys) -> CellState:
        row = self._published(cell.driver).get((cell.kernel, cell.arch))
        folder = self.cell_path(cell)
        image, module = self._record(folder, "image"), self._record(folder, "module")
        cell = cell.compiled_in(_toolkit_of(row, image, module))
        key = keys.of(cell)
        if isinstance(key, Why):
            failure = self._source_failure(cell.driver, cell.family)
            return CellState(cell, None, _state(key, failure), _failed(failure) if failure is not None else key, False,
                             False, row=row, failure=failure, signed=not self.config.settings.signing.key,
                             proven=not self.to_prove(cell.arch))
        built = Built.of(image) if image is not None else None
        if not self.force and row is not None and row.key == key.key:
            proven = self.is_enough(row.proof) or not self.to_prove(cell.arch)
            here = proven or self._proof_why(self._record(folder, "boot"), key, {}) is None
            failure = None if here else read_failure(self.config.root / folder, key.key)
            published = IN_LEDGER if proven else PUBLISHED_UNPROVEN if failure is None else _failed(failure)
            return CellState(cell, key, PUBLISHED, published, True, True, built, row, failure,
                             self._given_up(failure, cell), proven=here)
        image_why = self._why(image, key.key, key, folder, by_content="image" in self.by_content)
        module_why = self._why(module, key.module, key, folder, by_content="module" in self.by_content or (
            self.working and image_why is not None))
        signed = self._record(folder, "sign") if key.certificate else None
        proof = self._record(folder, "boot") if self.to_prove(cell.arch) else None
        sign_why = self._why(signed, key_of(key.signed_parts), key, folder, by_content=self.working and (
            image_why is not None)) if key.certificate else None
        proof_why = self._proof_why(proof, key, modules_of(signed if key.certificate else module)) if (
            self.to_prove(cell.arch)) else None
        for record in (module, signed, image, proof):
            if record is not None:
                self.inputs[f"{record['stage']}:{cell.name}"] = record["inputs"]
        why = module_why or sign_why or image_why or proof_why
        if image_why is not None and module_why is not None and module_why.code in (Reason.NOT_BUILT, Reason.CHANGED):
            why = image_why  # that of the cell: its key has the parts of the module's, and more
        failure = read_failure(self.config.root / folder, key.key) if why is not None else None
        if failure is None and module_why is not None:
            failure = self._source_failure(cell.driver, cell.family)
        if failure is not None:
            why = _failed(failure)
        elif why is not None and (image is None or image.get("adopted")) and row is not None and not self.force:
            why = _changed_since(row, key)
        if module_why is not None and failure is None and cell.arch in self.not_here:
            why = Why(Reason.ARCH_NOT_HERE, self.not_here[cell.arch])
        again = module_why if failure is not None and failure.get("stage") == "module" else proof_why
        given_up = again is not None and self._given_up(failure, cell)
        return CellState(cell, key, _state(why, failure), why or CURRENT, module_why is None, image_why is None, built,
                         row, failure, given_up, sign_why is None, proof_why is None)

    def _given_up(self, failure: Mapping[str, Any] | None, cell: Cell) -> bool:
        return failure is not None and not (self.force or self.retry_failed) and self.circumstances.same(failure, cell)

    def to_prove(self, arch: str) -> bool:
        """Whether cells of an architecture are to be booted; where that is only wanted, if this machine can."""
        proof = self.config.settings.proof
        return proof == "required" or (proof == "wanted" and arch not in self.no_boot)

    def is_enough(self, proof: Mapping[str, Any] | None) -> bool:
        """Whether the profile publishes with this proof, a record's or a row's; ``unproven`` says only why not."""
        enough = ("proven",) if self.config.settings.proof == "required" else ("proven", "unproven")
        return proof is not None and proof["outcome"] in enough

    def _proof_why(self, record: Record | None, key: CellKey, modules: Mapping[str, str]) -> Why | None:
        """Why the cell has to be booted; `modules` are those that it has now, by file name, where they are known."""
        if self.force:
            return FORCED
        if record is None or not self.is_enough(record):
            return NOT_PROVEN
        if record["key"] != key.proof:
            return _changed("changed", record["key_inputs"], key.proof_parts)
        return NOT_PROVEN if modules and record["modules"] != modules else None

    def _record(self, folder: str, stage: str) -> Record | None:
        try:
            return None if self.bare else parse_record(self.hashes.read(f"{folder}/{stage}.json"), stage)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return None

    def _source_failure(self, driver: str, family: Family) -> Mapping[str, Any] | None:
        """What the last try to fetch or unpack the driver's package failed of, unless that was done elsewhere since."""
        if driver not in self._source_failures:
            folder = self.config.root / self.source_folder(driver)
            failure = None if self.bare else read_failure(folder, self.fetch_key(driver, family))
            done = failure is not None and (folder / f"{failure.get('stage')}.json").exists()
            self._source_failures[driver] = None if done else failure
        return self._source_failures[driver]

    def note_row(self, cell: Cell, row: Row) -> None:
        """The cell's row in its ledger is this one from now on."""
        self._rows[cell.driver] = {**self._published(cell.driver), (cell.kernel, cell.arch): row}

    def _why(
        self, record: Record | None, wanted: str, key: CellKey, folder: str, *, by_content: bool
    ) -> Why | None:
        """Why a stage has to run again; None when it is done."""
        if self.force:
            return FORCED
        if record is None or record.get("adopted"):
            return NOT_BUILT
        if record.get("key") != wanted:
            parts = {"module": key.module_parts, "image": key.parts}.get(record["stage"], key.signed_parts)
            return _changed("changed", record.get("key_inputs", {}), parts)
        if missing := outputs_missing(record, os.path.join(self.config.root, folder)):
            return Why(Reason.OUTPUT_MISSING, f"missing: {missing}")
        damaged = outputs_changed(record, folder, self.hashes.get) if by_content else ""
        return Why(Reason.OUTPUT_MISSING, f"damaged: {damaged}") if damaged else None

    def _source(self, driver: str, family: Family) -> SourceState:
        lock = self.config.locks.of(family.name).packages.get(driver)
        folder = self.config.root / self.source_folder(driver)
        to_compile, failure = self._to_compile(driver), self._source_failure(driver, family)
        if lock is None or not complete(family, lock):
            return SourceState(driver, family, False, False, to_compile, NOT_FETCHED.text, failure)
        content = lock.content_sha256
        fetched = read_record(folder / "fetch.json", "fetch")
        source = read_record(folder / "source.json", "source")
        further = {role: one.content_sha256 for role, one in lock.further.items()}

        def is_whole(record: Record | None) -> bool:
            if record is None or record["content_sha256"] != content or record.get("further", {}) != further:
                return False
            used = (self.working and to_compile) or record["stage"] in self.by_content
            return not outputs_missing(record, folder) and not (
                used and outputs_changed(record, self.source_folder(driver), self.hashes.get))

        fetch_done = is_whole(fetched) and fetched is not None and fetched["key"] == self.fetch_key(driver, family)
        source_done = is_whole(source) and (folder / "tree").is_dir()
        reason = "" if source_done else "not unpacked yet" if fetch_done else NOT_FETCHED.text
        needed = not (fetch_done and source_done) and to_compile
        return SourceState(driver, family, fetch_done, source_done, needed, reason, failure)

    def _to_compile(self, driver: str) -> bool:
        states = (self.of(cell) for cell in self.plan.by_driver[driver])
        return any(not (state.module_done or state.given_up) for state in states)


def modules_of(record: Record | None) -> dict[str, str]:
    """The hashes of modules by file name, as the record of stage module or sign has them."""
    outputs = record["outputs"] if record is not None else {}
    return {name.rpartition("/")[2]: fact["sha256"] for name, fact in outputs.items() if name.endswith(".ko")}


def _each(look: Callable[[_Asked], _Found], these: Iterable[_Asked]) -> list[_Found]:
    """What is found of each; ConfigError with the faults of all."""
    found, faults, hint = list[_Found](), dict[Fault, None](), ""
    for one in these:
        try:
            found.append(look(one))
        except ConfigError as error:
            faults |= dict.fromkeys(error.faults)
            hint = hint or error.hint
    if faults:
        raise ConfigError(list(faults), hint=hint)
    return found


def _failed(failure: Mapping[str, Any]) -> Why:
    said = " ".join(map(str.strip, str(failure.get("message")).splitlines()))
    return Why(Reason(failure["reason"]), f"{failure['reason']}: {said}")


def _state(why: Why | None, failure: Mapping[str, Any] | None) -> str:
    if failure is not None and failure["reason"] not in MACHINE_FAULTS:
        return FAILED
    return BUILT if why is None else PENDING


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

