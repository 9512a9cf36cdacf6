"""RPM packages: what the header says, and the payload as a tree of files.

A package file is a 96-byte lead (obsolete, its content decides nothing), the
signature header padded to 8 bytes, the header, the compressed cpio payload
(rpm, docs/manual/format_v4.md). Re-signing replaces the signature header
only, so a package's identity is the hash of everything behind it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import open_file
from foundry.base.reasons import Reason
from foundry.base.times import within_32_bits
from foundry.formats.packages import rpmheader
from foundry.formats.packages.rpmheader import Section, Tag, damaged
from foundry.formats.trees import decompress

MAX_FILE = 512 << 20  # bytes of a package file
MAX_UNPACKED = 2 << 30  # bytes of a payload, decompressed and written
GHOST = 1 << 6  # file flag: named in the header, not in the payload (rpm, include/rpm/rpmfiles.h)

_LEAD = 96
_LEAD_MAGIC = b"\xed\xab\xee\xdb"
_SCRIPTS = {"prein": Tag.PRE_IN, "postin": Tag.POST_IN, "preun": Tag.PRE_UN, "postun": Tag.POST_UN}
_SHA256 = 8
_DIGESTS = {1: "md5", 2: "sha1", _SHA256: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}  # RFC 4880, 9.4
_token = re.compile(r"[A-Za-z0-9._+~^-]{1,200}")


@dataclass(frozen=True)
class FileEntry:
    """One file as the header describes it: absolute path, `st_mode`, bytes, hex digest, seconds since 1970.

    `inode` is equal for hard links of one file; `digest` is empty for all but regular files.
    """

    path: str
    mode: int
    size: int
    digest: str
    linkto: str
    flags: int
    mtime: int
    inode: int = 0

    @property
    def ghost(self) -> bool:
        """Whether the file belongs to the package but is not in the payload."""
        return bool(self.flags & GHOST)


@dataclass(frozen=True)
class Package:
    """What an RPM says of itself; nothing of it is proven until the signature is verified.

    `header_range` are the byte offsets of the header, as in ``rpm:header-range`` of a
    repository. `content_sha256` covers all bytes from there to the end of the file.
    `signature` covers the same bytes, `header_signature` the header alone, which vouches
    for the payload through `payload_sha256` (empty when the header has none).
    """

    name: str
    epoch: int | None
    version: str
    release: str
    arch: str
    license: str
    summary: str
    description: str
    packager: str
    vendor: str
    url: str
    build_time: int
    build_host: str
    header_range: tuple[int, int]
    content_sha256: str
    signature: bytes | None
    header_signature: bytes | None
    payload_sha256: str
    payload_format: str
    payload_compressor: str
    digest_algorithm: str
    files: tuple[FileEntry, ...] = field(repr=False)
    scripts: Mapping[str, str] = field(repr=False, hash=False)

    @property
    def nevra(self) -> str:
        """``name-version-release.arch``."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}"


