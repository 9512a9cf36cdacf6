"""Records: the small JSON file that a stage leaves as its target.

They are doit's state (docs/decisions/0002-records-are-the-state.md): a stage is
done when its record bears the current key and what the record names is there.
A record begins with the hash of all that follows. One that is not as a stage
wrote it, whatever was changed or lost, counts as not there, and so does one of
another schema: what it is about is made again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from foundry.base.files import parse_json, pretty_json, read_file, sha256_bytes, sha256_file, write_atomic

SCHEMA = 1
_BEGIN = b'{\n'
_HASH = re.compile(rb'\{\n  "sha256": "([0-9a-f]{64})",\n')

Record = Mapping[str, Any]


def read_record(path: Path, stage: str) -> Record | None:
    """The record, or None when there is none that this version wrote and understands."""
    try:
        return parse_record(read_file(path), stage)
    except (OSError, ValueError):  # a name that no file can have
        return None


def parse_record(content: bytes, stage: str) -> Record | None:
    """The record in a file's content, or None when it holds none that is whole."""
    begin = _HASH.match(content)
    if begin is None or sha256_bytes(content[begin.end():]) != begin[1].decode():
        return None
    found: Record = parse_json(content)
    return found if found.get("schema") == SCHEMA and found.get("stage") == stage else None


def write_record(path: Path, stage: str, facts: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all; the last step of every stage."""
    rest = pretty_json({"schema": SCHEMA, "stage": stage, **facts}).removeprefix(_BEGIN)
    write_atomic(path, _BEGIN + f'  "sha256": "{sha256_bytes(rest)}",\n'.encode() + rest)


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


def outputs_changed(record: Record, folder: Path | str, sha256_of: Callable[[str], str] = sha256_file) -> str:
    """As `outputs_missing`, by their content: for what something is made from, or is published as it lies here."""
    for name, fact in record["outputs"].items():
        try:
            if sha256_of(f"{folder}/{name}") != fact["sha256"]:
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
