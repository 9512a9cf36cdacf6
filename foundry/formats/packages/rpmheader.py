"""The two header sections of an RPM: a checked index of typed tags.

A section is the magic ``8eade801``, 4 reserved bytes, the number of index
entries and the size of the data store (both big-endian 32 bits); then 16
bytes for each entry (tag, type, offset, count) and the store
(rpm, docs/manual/format_header.md).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

MAGIC = b"\x8e\xad\xe8\x01"
_PREAMBLE = 16
_ENTRY = struct.Struct(">IIII")
_MAX_ENTRIES = 0xFFFF
_MAX_STORE = 32 << 20  # bytes; rpm itself allows 256 MiB, a package of 20,000 files takes 3 MiB

INT16, INT32, INT64, STRING, BINARY, STRINGS, TRANSLATED = 3, 4, 5, 6, 7, 8, 9
_SIZES = {1: 1, 2: 1, INT16: 2, INT32: 4, INT64: 8, BINARY: 1}
_CODES = {INT16: "H", INT32: "I", INT64: "Q"}
_TYPES = range(1, 10)


class Tag:
    """Numbers of the tags that are read here (rpm, include/rpm/rpmtag.h)."""

    # signature header
    DSA_HEADER, RSA_HEADER, SHA1_HEADER, SHA256_HEADER = 267, 268, 269, 273
    SIZE, PGP, MD5, GPG = 1000, 1002, 1004, 1005
    # header
    NAME, VERSION, RELEASE, EPOCH, SUMMARY, DESCRIPTION, BUILD_TIME, BUILD_HOST = range(1000, 1008)
    VENDOR, LICENSE, PACKAGER, URL, ARCH = 1011, 1014, 1015, 1020, 1022
    PRE_IN, POST_IN, PRE_UN, POST_UN = 1023, 1024, 1025, 1026
    OLD_FILE_NAMES, FILE_SIZES, FILE_MODES, FILE_MTIMES, FILE_DIGESTS = 1027, 1028, 1030, 1034, 1035
    FILE_LINKS, FILE_FLAGS, FILE_INODES = 1036, 1037, 1096
    DIR_INDEXES, BASE_NAMES, DIR_NAMES = 1116, 1117, 1118
    PAYLOAD_FORMAT, PAYLOAD_COMPRESSOR = 1124, 1125
    LONG_FILE_SIZES, FILE_DIGEST_ALGORITHM, PAYLOAD_DIGEST, PAYLOAD_DIGEST_ALGORITHM = 5008, 5011, 5092, 5093


@dataclass(frozen=True)
class Section:
    """One header section; `start` and `end` are byte offsets in the file, the end without padding."""

    start: int
    end: int
    index: dict[int, tuple[int, int, int]]
    store: bytes

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All values of an integer tag; empty when the tag is not there."""
        kind, offset, count = self.index.get(tag, (INT32, 0, 0))
        if kind not in _CODES:
            raise damaged(f"tag {tag} has type {kind} instead of an integer")
        return struct.unpack_from(f">{count}{_CODES[kind]}", self.store, offset)

    def number(self, tag: int) -> int | None:
        """The first value of an integer tag, or None."""
        return next(iter(self.numbers(tag)), None)

    def strings(self, tag: int) -> tuple[bytes, ...]:
        """All values of a text tag, undecoded; empty when the tag is not there."""
        kind, offset, count = self.index.get(tag, (STRINGS, 0, 0))
        if kind not in (STRING, STRINGS, TRANSLATED):
            raise damaged(f"tag {tag} has type {kind} instead of text")
        parts = self.store[offset:].split(b"\0", count)
        if len(parts) != count + 1:
            raise damaged(f"tag {tag} runs beyond the data")
        return tuple(parts[:count])

    def text(self, tag: int) -> str:
        """The first value of a text tag as UTF-8, what is not UTF-8 replaced; empty when not there."""
        return next((value.decode(errors="replace") for value in self.strings(tag)), "")

    def binary(self, tag: int) -> bytes | None:
        """The bytes of a binary tag, or None."""
        if tag not in self.index:
            return None
        kind, offset, count = self.index[tag]
        if kind != BINARY:
            raise damaged(f"tag {tag} has type {kind} instead of binary")
        return self.store[offset : offset + count]


def end_of(data: bytes, start: int, what: str) -> int:
    """Where the section that begins at byte `start` ends; FoundryError (``rpm-damaged``) if it isn't whole."""
    preamble = data[start : start + _PREAMBLE]
    if len(preamble) < _PREAMBLE or not preamble.startswith(MAGIC):
        raise damaged(f"there is no {what} at byte {start}")
    entries, size = struct.unpack_from(">II", preamble, 8)
    if entries > _MAX_ENTRIES or size > _MAX_STORE:
        raise damaged(f"its {what} claims {entries} entries and {size} bytes")
    end = start + _PREAMBLE + entries * _ENTRY.size + size
    if len(data) < end:
        raise damaged(f"its {what} is cut off")
    return int(end)


def parse(data: bytes, start: int, what: str) -> Section:
    """The section that begins at byte `start` of `data`; FoundryError (``rpm-damaged``) if it isn't whole."""
    end = end_of(data, start, what)
    _, size = struct.unpack_from(">II", data, start + 8)
    begin = end - size
    store = data[begin:end]
    index: dict[int, tuple[int, int, int]] = {}
    for tag, kind, offset, count in _ENTRY.iter_unpack(data[start + _PREAMBLE : begin]):
        least = count * _SIZES.get(kind, 1)
        if tag in index or kind not in _TYPES or count == 0 or offset + least > size:
            raise damaged(f"the entry for tag {tag} in its {what} is wrong (type {kind}, {offset}+{count} of {size})")
        index[tag] = (kind, offset, count)
    return Section(start, end, index, store)


def damaged(why: str) -> FoundryError:
    """The error for a file that is no whole RPM."""
    return FoundryError(f"the RPM is damaged: {why}", reason=Reason.RPM_DAMAGED, hint="delete it and fetch it again")
