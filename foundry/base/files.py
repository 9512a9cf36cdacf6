"""Files of our own: atomic writes and content hashes.

A target that exists is whole: everything is written to a temporary name in the
same folder and moved into place with `os.replace`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from foundry.base.plain_text import ACTED_ON, plain

_FULL = 64 << 10  # bytes
_TEMPORARY = re.compile(r"\..+\.([0-9]+)\.[a-z0-9_]{8}")  # what `_prefix` and the module tempfile call them
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def read_file(path: Path | str) -> bytes:
    """A file's content; a pipe in its place is empty, where nobody would ever write into it. OSError as of `open`."""
    with open_file(path) as stream:
        return stream.read()


def open_file(path: Path | str) -> BufferedReader:
    """A file to read; a pipe in its place is empty, where nobody would ever write into it. OSError as of `open`."""
    return open(path, "rb", opener=_at_once)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's content; OSError when it can't be read."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no blanks, UTF-8."""
    return _encoder.encode(value).encode()


def pretty_json(value: object, *, sort: bool = True) -> bytes:
    """JSON for people: sorted keys (unless they have an order of their own), two blanks, a newline at the end."""
    text = json.dumps(value, sort_keys=sort, indent=2, ensure_ascii=False)
    text.encode()  # halves of surrogate pairs are an error, not escaped: nobody could read them again
    return (ACTED_ON.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n").encode()


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic(path, mode) as stream:
        stream.write(data)


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A stream whose content is at `path` once the block has ended well; else there is what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.name))
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:  # an interruption, too, leaves no temporary file; it is raised on
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


# Made once: thousands of records are read, and of keys written, in a run.
_decoder = json.JSONDecoder(parse_constant=_no_constant)
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_json(path: Path) -> Any | None:
    """The parsed file, or None when there is no file or it is not whole JSON."""
    try:
        return parse_json(read_file(path))
    except (OSError, ValueError):
        return None


def append_to(log: Path) -> Callable[[str], None]:
    """A function that appends lines to a file, as plain text."""
    def write(line: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(plain(line) + "\n")

    return write


def is_full(folder: Path) -> bool:
    """True when the disk of an existing folder has no space to speak of."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL


def remove_tree(path: Path) -> None:
    """Remove a folder, also one with read-only parts or paths too long to be named; nothing where there is none."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o700)
    top = os.open(path, FOLDER)
    try:
        _empty(top)
    finally:
        os.close(top)
    path.rmdir()


def _empty(top: int) -> None:
    """Remove all that is in an open folder, however deep: inner folders are moved up to it, one after the other."""
    number, mark = 0, secrets.token_hex(8)
    while inner := _remove_files(top):
        for name in inner:
            os.chmod(name, 0o700, dir_fd=top)
            folder = os.open(name, FOLDER, dir_fd=top)
            try:
                for below in _remove_files(folder):
                    number += 1
                    os.chmod(below, 0o700, dir_fd=folder)  # a folder must be writable to be moved
                    os.rename(below, f".{mark}.{number}", src_dir_fd=folder, dst_dir_fd=top)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _remove_files(folder: int) -> list[str]:
    """Remove what is no folder from an open one; the names of the folders in it."""
    inner = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                with suppress(FileNotFoundError):  # sockets go with the program that listens
                    os.unlink(entry.name, dir_fd=folder)
    return inner


def remove_stale(folder: Path) -> None:
    """Remove what killed runs left in a stage's folder: temporary names, all of which begin with a dot."""
    for path in folder.glob(".*"):
        remove_tree(path)


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """Remove temporary files and folders (of a name) whose process has ended, and nothing else.

    Where a process has that number again they stay, until the next time.
    """
    for path in folder.glob(f".{name}.*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and (int(found[1]) == os.getpid() or not is_process(int(found[1]))):
            with suppress(PermissionError):  # in a folder that all share: another user's
                remove_tree(path)


def is_process(number: int) -> bool:
    """Whether a process has the number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _prefix(name: str) -> str:
    """How the temporary name for a file begins, with the process that it belongs to."""
    return f".{name}.{os.getpid()}."


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder inside `parent` that is gone when the block ends, however it ends."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=_prefix(prefix)))
    try:
        yield folder
    finally:
        remove_tree(folder)
