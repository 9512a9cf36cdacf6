"""Tars of source trees with the same bytes wherever and whenever they are made.

Sorted, everything root's without names, modes 0755 or 0644, one time for all. Files are
read while they are written: never more than a piece of one is in memory.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from foundry.base.files import open_file

_LEVEL = 9  # of gzip; another one gives other bytes


@dataclass(frozen=True)
class Entry:
    """One member: a file on disk, bytes, or the target of a symbolic link; a folder when it has none of them."""

    name: str
    path: Path | None = None
    content: bytes | None = None
    link: str | None = None
    executable: bool = False


def tree_entries(tree: Path, prefix: str = "") -> Iterator[Entry]:
    """Everything below `tree`; names begin with `prefix`. A file with two names is there twice."""
    for path in tree.rglob("*"):
        name = f"{prefix}{path.relative_to(tree).as_posix()}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield Entry(name, link=os.readlink(path))
        elif stat.S_ISDIR(mode):
            yield Entry(name)
        else:
            yield Entry(name, path=path, executable=bool(mode & stat.S_IXUSR))


def write_tar(sink: IO[bytes], entries: Iterable[Entry], *, top: str, mtime: int) -> None:
    """Write the entries and the folders that they need below one folder `top`; `mtime` in seconds.

    Raises ValueError when a name is there twice, OSError when a file can't be read.
    """
    members: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in members:
            raise ValueError(f"{entry.name} would be twice in the archive")
        members[entry.name] = entry
    for name in list(members):
        for folder in _folders_above(name):
            members.setdefault(folder, Entry(folder))
    with tarfile.open(
        fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        tar.addfile(_header(top, Entry(""), mtime))
        for name in sorted(members, key=lambda name: name.split("/")):
            _add(tar, f"{top}/{name}", members[name], mtime)


def write_tar_gz(sink: IO[bytes], entries: Iterable[Entry], *, top: str, mtime: int) -> None:
    """As `write_tar`, compressed, with neither a name nor a time in gzip's header."""
    # gzip.compress differs between versions of Python where GzipFile does not.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=sink, mtime=0) as packed:
        write_tar(packed, entries, top=top, mtime=mtime)  # type: ignore[arg-type] # it has what is needed


def _folders_above(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _add(tar: tarfile.TarFile, name: str, entry: Entry, mtime: int) -> None:
    info = _header(name, entry, mtime)
    if entry.path is not None:
        with open_file(entry.path) as stream:
            info.size = os.fstat(stream.fileno()).st_size
            tar.addfile(info, stream)
    else:
        info.size = len(entry.content or b"")
        tar.addfile(info, io.BytesIO(entry.content or b""))


def _header(name: str, entry: Entry, mtime: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = mtime
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
    elif entry.path is None and entry.content is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.mode = 0o755 if entry.executable else 0o644
    return info
