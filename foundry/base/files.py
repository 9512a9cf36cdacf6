"""Files of our own: atomic writes and content hashes.

A target that exists is whole: everything is written to a temporary name in the
same folder and moved into place with `os.replace`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

from foundry.base.errors import FoundryError

_CHUNK = 1 << 20
_FULL = 64 << 10  # bytes


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's content; OSError when it can't be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty_json(value: object, *, sort: bool = True) -> bytes:
    """JSON for people: sorted keys (unless they have an order of their own), two blanks, a newline at the end."""
    return (json.dumps(value, sort_keys=sort, indent=2, ensure_ascii=False) + "\n").encode()


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic(path, mode) as stream:
        stream.write(data)


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A stream whose content is at `path` once the block has ended well; else there is what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8; ValueError with one line for all that is none.

    Stricter than `json.loads`: no UTF-16, no NaN, and no half of a surrogate pair, which
    could be read but never be written or hashed.
    """
    try:
        text = data.decode()
        value = _decoder.decode(text.removeprefix("\ufeff"))
        if "\\ud" in text or "\\uD" in text:
            canonical_json(value)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


_decoder = json.JSONDecoder(parse_constant=_no_constant)  # made once: thousands of records are read in a run


def read_json(path: Path) -> Any | None:
    """The parsed file, or None when there is no file or it is not whole JSON."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return parse_json(stream.read())
    except (OSError, ValueError):
        return None


def append_to(log: Path) -> Callable[[str], None]:
    """A function that appends lines to a file."""
    def write(line: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    return write


def is_full(folder: Path) -> bool:
    """True when the disk of an existing folder has no space to speak of."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL


def remove_tree(path: Path) -> None:
    """Remove a folder even where its parts are read-only; nothing happens if it is not there."""
    if not os.path.lexists(path):
        return
    if path.is_symlink():
        path.unlink()
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            os.chmod(folder, 0o755)
    shutil.rmtree(path)


def remove_stale(folder: Path) -> None:
    """Remove what killed runs left in a stage's folder: temporary names, all of which begin with a dot."""
    for path in folder.glob(".*"):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def regular_files(folder: Path) -> list[Path]:
    """The files of a folder that code we don't trust wrote into: plain, with one name each, no links.

    Raises FoundryError (``output-unsafe``) for anything else, the folder itself included.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder]:
        stat = os.lstat(path)
        if not S_ISREG(stat.st_mode) or stat.st_nlink != 1:
            raise FoundryError(
                f"the build left {path.name}, which is no plain file", reason="output-unsafe",
                hint="look at what the driver's Makefile does",
            )
        found.append(path)
    return found


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder inside `parent` that is gone when the block ends, however it ends."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{prefix}."))
    try:
        yield folder
    finally:
        remove_tree(folder)
