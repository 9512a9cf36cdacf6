"""What is known of the custom toolkits before a run: records, ledger and content hashes; no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.filelock import locked
from foundry.base.files import read_file, write_atomic
from foundry.base.records import Record, outputs_changed, outputs_missing, read_record
from foundry.config.catalogue import KernelList
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.ledger import require_keys
from foundry.plan.toolkit_ledger import Row, ToolkitLedger, ledger_path, parse_toolkit_ledger
from foundry.plan.toolkits import PART_NAMES, Toolkit, ToolkitKey, toolkit_key
from foundry.registry.targets import toolkits_at
from foundry.run.context import Foundry

STAGE = "dtk"
RECORD, LOG, IMAGE = "dtk.json", "build.log", "image"
PUBLISHED, BUILT, PENDING = "published", "built", "pending"


@dataclass(frozen=True)
class ToolkitState:
    """A toolkit before a run. `key` is None while its base is not locked; `record` and `row` are those of the key."""

    toolkit: Toolkit
    key: ToolkitKey | None
    record: Record | None
    row: Row | None
    reason: str

    @property
    def built(self) -> bool:
        """Whether the image is here."""
        return self.record is not None and not self.record.get("adopted")

    @property
    def state(self) -> str:
        """``published``, ``built`` or ``pending``."""
        return PUBLISHED if self.row is not None else BUILT if self.built else PENDING


def folder_of(foundry: Foundry, kernel: str) -> Path:
    """Where record, log and image of a toolkit are, relative to the root."""
    return foundry.config.build / "dtk" / kernel


def base_of(kernels: KernelList, toolkit: Toolkit) -> Mapping[str, str] | None:
    """Digest and build time of the toolkit's base as the kernel list has it."""
    return kernels.bases.get(toolkit.base_name)


def state_of(foundry: Foundry, toolkit: Toolkit, kernels: KernelList, ledger: ToolkitLedger) -> ToolkitState:
    """The toolkit's state; `kernels` is the kernel list as it is now. Raises ConfigError."""
    base = base_of(kernels, toolkit)
    if base is None:
        return ToolkitState(toolkit, None, None, None, f"the base image {toolkit.base_name} is not locked yet")
    try:
        key = toolkit_key(toolkit, base["digest"], foundry.states.hashes)
    except OSError as error:
        raise ConfigError([Fault(toolkit.recipe.file, "", f"{error.filename} can't be read")]) from error
    if foundry.states.force:
        return ToolkitState(toolkit, key, None, None, "FORCE_BUILD is set")
    row, target = ledger.rows.get(toolkit.kernel), toolkits_at(foundry.settings.toolkits.publish)
    if row is not None and target is not None and not target.is_in([row["registry"]]):
        row = None  # it is published somewhere else
    folder = foundry.root / folder_of(foundry, toolkit.kernel)
    record = read_record(folder / RECORD, STAGE)
    current = row if row is not None and row["key"] == key.key else None
    whole = record is not None and record["key"] == key.key and not outputs_missing(record, folder)
    if whole and record is not None and current is None and "dtk:publish" in foundry.states.by_content:
        whole = not outputs_changed(record, folder)
    if current is not None or whole:
        reason = "in the ledger" if current is not None else "up to date"
        return ToolkitState(toolkit, key, record if whole else None, current, reason)
    return ToolkitState(toolkit, key, None, None, _why(key, record or row))


def _why(key: ToolkitKey, known: Mapping[str, Any] | None) -> str:
    parts = changed_parts(known["key_inputs"], key.parts) if known is not None else ()
    words = part_words(parts, PART_NAMES)
    return f"changed: {words}" if words else "its image is gone" if known is not None else "not built yet"


def read_ledger(foundry: Foundry) -> ToolkitLedger:
    """The ledger as this checkout has it; an empty one where it has none. Raises ConfigError."""
    path = ledger_path(foundry.config.build)
    try:
        content = read_file(foundry.root / path)
    except FileNotFoundError:
        return ToolkitLedger()
    ledger = parse_toolkit_ledger(content, str(path), foundry.config.validation)
    require_keys(((row["key"], row["key_inputs"], row["kernel"]) for row in ledger.rows.values()), str(path))
    return ledger


def has_ledger(foundry: Foundry) -> bool:
    """Whether this checkout has a ledger, be it an empty one."""
    return (foundry.root / ledger_path(foundry.config.build)).exists()


def change_ledger(foundry: Foundry, other: ToolkitLedger) -> ToolkitLedger:
    """Merge rows into the ledger of this checkout, under its lock; the ledger as it is then."""
    path = foundry.root / ledger_path(foundry.config.build)
    with locked(path.with_name(".ledger.lock")):
        ledger = read_ledger(foundry).merged(other)
        data = ledger.to_bytes()
        if not path.exists() or read_file(path) != data:
            write_atomic(path, data)
    return ledger
