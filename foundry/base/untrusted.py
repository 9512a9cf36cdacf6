"""Folders into which code wrote that we don't trust: no link is followed, nothing is taken without bound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISGID, S_ISLNK, S_ISREG, S_ISUID

from foundry.base.errors import FoundryError
from foundry.base.files import FOLDER, atomic
from foundry.base.reasons import Reason

_DEEPEST = 100  # folders in folders
_MOST = 500_000  # files and folders
_CHUNK = 1 << 20
BLOCK = 512  # bytes, the unit of st_blocks, whatever the file system's is
_HINT = "look at what the driver's Makefile does"


@dataclass(frozen=True)
class Entry:
    """Something below a folder: its path there, the open folder that it is in, its name in it, its own ``stat``."""

    path: str
    parent: int
    name: str
    stat: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file with one name."""
        return S_ISREG(self.stat.st_mode) and self.stat.st_nlink == 1


def walk(folder: Path, *, changing: bool = False) -> Iterator[Entry]:
    """All that is below a folder, a folder before what is in it; `parent` is open until the next one is asked for.

    What goes away meanwhile is passed over where the folder is still `changing`. Raises FoundryError
    ``output-unsafe`` for more, or deeper, than any build makes, and for what it closed to us: who may not look
    into a folder does not know how much is in it.
    """
    try:
        yield from _walk(folder, (FileNotFoundError, NotADirectoryError) if changing else ())
    except PermissionError as error:
        raise FoundryError(f"the build left {error.filename}, which nobody else may look into",
                           reason=Reason.OUTPUT_UNSAFE, hint=_HINT) from error


def _walk(folder: Path, passed_over: tuple[type[OSError], ...]) -> Iterator[Entry]:
    top = os.open(folder, FOLDER)
    stack, seen = [("", top, sorted(os.listdir(top), reverse=True))], 0
    try:
        while stack:
            prefix, parent, names = stack[-1]
            if not names:
                stack.pop()
                os.close(parent)
                continue
            name = names.pop()
            seen += 1
            if len(stack) > _DEEPEST or seen > _MOST:
                raise FoundryError("the build left files or folders without end", reason=Reason.OUTPUT_UNSAFE,
                                   hint=_HINT)
            try:
                entry = Entry(prefix + name, parent, name, os.stat(name, dir_fd=parent, follow_symlinks=False))
            except passed_over:
                continue
            yield entry
            if S_ISDIR(entry.stat.st_mode):
                with suppress(*passed_over):
                    stack.append((f"{entry.path}/", os.open(name, FOLDER, dir_fd=parent), []))
                    stack[-1][2].extend(sorted(os.listdir(stack[-1][1]), reverse=True))
    finally:
        for _, parent, _ in stack:
            os.close(parent)


def disarm(folder: Path) -> None:
    """Take from what a build left what could be used against others: set-user-ID bits, devices, sockets, pipes."""
    for entry in walk(folder):
        mode = entry.stat.st_mode
        if S_ISDIR(mode) or S_ISREG(mode):
            if mode & (S_ISUID | S_ISGID):
                os.chmod(entry.name, S_IMODE(mode) & 0o777, dir_fd=entry.parent)
        elif not S_ISLNK(mode):
            os.unlink(entry.name, dir_fd=entry.parent)


def allocated(folder: Path) -> int:
    """Bytes that a folder takes on the disk, while somebody writes into it; raises as `walk`."""
    return sum(entry.stat.st_blocks * BLOCK for entry in walk(folder, changing=True)) if folder.exists() else 0


def copy_out(folder: Path, path: str, dest: Path, *, limit: int) -> None:
    """Copy a plain file that is below `folder` at the path; FileNotFoundError where there is none.

    Raises FoundryError ``output-unsafe`` where a part of the path is a link, the file is no plain one with one
    name, or it has more than `limit` bytes.
    """
    *folders, name = path.split("/")
    parent = os.open(folder, FOLDER)
    try:
        for part in folders:
            parent, outer = os.open(part, FOLDER, dir_fd=parent), parent
            os.close(outer)
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:  # ELOOP, ENOTDIR, ENXIO
        raise _unsafe(path) from error
    finally:
        os.close(parent)
    facts = os.fstat(source)
    if not S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        os.close(source)
        raise _unsafe(path)
    with os.fdopen(source, "rb") as stream:
        if facts.st_size > limit:
            raise FoundryError(f"the build left {path} with {facts.st_size} bytes, more than {limit}",
                               reason=Reason.OUTPUT_UNSAFE, hint=_HINT)
        with atomic(dest) as sink:
            while chunk := stream.read(_CHUNK):
                sink.write(chunk)


def _unsafe(path: str) -> FoundryError:
    return FoundryError(f"the build left {path}, which is no plain file", reason=Reason.OUTPUT_UNSAFE, hint=_HINT)
