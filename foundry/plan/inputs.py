"""What the hashes in keys are of, kept by hash below ``build/<profile>/inputs``, so that a change can be named later.

Written when a cell is built or adopted; each value once, whatever number of cells have it. Labels, of which each cell
has others, are in the image's record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.files import pretty_json, read_json, sha256_bytes, write_atomic
from foundry.base.names import DEPENDS_LABEL, KEY_LABEL
from foundry.base.plain_text import hidden
from foundry.base.records import read_record
from foundry.config.patches import Patch
from foundry.plan.changes import Change, Value, changed_parts, changes
from foundry.plan.keys import CellKey, patch_lines
from foundry.plan.state import CellState, States

FOLDER = "inputs"
_IN_THE_RECORD = "labels"


@dataclass(frozen=True)
class Before:
    """The parts of the key that a cell was built or published with, and those that it has now.

    `labels` are those of its image, where they are known, `series` the patches in its ledger by their hash.
    """

    parts: Mapping[str, str]
    now: Mapping[str, str]
    labels: Mapping[str, str] | None = None
    series: Mapping[str, Value] = field(default_factory=dict)


def keep_inputs(build: Path, key: CellKey) -> None:
    """Keep what the hashes of the cell's key are of, below ``build/<profile>``; no secret that is known as one."""
    for part, value in key.values.items():
        path = _path(build, key.parts[part])
        current = not isinstance(value, str) or sha256_bytes(value.encode()) == key.parts[part]  # it may be edited now
        if current and part != _IN_THE_RECORD and not path.exists():
            write_atomic(path, hidden(pretty_json(value).decode()).encode())


def changes_of(states: States, state: CellState) -> tuple[Change, ...]:
    """What changed since the cell was built or published; nothing where it never was, or its key is not known yet."""
    before = _before(states, state, state.key) if state.key is not None else None
    if before is None or state.key is None:
        return ()
    build = states.config.root / states.config.build
    was = {part: found for part in changed_parts(before.parts, before.now)
           if (found := _value(build, before, part)) is not None}
    return changes(before.parts, before.now, was, state.key.values)


def _before(states: States, state: CellState, key: CellKey) -> Before | None:
    """Of the image that is here, else of the one that is published, else of the module that is here."""
    folder = states.config.root / states.cell_folder(state.cell)
    record = read_record(folder / "image.json", "image")
    if record is not None:
        labels = {name: text for name, text in record.get("labels", {}).items()
                  if name not in (KEY_LABEL, DEPENDS_LABEL)}
        return Before(record.get("key_inputs", {}), key.parts, labels or None, _series(states, state))
    if state.row is not None:
        return Before(state.row.key_inputs, key.parts, None, _series(states, state))
    record = read_record(folder / "module.json", "module")
    return Before(record["key_inputs"], key.module_parts) if record is not None else None


def _series(states: States, state: CellState) -> Mapping[str, Value]:
    ledger = states.ledger(state.cell.driver) if state.row is not None else None
    return {name: patch_lines([Patch.from_config(one) for one in found])
            for name, found in (ledger.series if ledger is not None else {}).items()}


def _value(build: Path, before: Before, part: str) -> Value | None:
    name = before.parts.get(part, "")
    if part == _IN_THE_RECORD:
        return before.labels
    if part == "patches" and name in before.series:
        return before.series[name]
    found = read_json(_path(build, name)) if name else None
    if isinstance(found, dict) and all(isinstance(one, str | list) for one in found.values()):
        return {str(key): one if isinstance(one, str) else [str(text) for text in one] for key, one in found.items()}
    return found if isinstance(found, str) else None


def _path(build: Path, name: str) -> Path:
    return build / FOLDER / f"{name}.json"
