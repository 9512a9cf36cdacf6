"""The root of a guest as the kernel unpacks it: a cpio archive in the "newc" form.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Several archives may follow each other.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.base.files import read_file

_CONSOLE = (5, 1)  # Documentation/admin-guide/devices.txt
_ALIGNED = 4  # bytes


@dataclass(frozen=True)
class Entry:
    """A folder, file, link or device; of a link `content` is where it leads to."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str) -> Entry:
    """A folder."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, content: bytes, *, executable: bool = False) -> Entry:
    """A file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), content)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def console() -> Entry:
    """Where the first program reads and writes before there are devices."""
    return Entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)


def entries_of(root: Path) -> Iterator[Entry]:
    """What is in a folder: its folders and files, the latter executable."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        yield folder(name) if path.is_dir() else file(name, read_file(path), executable=True)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive: of each name the last entry, folders that are only in names too; the same bytes every time."""
    found = {entry.name: entry for entry in entries}
    for name in list(found):
        for parent in Path(name).parents:
            found.setdefault(parent.as_posix(), folder(parent.as_posix()))
    found.pop(".", None)
    members = [_member(number, found[name]) for number, name in enumerate(sorted(found), start=1)]
    return b"".join([*members, _member(0, Entry("TRAILER!!!", 0))])


def _member(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNED)
