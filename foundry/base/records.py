"""Records: the small JSON file that a stage leaves as its target.

They are doit's state (docs/decisions/0002-records-are-the-state.md): a stage is
done when its record bears the current key and what the record names is there.
A record that can't be read or has another schema counts as not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foundry.base.files import parse_json, pretty_json, sha256_file, write_atomic

SCHEMA = 1

Record = Mapping[str, Any]


def read_record(path: Path, stage: str) -> Record | None:
    """The record, or None when there is none that this version understands."""
    try:
        return parse_record(path.read_bytes(), stage)
    except (OSError, ValueError):  # a name that no file can have
        return None


def parse_record(content: bytes, stage: str) -> Record | None:
    """The record in a file's content, or None when it holds none that this version understands."""
    try:
        found = parse_json(content)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("stage") != stage:
        return None
    outputs = found.get("outputs")
    if not isinstance(found.get("inputs"), dict) or not isinstance(outputs, dict):
        return None
    if not all(isinstance(fact, dict) and "size" in fact for fact in outputs.values()):
        return None
    return found if isinstance(found.get("key_inputs", {}), dict) else None


def write_record(path: Path, stage: str, facts: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all; the last step of every stage."""
    write_atomic(path, pretty_json({"schema": SCHEMA, "stage": stage, **facts}))


def outputs_missing(record: Record, folder: Path | str) -> str:
    """The first output that is not there or has another size; empty when all are whole."""
    for name, fact in record["outputs"].items():
        try:
            size = os.stat(f"{folder}/{name}").st_size
        except (OSError, ValueError):  # a name that no file can have
            return str(name)
        if size != fact["size"]:
            return str(name)
    return ""


def outputs_changed(record: Record, folder: Path) -> str:
    """As `outputs_missing`, by their content: for what is published as it lies here."""
    for name, fact in record["outputs"].items():
        try:
            if not (folder / name).is_file() or sha256_file(folder / name) != fact.get("sha256"):
                return str(name)
        except (OSError, ValueError):
            return str(name)
    return ""


def output_facts(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The `outputs` of a record: hash and size of each file, named relative to `folder`."""
    return {
        name: {"sha256": sha256_file(folder / name), "size": (folder / name).stat().st_size} for name in sorted(names)
    }


def input_facts(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """The `inputs` of a record: hash of each file that the stage's task depends on."""
    return {path: sha256_file(root / path) for path in sorted(paths)}
