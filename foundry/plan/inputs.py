"""What the hashes in keys are of, kept by hash below ``build/<profile>/inputs``, so that a change can be named later.

Written when a cell is built or adopted; each value once, whatever number of cells have it. Labels, of which each cell
has others, are in the image's record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundry.base.files import pretty_json, read_json, sha256_bytes, write_atomic
from foundry.base.names import DEPENDS_LABEL, KEY_LABEL, SIGNATURE_LABELS
from foundry.base.plain_text import hidden
from foundry.base.records import read_record
from foundry.config.patches import Patch
from foundry.plan.changes import Change, Changes, Value
from foundry.plan.keys import CellKey, patch_lines
from foundry.plan.state import CellState, States

FOLDER = "inputs"
_IN_THE_RECORD = "labels"


@dataclass(frozen=True)
class _Before:
    """The parts of the key that a cell was built or published with, and those that it has now.

    `labels` are those of its image, where they are known.
    """

    parts: Mapping[str, str]
    now: Mapping[str, str]
    labels: Mapping[str, str] | None = None


def keep_inputs(build: Path, key: CellKey) -> None:
    """Keep what the hashes of the cell's key are of, below ``build/<profile>``; no secret that is known as one."""
    for part, name in key.parts.items():
        path = _path(build, name)
        value = key.value(part) if part != _IN_THE_RECORD and not path.exists() else None
        if value is None or (isinstance(value, str) and sha256_bytes(value.encode()) != name):
            continue  # a file that is edited meanwhile
        write_atomic(path, hidden(pretty_json(value).decode()).encode())


class InputChanges:
    """What changed of cells' inputs since they were built or published, each compared once."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._build = states.config.root / states.config.build
        self._changes = Changes()

    def of(self, state: CellState) -> tuple[Change, ...]:
        """Nothing where the cell never was, or its key is not known yet."""
        key = state.key
        before = self._before(state, key) if key is not None else None
        if before is None or key is None:
            return ()
        return self._changes.between(before.parts, before.now, lambda part: self._value(state, before, part), key.value)

    def _before(self, state: CellState, key: CellKey) -> _Before | None:
        """Of the image that is here, else of the one that is published, else of the module that is here."""
        folder = self._states.config.root / self._states.cell_folder(state.cell)
        record = read_record(folder / "image.json", "image")
        if record is not None:
            labels = {name: text for name, text in record.get("labels", {}).items()
                      if name not in (KEY_LABEL, DEPENDS_LABEL, *SIGNATURE_LABELS.values())}
            return _Before(record.get("key_inputs", {}), key.parts, labels or None)
        if state.row is not None:
            return _Before(state.row.key_inputs, key.parts)
        record = read_record(folder / "module.json", "module")
        return _Before(record["key_inputs"], key.module_parts) if record is not None else None

    def _value(self, state: CellState, before: _Before, part: str) -> Value | None:
        if part == _IN_THE_RECORD:
            return before.labels
        name = before.parts.get(part, "")
        ledger = self._states.ledger(state.cell.driver) if part == "patches" else None
        if ledger is not None and name in ledger.series:
            return patch_lines([Patch.from_config(one) for one in ledger.series[name]])
        found = read_json(_path(self._build, name)) if name else None
        if isinstance(found, dict) and all(isinstance(one, str | list) for one in found.values()):
            return {key: one if isinstance(one, str) else [str(text) for text in one] for key, one in found.items()}
        return found if isinstance(found, str) else None


def _path(build: Path, name: str) -> Path:
    return build / FOLDER / f"{name}.json"
