"""Writes RPMs and cpio archives byte by byte, so that tests can make what no honest tool makes."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpm, rpmpayload

LEAD = b"\xed\xab\xee\xdb\x03\x00" + bytes(90)
COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
LINK, FOLDER = stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755
Value = int | str | bytes | Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class File:
    """One file of a package; `name` is the member's name in the archive where it differs."""

    path: str
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    linkto: str = ""
    flags: int = 0
    inode: int = 0
    nlink: int = 1
    member: str | None = None
    body: bytes | None = None

    @property
    def said_size(self) -> int:
        """What the header says: of folders the size on disk, as rpm 4.11 did."""
        return 4096 if stat.S_ISDIR(self.mode) else len(self.linkto) if stat.S_ISLNK(self.mode) else len(self.data)

    def in_archive(self, inode: int) -> bytes:
        name = self.member if self.member is not None else "." + self.path
        data = self.linkto.encode() if stat.S_ISLNK(self.mode) else self.data
        body = self.body if self.body is not None else data
        return newc(name.encode("utf-8", "surrogateescape"), self.mode, body, self.nlink, self.inode or inode)


def newc(name: bytes, mode: int, data: bytes, nlink: int = 1, inode: int = 1, magic: bytes = b"070701") -> bytes:
    fields = (inode, mode, 0, 0, nlink, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = magic + b"".join(b"%08x" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def trailer() -> bytes:
    return newc(b"TRAILER!!!", 0, b"", inode=0)


def archive(files: Sequence[File]) -> bytes:
    return b"".join(file.in_archive(number) for number, file in enumerate(files, 1)) + trailer()


def section(tags: Mapping[int, tuple[int, Value]]) -> bytes:
    """A header section from tag -> (type, value)."""
    store, index = b"", b""
    for tag, (kind, value) in sorted(tags.items()):
        raw, count = _encode(kind, value)
        align = {3: 2, 4: 4, 5: 8}.get(kind, 1)
        store += bytes(-len(store) % align)
        index += struct.pack(">IIII", tag, kind, len(store), count)
        store += raw
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(index) // 16, len(store)) + index + store


def _encode(kind: int, value: Value) -> tuple[bytes, int]:
    if kind == 7:
        assert isinstance(value, bytes)
        return value, len(value)
    values = [value] if isinstance(value, (int, str, bytes)) else list(value)
    if kind in (6, 8, 9):
        return b"".join(str(text).encode() + b"\0" for text in values), len(values)
    return b"".join(struct.pack({3: ">H", 4: ">I", 5: ">Q"}[kind], number) for number in values), len(values)


def tags_of(files: Sequence[File], compressor: str) -> dict[int, tuple[int, Value]]:
    tags: dict[int, tuple[int, Value]] = {
        1000: (6, "thing-dkms"), 1001: (6, "1.2.3"), 1002: (6, "1"), 1004: (9, "A thing"), 1005: (9, "Longer"),
        1006: (4, 1_700_000_000), 1007: (6, "host.invalid"), 1014: (6, "GPL-2.0"), 1022: (6, "noarch"),
        1024: (6, "echo postin"), 1124: (6, "cpio"), 5011: (4, 8),
    }
    if compressor != "none":
        tags[1125] = (6, compressor)
    if files:
        folders = sorted({file.path.rpartition("/")[0] + "/" for file in files})
        tags |= {
            1028: (4, [f.said_size for f in files]),
            1030: (3, [f.mode & 0xFFFF for f in files]),
            1034: (4, [1_600_000_000] * len(files)),
            1035: (8, [hashlib.sha256(f.data).hexdigest() if stat.S_ISREG(f.mode) else "" for f in files]),
            1036: (8, [f.linkto for f in files]),
            1037: (4, [f.flags for f in files]),
            1096: (4, [f.inode or number for number, f in enumerate(files, 1)]),
            1116: (4, [folders.index(f.path.rpartition("/")[0] + "/") for f in files]),
            1117: (8, [f.path.rpartition("/")[2] for f in files]),
            1118: (8, folders),
        }
    return tags


def build(
    files: Sequence[File] = (),
    *,
    compressor: str = "none",
    payload: bytes | None = None,
    tags: Mapping[int, tuple[int, Value] | None] | None = None,
    signatures: Mapping[int, tuple[int, Value]] | None = None,
) -> bytes:
    """A whole RPM; `payload` replaces the archive, `tags` the header's tags (None drops one)."""
    merged: dict[int, tuple[int, Value] | None] = {**tags_of(files, compressor), **(tags or {})}
    header = section({tag: value for tag, value in merged.items() if value is not None})
    signed = section(signatures or {})
    packed = COMPRESS[compressor](archive(files) if payload is None else payload)
    return LEAD + signed + bytes(-len(signed) % 8) + header + packed


GOOD = (
    File("/usr/src/t", mode=FOLDER, nlink=3),
    File("/usr/src/t/a.c", b"int a;\n"),
    File("/usr/src/t/run", b"#!/bin/sh\n", stat.S_IFREG | 0o6755),
    File("/usr/src/t/l", linkto="a.c", mode=LINK),
)


def save(folder: Path, data: bytes) -> Path:
    path = folder / "p.rpm"
    path.write_bytes(data)
    return path


def refused(folder: Path, data: bytes, **settings: int) -> str:
    """The reason why a package is refused; nothing may be left of it."""
    path, out = save(folder, data), folder / "out"
    before = sorted(folder.rglob("*"))
    with pytest.raises(FoundryError) as caught:
        rpmpayload.unpack(path, rpm.read_package(path), out, **settings)
    assert sorted(folder.rglob("*")) == before
    return caught.value.reason
