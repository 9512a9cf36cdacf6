"""What a shard left of its cells, read as something that strangers wrote: nothing is believed before it was looked at.

A shard's folder is its ``build/<profile>``, or what of it was carried here. Only
files with the names that are listed here are ever read, none of them through a
link, none larger than its limit, and nothing is written where a name in them
says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any

from foundry.base.files import parse_json
from foundry.base.plain_text import line
from foundry.base.schema import ValidationCache
from foundry.cell import boot, image, module, sign
from foundry.cell.run import TIMES_FILE
from foundry.ledger import publish
from foundry.plan.cells import Cell
from foundry.plan.failures import FAILURE_FILE
from foundry.run.totals import RUN_FILE, Totals, totals_of

CELLS = "cells"
LOGS = {"module": module.LOG, "sign": sign.LOG, "image": image.LOG, "boot": boot.LOG, "push": publish.LOG}
# No records of modules and images: what they name may lie here, of other inputs, and would count as made of today's.
_SCHEMAS = {publish.RECORD: "record-push", TIMES_FILE: "times", FAILURE_FILE: "failure"}
MAX_JSON, MAX_LOG = 1 << 20, 16 << 20  # bytes
_DEPTH, _FOLDERS = 4, 2000  # how deep, and among how many folders, a shard's is looked for


@dataclass
class Artifact:
    """What one folder has of one cell; `refused` says what was not taken, and why."""

    cell: Cell
    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def shard_folders(folder: Path) -> Iterator[Path]:
    """The folder itself or those in it that have cells; nothing where there is none. Links are not followed."""
    waiting, seen = [(folder, 0)], 0
    while waiting:
        path, depth = waiting.pop(0)
        seen += 1
        if seen > _FOLDERS:
            return
        inside = sorted(_folders(path))
        if CELLS in inside:
            yield path
        elif depth < _DEPTH:
            waiting += [(path / name, depth + 1) for name in inside]


def _folders(path: Path) -> Iterator[str]:
    if path.is_symlink() or not path.is_dir():
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name


def read_artifacts(
    folder: Path, cells: Mapping[str, Cell], validation: ValidationCache
) -> tuple[list[Artifact], list[str]]:
    """What a shard's folder has of cells that the plan knows, and what was refused besides."""
    found, refused = [], []
    with os.scandir(folder / CELLS) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if not entry.is_dir(follow_symlinks=False):
                refused.append(f"{line(entry.name)} is no folder")
            elif entry.name not in cells:
                refused.append(f"{line(entry.name)} is no cell of this matrix and catalogue")
            else:
                found.append(_read_cell(Path(entry.path), cells[entry.name], validation))
    return found, refused


def read_totals(folder: Path, validation: ValidationCache) -> tuple[Totals | None, list[str]]:
    """What the shard's run took as a whole, and why that was refused."""
    try:
        data = _read(folder / RUN_FILE, MAX_JSON)
        if data is None:
            return None, []
        document = parse_json(data)
        if faults := validation.faults("run", document, ""):
            raise ValueError(faults[0].render())
        return totals_of(document), []
    except ValueError as error:
        return None, [f"{RUN_FILE}: {line(str(error))}"]


def _read_cell(folder: Path, cell: Cell, validation: ValidationCache) -> Artifact:
    artifact = Artifact(cell)
    for name in (*_SCHEMAS, *LOGS.values()):
        try:
            data = _read(folder / name, MAX_JSON if name in _SCHEMAS else MAX_LOG)
            if data is None:
                continue
            if name in _SCHEMAS:
                artifact.documents[name] = _document(name, data, cell, validation)
            else:
                artifact.logs[name] = data
        except ValueError as error:
            artifact.refused.append(f"{cell.name}/{name}: {line(str(error))}")
    return artifact


def _read(path: Path, limit: int) -> bytes | None:
    """The content of a plain file; None when there is none, ValueError when it is something else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError("is no plain file" if path.is_symlink() else error.strerror or "can't be read") from None
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not S_ISREG(status.st_mode):
            raise ValueError("is no plain file")
        if status.st_size > limit:
            raise ValueError(f"has {status.st_size} bytes, {limit} are the most")
        return stream.read(limit)


def _document(name: str, data: bytes, cell: Cell, validation: ValidationCache) -> Mapping[str, Any]:
    """The checked document, or ValueError with one sentence."""
    document = parse_json(data)
    faults = validation.faults(_SCHEMAS[name], document, "")
    if faults:
        raise ValueError(faults[0].render())
    found: Mapping[str, Any] = document
    if name == publish.RECORD:
        of = (found["driver"], found["family"], found["kernel"], found["arch"])
        if of != (cell.driver, cell.family.name, cell.kernel, cell.arch):
            raise ValueError("is of another cell")
    return found
