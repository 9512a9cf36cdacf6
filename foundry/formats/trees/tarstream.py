"""Reader of tar archives that arrive piece by piece: old tar, ustar, GNU's form, and pax.

An archive is blocks of 512 bytes: a header, then the data, padded. Two blocks of
zeros end it (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar
Format"). Where the forms leave a choice this reads as Go's archive/tar, which all
container engines unpack layers with: global pax headers say nothing of other members,
GNU's long names win over pax, and a member that is no file has no data. Stricter than Go: a second header that
extends the same member in the same way is damage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from foundry.base.errors import FoundryError
from foundry.base.times import within_32_bits
from foundry.formats.trees.budget import Budget

_BLOCK = 512
_MAX_EXTENSION = 1 << 20  # bytes of a long name or of a pax header
_MAX_SIZE = 1 << 62  # bytes of a member; also what Go can count
_ZEROS = bytes(_BLOCK)
_octal = re.compile(rb"[0-7]*")
_pax_size = re.compile(rb"[0-9]{1,19}")
_pax_length = re.compile(rb"[0-9]{1,7}")
_pax_time = re.compile(rb"(-?[0-9]{1,19})(?:\.[0-9]{0,30})?")


class Kind(Enum):
    """What a member is; the value is the word for people."""

    FILE = "a file"
    FOLDER = "a folder"
    SYMLINK = "a symbolic link"
    HARDLINK = "a hard link"
    OTHER = "a device or pipe"
    SPARSE = "a sparse file"


_KINDS = {
    b"1": Kind.HARDLINK, b"2": Kind.SYMLINK, b"3": Kind.OTHER, b"4": Kind.OTHER, b"5": Kind.FOLDER,
    b"6": Kind.OTHER, b"S": Kind.SPARSE,
}
_WITH_DATA = (Kind.FILE, Kind.SPARSE)
# Global pax headers, and GNU's lists of folders, multi-volume parts, old long names and volume labels.
_NOTES = (b"g", b"D", b"M", b"N", b"V")


@dataclass(frozen=True)
class Member:
    """One member of an archive: its name as it stands there, and the bytes of data that follow.

    `mtime` is in seconds since 1970, moved to the nearest that 32 bits hold. `at` is where the data begin, in bytes
    from the archive's beginning; of all kinds but sparse files the header is the block before.
    """

    name: bytes
    kind: Kind
    size: int
    link: bytes = b""
    executable: bool = False
    mtime: int = 0
    at: int = 0


class TarStream:
    """Iterates over the members; `read` or `chunks` gives the data of the one just met, what is not read is skipped.

    Takes a piece from `pieces` only when the bytes it has do not do, and holds no more than
    one piece, one member's extensions (1 MiB at most) and what `read` returns.

    Raises FoundryError with reason `budget.damaged` for anything that is no whole archive, except
    one of no bytes at all, which has no members; with `budget.too_large` for a member of more than
    `budget.max_bytes` bytes and for more headers than entries; and what `pieces` raises.
    """

    def __init__(self, pieces: Iterator[bytes], budget: Budget) -> None:
        self._pieces, self._budget = pieces, budget
        self._piece, self._at = b"", 0
        self._before = 0  # bytes of the archive before the piece
        self._left = self._padding = 0  # bytes of the present member's data
        self._begun = False

    def __iter__(self) -> Iterator[Member]:
        long_name, long_link, pax = b"", b"", dict[bytes, bytes]()
        while (block := self._block(extended=bool(long_name or long_link or pax))) is not None:
            flag = block[156:157]
            self._budget.entry()
            self._data_of(self._number(block[124:136]))
            if flag == b"L":
                long_name = self._text(self._extension(long_name))
            elif flag == b"K":
                long_link = self._text(self._extension(long_link))
            elif flag in (b"x", b"X"):
                pax = self._pax(self._extension(pax))
            elif flag not in _NOTES:
                yield self._member(block, long_name, long_link, pax)
                long_name, long_link, pax = b"", b"", {}
        for piece in self._pieces:  # so that a check of the stream's digest has had all of it
            del piece

    def read(self) -> bytes:
        """All data of the member just met."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The data of the member just met, in pieces."""
        while self._left:
            if not self._more():
                raise self._damaged("it is cut off")
            part = self._piece[self._at : self._at + self._left]
            self._at += len(part)
            self._left -= len(part)
            yield part

    # -- headers -------------------------------------------------------------

    def _block(self, *, extended: bool) -> bytes | None:
        """The next header; None at the end of the archive."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        if not self._begun and not self._more():
            return None
        self._begun = True
        block = self._take(_BLOCK)
        if block == _ZEROS:
            # A lone block of zeros at the very end is let pass: old programs wrote no second one.
            if extended or (self._more() and self._take(_BLOCK) != _ZEROS):
                raise self._damaged("its end comes too early")
            return None
        said = self._number(block[148:156])
        plain = block[:148] + b" " * 8 + block[156:]
        # Some old programs added up the bytes as signed numbers.
        if said != sum(plain) and said != sum(plain) - 256 * sum(byte > 127 for byte in plain):  # noqa: PLR2004
            raise self._damaged("a header's checksum is wrong")
        return block

    def _member(self, block: bytes, long_name: bytes, long_link: bytes, pax: Mapping[bytes, bytes]) -> Member:
        name, link = self._text(block[:100]), self._text(block[157:257])
        if block[257:263] == b"ustar\0" and (prefix := self._text(block[345:500])):
            name = prefix + b"/" + name
        name = long_name or pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
        link = long_link or pax.get(b"linkpath") or link
        flag = block[156:157]
        kind = _KINDS.get(flag, Kind.FILE)
        if flag == b"\0" and name.endswith(b"/"):  # old tar has no flag for folders
            kind = Kind.FOLDER
        if kind is Kind.FILE and any(key.startswith(b"GNU.sparse.") for key in pax):
            kind = Kind.SPARSE
        if size := pax.get(b"size"):
            if not _pax_size.fullmatch(size):
                raise self._damaged("a pax header has a size that is no number")
            self._data_of(int(size))
        if kind not in _WITH_DATA:
            self._data_of(0)
        if flag == b"S":
            self._skip_sparse_map(block)
        return Member(name, kind, self._left, link, bool(self._number(block[100:108]) & 0o111), self._time(block, pax),
                      self._before + self._at)

    def _time(self, block: bytes, pax: Mapping[bytes, bytes]) -> int:
        if said := pax.get(b"mtime"):
            match = _pax_time.fullmatch(said)
            if match is None:
                raise self._damaged("a pax header has a time that is none")
            return within_32_bits(int(match[1]))
        before_1970 = block[136] & 0xC0 == 0xC0  # noqa: PLR2004 - GNU's base-256, below zero
        return 0 if before_1970 else within_32_bits(self._number(block[136:148]))

    def _skip_sparse_map(self, block: bytes) -> None:
        """Old GNU sparse members: blocks with more of the map stand before the data."""
        more = block[482]
        while more:
            more = self._take(_BLOCK)[504]

    def _extension(self, before: object) -> bytes:
        if before:
            raise self._damaged("a member has two extended headers of one kind")
        if self._left > _MAX_EXTENSION:
            raise self._damaged(f"a member's extended header has {self._left} bytes")
        return self.read()

    def _pax(self, data: bytes) -> dict[bytes, bytes]:
        """Lines of length (of the whole line), blank, key, ``=`` and value; an empty value says nothing."""
        records: dict[bytes, bytes] = {}
        at = 0
        while at < len(data):
            digits, blank, _ = data[at : at + 8].partition(b" ")
            end = at + int(digits) if blank and _pax_length.fullmatch(digits) else at
            key, equals, value = data[at + len(digits) + 1 : end - 1].partition(b"=")
            if end <= at or end > len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
                raise self._damaged("a pax header is no list of records")
            if b"\0" in key or (key in (b"path", b"linkpath") and b"\0" in value):
                raise self._damaged("a pax header has a name with a zero in it")
            records[key] = value
            at = end
        return records

    def _number(self, field: bytes) -> int:
        """An octal number, or GNU's base-256 for large ones."""
        if field[0] & 0x80:
            number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
            if field[0] & 0x40 or number > _MAX_SIZE:
                raise self._damaged("a header has an impossible number")
            return number
        digits = field.partition(b"\0")[0].strip()
        if not _octal.fullmatch(digits):
            raise self._damaged("a header has a field that is no number")
        return int(digits or b"0", 8)

    @staticmethod
    def _text(field: bytes) -> bytes:
        return field.partition(b"\0")[0]

    # -- bytes ---------------------------------------------------------------

    def _data_of(self, size: int) -> None:
        """From here on `size` bytes of data follow the header."""
        if size > self._budget.max_bytes:
            raise self._budget.excess(f"has a member of {size} bytes")
        self._left, self._padding = size, -size % _BLOCK

    def _more(self) -> bool:
        """Whether at least one byte is left; takes the next piece for it if there is none here."""
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._before += len(self._piece)
            self._piece, self._at = piece, 0
        return True

    def _take(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._more():
                raise self._damaged("it is cut off")
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size:
            if not self._more():
                raise self._damaged("it is cut off")
            step = min(size, len(self._piece) - self._at)
            self._at += step
            size -= step

    def _damaged(self, why: str) -> FoundryError:
        return self._budget.fault(f"is no whole tar archive: {why}")
