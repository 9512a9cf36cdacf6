"""Reader of the cpio archives inside RPMs: the "newc" form, and rpm's stripped one.

A newc member is a 110-byte header of hexadecimal fields, the name, the data;
name and data are padded to 4 bytes (cpio(5)). For payloads with files over
4 GiB rpm writes ``07070X`` and the file's number in the RPM header instead;
name, size and mode are then in the RPM header alone (rpm, lib/rpmfi.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpmheader

_HEADER = 110
_STRIPPED = 14
_NAME_LIMIT = 4096  # bytes, PATH_MAX
_TRAILER = b"TRAILER!!!"
_CHUNK = 1 << 20
_newc = re.compile(rb"070701[0-9A-Fa-f]{104}")
_stripped = re.compile(rb"07070X[0-9A-Fa-f]{8}")


@dataclass(frozen=True)
class Member:
    """The header of one archive member; `size` is its data in bytes.

    A member of a stripped archive has only `index` (its number in the RPM
    header) and `size`; all others have index None.
    """

    name: bytes
    mode: int
    size: int
    nlink: int = 1
    inode: tuple[int, int, int] = (0, 0, 0)
    index: int | None = None


class Archive:
    """Iterates over (member, its data in chunks); unread data is skipped.

    `sizes` holds, for stripped archives, the size of each file by its number.
    Raises FoundryError (reason ``rpm-damaged``) for anything that is no whole archive.
    """

    def __init__(self, stream: IO[bytes], sizes: Sequence[int] = ()) -> None:
        self._stream = stream
        self._sizes = sizes
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        while True:
            for _ in self._chunks():
                pass
            self._take(self._padding)
            member = self._header()
            if member is None:
                break
            self._left, self._padding = member.size, -member.size % 4
            yield member, self._chunks()
        while rest := self._stream.read(_CHUNK):
            if rest.strip(b"\0"):
                raise damaged("bytes follow its end")

    def _chunks(self) -> Iterator[bytes]:
        while self._left:
            data = self._stream.read(min(self._left, _CHUNK))
            if not data:
                raise damaged("it is cut off")
            self._left -= len(data)
            yield data

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size) if size else b""
        if len(data) != size:
            raise damaged("it is cut off")
        return data

    def _header(self) -> Member | None:
        start = self._take(_STRIPPED)
        if _stripped.fullmatch(start):
            return self._numbered(int(start[6:], 16))
        raw = start + self._take(_HEADER - _STRIPPED)
        if not _newc.fullmatch(raw):
            raise damaged("a member has no newc header")
        field = [int(raw[at : at + 8], 16) for at in range(6, _HEADER, 8)]
        ino, mode, _, _, nlink, _, size, major, minor, _, _, length, _ = field
        if not 1 < length <= _NAME_LIMIT:
            raise damaged(f"a member's name has {length} bytes")
        name = self._take(length + -(_HEADER + length) % 4)[:length]
        if name.find(b"\0") != length - 1:
            raise damaged("a member's name does not end where it should")
        if name[:-1] == _TRAILER:
            return None
        return Member(name[:-1], mode, size, nlink, (major, minor, ino))

    def _numbered(self, index: int) -> Member:
        self._take(-_STRIPPED % 4)
        if index >= len(self._sizes):
            raise damaged(f"it has a member number {index}, the header has {len(self._sizes)} files")
        return Member(b"", 0, self._sizes[index], index=index)


def damaged(why: str) -> FoundryError:
    """The error for an archive that breaks the format."""
    return rpmheader.damaged(f"the cpio archive is damaged: {why}")