def read_package(path: Path) -> Package:
    """The package at `path`; FoundryError (``rpm-damaged``) for anything that is no whole RPM."""
    return parse_package(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a package file, at most `MAX_FILE`; FoundryError (``rpm-unreadable``, ``rpm-too-large``)."""
    try:
        with open_file(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(MAX_FILE + 1) if size <= MAX_FILE else b""
    except OSError as error:
        raise FoundryError(f"{path} can't be read: {error.strerror}", reason=Reason.RPM_UNREADABLE) from error
    if max(size, len(data)) > MAX_FILE:
        raise FoundryError(f"{path} has more than {MAX_FILE} bytes", reason=Reason.RPM_TOO_LARGE)
    return data


def content_sha256(data: bytes) -> str:
    """The hash that identifies a package, of which nothing but the place of the header is read for it."""
    end = rpmheader.end_of(data, _LEAD, "signature header")
    return hashlib.sha256(memoryview(data)[end + -end % 8 :]).hexdigest()


def parse_package(data: bytes) -> Package:
    """`read_package` for bytes that are already in memory."""
    if not data.startswith(_LEAD_MAGIC):
        raise damaged("it does not begin like one")
    content = content_sha256(data)
    signatures = rpmheader.parse(data, _LEAD, "signature header")
    header = rpmheader.parse(data, signatures.end + -signatures.end % 8, "header")
    _check_digests(data, signatures, header)
    return Package(
        name=_name(header, Tag.NAME, "name"),
        epoch=header.number(Tag.EPOCH),
        version=_name(header, Tag.VERSION, "version"),
        release=_name(header, Tag.RELEASE, "release"),
        arch=_name(header, Tag.ARCH, "arch"),
        license=header.text(Tag.LICENSE),
        summary=header.text(Tag.SUMMARY),
        description=header.text(Tag.DESCRIPTION),
        packager=header.text(Tag.PACKAGER),
        vendor=header.text(Tag.VENDOR),
        url=header.text(Tag.URL),
        build_time=within_32_bits(header.number(Tag.BUILD_TIME) or 0),
        build_host=header.text(Tag.BUILD_HOST),
        header_range=(header.start, header.end),
        content_sha256=content,
        signature=signatures.binary(Tag.PGP) or signatures.binary(Tag.GPG),
        header_signature=signatures.binary(Tag.RSA_HEADER) or signatures.binary(Tag.DSA_HEADER),
        payload_sha256=_payload_sha256(header),
        payload_format=header.text(Tag.PAYLOAD_FORMAT) or "cpio",
        # rpm leaves the tag out for payloads that are not compressed, and rpm 3 left it out for gzip
        payload_compressor=header.text(Tag.PAYLOAD_COMPRESSOR) or decompress.kind_of(data[header.end : header.end + 8]),
        digest_algorithm=_digest_algorithm(header),
        files=_files(header),
        scripts={name: header.text(tag) for name, tag in _SCRIPTS.items() if tag in header.index},
    )


def _name(header: Section, tag: int, what: str) -> str:
    text = header.text(tag)
    if not _token.fullmatch(text) or text in (".", ".."):
        raise damaged(f"its {what} is {text[:40]!r}")
    return text


def _check_digests(data: bytes, signatures: Section, header: Section) -> None:
    """Compare the unsigned digests of the signature header, which catch accidents, not attacks."""
    view = memoryview(data)
    head, content, payload = view[header.start : header.end], view[header.start :], view[header.end :]
    if (size := signatures.number(Tag.SIZE)) is not None and size != len(content):
        raise damaged(f"it should have {size} bytes of header and payload, not {len(content)}")
    for algorithm, said, region in (
        ("sha1", signatures.text(Tag.SHA1_HEADER), head),
        ("sha256", signatures.text(Tag.SHA256_HEADER), head),
        ("sha256", _payload_sha256(header), payload),
        ("md5", (signatures.binary(Tag.MD5) or b"").hex(), content),
    ):
        if said and said != hashlib.new(algorithm, region, usedforsecurity=False).hexdigest():
            raise damaged(f"its {algorithm} digest is wrong")


def _payload_sha256(header: Section) -> str:
    """The digest of the compressed payload, when the header has one and it is SHA-256."""
    is_sha256 = header.number(Tag.PAYLOAD_DIGEST_ALGORITHM) == _SHA256
    return header.text(Tag.PAYLOAD_DIGEST).lower() if is_sha256 else ""


def _digest_algorithm(header: Section) -> str:
    number = header.number(Tag.FILE_DIGEST_ALGORITHM) or 1
    if number not in _DIGESTS:
        raise damaged(f"its files have digests of the unknown kind {number}")
    return _DIGESTS[number]


def _files(header: Section) -> tuple[FileEntry, ...]:
    names = header.strings(Tag.BASE_NAMES)
    folders = [_path_text(folder) for folder in header.strings(Tag.DIR_NAMES)]
    places = header.numbers(Tag.DIR_INDEXES)
    if not names and Tag.OLD_FILE_NAMES in header.index:  # rpm 3
        paths = [_path_text(path) for path in header.strings(Tag.OLD_FILE_NAMES)]
    elif len(places) != len(names) or any(place >= len(folders) for place in places):
        raise damaged("its list of folders does not fit its list of files")
    else:
        paths = [folders[place] + _path_text(name) for place, name in zip(places, names, strict=True)]
    count = len(paths)
    sizes = header.numbers(Tag.LONG_FILE_SIZES) or header.numbers(Tag.FILE_SIZES)
    columns = (sizes, header.numbers(Tag.FILE_MODES), header.numbers(Tag.FILE_FLAGS), header.numbers(Tag.FILE_MTIMES))
    digests, links = header.strings(Tag.FILE_DIGESTS), header.strings(Tag.FILE_LINKS)
    inodes = header.numbers(Tag.FILE_INODES) or tuple(range(count))
    if any(len(column) != count for column in (*columns, digests, links, inodes)):
        raise damaged("its lists of files differ in length")
    if len(set(paths)) != count:
        raise damaged("it names a file twice")
    return tuple(
        FileEntry(path, mode, size, digest.decode(errors="replace").lower(), _path_text(link), flags,
                  within_32_bits(mtime), inode)
        for path, size, mode, flags, mtime, digest, link, inode
        in zip(paths, *columns, digests, links, inodes, strict=True)
    )


def _path_text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        raise FoundryError(f"the RPM has a file name that is not plain text: {raw!r}",
                           reason=Reason.PACKAGE_UNSAFE_PATH)
    return text
