"""A package of today's rpmbuild in the form of rpm 4.11, which is what the vendor's packages have.

That rpm put no digest of the payload into the header, so that a signature over the header alone
vouches for nothing else, and gave folders the size that they had on disk. The signature header is
written anew, with the vendor's tags (rpm, docs/manual/format_v4.md and format_header.md).
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Mapping

from foundry.formats.packages import rpm, rpmheader
from foundry.formats.packages.rpmheader import BINARY, INT16, INT32, INT64, STRING, Section, Tag
from foundry.sandbox.openpgp3 import SecretKey, sign

# include/rpm/rpmtag.h; the archive's size is a tag of the signature header, the regions one of either
SIGNATURE_REGION, HEADER_REGION, ARCHIVE_SIZE, PAYLOAD_DIGEST_UNPACKED = 62, 63, 1007, 5097
LEAD = 96  # bytes
_NEWER = (Tag.PAYLOAD_DIGEST, Tag.PAYLOAD_DIGEST_ALGORITHM, PAYLOAD_DIGEST_UNPACKED)
_FOLDER_SIZE = 4096  # bytes, on the usual file systems
_WIDTHS = {INT16: 2, INT32: 4, INT64: 8}  # bytes of a value, to which it is aligned; of all others 1
_ENTRY = struct.Struct(">IIiI")
Value = tuple[int, int, bytes]  # type, count, bytes


def signed(data: bytes, key: SecretKey, created: int) -> bytes:
    """The package file `data` in the old form, signed by `key` at `created` (seconds since 1970).

    The signatures are of version 3: one over the header, one over header and payload.
    Raises FoundryError (``rpm-damaged``) for what is no package.
    """
    start, end = rpm.parse_package(data).header_range
    header = section(HEADER_REGION, _older(rpmheader.parse(data, start, "header")))
    content = header + data[end:]
    archive_size = values(rpmheader.parse(data, LEAD, "signature header"))[ARCHIVE_SIZE]
    signatures = section(SIGNATURE_REGION, {
        Tag.RSA_HEADER: _binary(sign(header, key, created)),
        Tag.SHA1_HEADER: (STRING, 1, hashlib.sha1(header, usedforsecurity=False).hexdigest().encode() + b"\0"),
        Tag.SIZE: (INT32, 1, struct.pack(">I", len(content))),
        Tag.PGP: _binary(sign(content, key, created)),
        Tag.MD5: _binary(hashlib.md5(content, usedforsecurity=False).digest()),
        ARCHIVE_SIZE: archive_size,
    })
    return data[:LEAD] + signatures + bytes(-len(signatures) % 8) + content


def values(parsed: Section) -> dict[int, Value]:
    """All tags of a section but its region, which says nothing of the package."""
    return {
        tag: (kind, count, _raw(parsed, tag)) for tag, (kind, _, count) in parsed.index.items()
        if tag not in (SIGNATURE_REGION, HEADER_REGION)
    }


def section(region: int, tags: Mapping[int, Value]) -> bytes:
    """A header section, all of it inside the `region`, as it is in the files that rpm writes."""
    index, store = b"", b""
    for tag, (kind, count, raw) in sorted(tags.items()):
        store += bytes(-len(store) % _WIDTHS.get(kind, 1))
        index += _ENTRY.pack(tag, kind, len(store), count)
        store += raw
    entries = len(tags) + 1
    # the region's entry comes first; its value comes last and tells how far back the index begins
    index = _ENTRY.pack(region, BINARY, len(store), _ENTRY.size) + index
    store += _ENTRY.pack(region, BINARY, -entries * _ENTRY.size, _ENTRY.size)
    return rpmheader.MAGIC + bytes(4) + struct.pack(">II", entries, len(store)) + index + store


def _older(header: Section) -> dict[int, Value]:
    """The header's tags without what rpm 4.11 did not know, and with the sizes of folders."""
    columns = zip(header.numbers(Tag.FILE_MODES), header.numbers(Tag.FILE_SIZES), strict=True)
    sizes = [_FOLDER_SIZE if stat.S_ISDIR(mode) else size for mode, size in columns]
    kept = {tag: value for tag, value in values(header).items() if tag not in _NEWER}
    return {**kept, Tag.FILE_SIZES: (INT32, len(sizes), struct.pack(f">{len(sizes)}I", *sizes))}


def _raw(parsed: Section, tag: int) -> bytes:
    kind, offset, count = parsed.index[tag]
    if kind in (BINARY, *_WIDTHS):
        return parsed.store[offset : offset + count * _WIDTHS.get(kind, 1)]
    return b"".join(text + b"\0" for text in parsed.strings(tag))


def _binary(data: bytes) -> Value:
    return BINARY, len(data), data
