"""BusyBox's source as a tarball: what it is by its bytes, and of which version.

The version stands in the top folder's Makefile, as ``VERSION``, ``PATCHLEVEL``,
``SUBLEVEL`` and ``EXTRAVERSION``, as in Linux (scripts of both: kbuild). So that another
project's tarball is not taken for BusyBox, its main header must be there, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import open_file
from foundry.base.reasons import Reason
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.decompress import kind_of, pieces
from foundry.formats.trees.tarstream import Kind, TarStream

MAX_BYTES = 32 << 20  # of the tarball; BusyBox 1.37.0 has 2.5 MB
_UNPACKED = 256 << 20
_MAKEFILE = 1 << 20
_PIECE = 1 << 18
_HEADER = b"include/libbb.h"
_SUFFIXES = {"gzip": ".tar.gz", "bzip2": ".tar.bz2", "xz": ".tar.xz"}
_assignment = re.compile(rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*:?=[ \t]*([^\s#]*)", re.MULTILINE)


def asset_name(head: bytes, version: str) -> str:
    """``busybox-1.36.1.tar.bz2``, by the first bytes of the tarball; empty when they are those of none."""
    suffix = _SUFFIXES.get(kind_of(head), "")
    return f"busybox-{version}{suffix}" if suffix else ""


def check_source(path: Path, version: str, what: str) -> str:
    """The right name of the tarball, after reading all of it; `what` is how messages call it.

    Raises FoundryError: ``busybox-damaged`` for what is no whole tarball of BusyBox's source,
    ``busybox-version`` for one of another version, ``busybox-too-large``.
    """
    with open_file(path) as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FoundryError(f"{what} has more than {MAX_BYTES} bytes", reason=Reason.BUSYBOX_TOO_LARGE)
    name = asset_name(data[:_PIECE], version)
    if not name:
        raise FoundryError(f"{what} is no .tar.gz, .tar.bz2 or .tar.xz tarball", reason=Reason.BUSYBOX_DAMAGED)
    found = _version(data, what)
    if found != version:
        raise FoundryError(f"{what} is the source of BusyBox {found}, not {version}", reason=Reason.BUSYBOX_VERSION)
    return name


def _version(data: bytes, what: str) -> str:
    budget = Budget(what, Reason.BUSYBOX_DAMAGED, Reason.BUSYBOX_TOO_LARGE, _UNPACKED)
    tarball = TarStream(pieces(iter([data]), kind_of(data), budget), budget)
    makefile, header, tops = b"", False, set[bytes]()
    for member in tarball:
        top, _, name = member.name.removeprefix(b"./").partition(b"/")
        tops |= {top} - {b""}  # the folder . itself
        if len(tops) > 1:
            break
        header |= member.kind is Kind.FILE and name == _HEADER
        if member.kind is Kind.FILE and name == b"Makefile" and member.size <= _MAKEFILE:
            makefile = tarball.read()
    if len(tops) > 1 or not header or not makefile:
        raise FoundryError(f"{what} is not the source of BusyBox", reason=Reason.BUSYBOX_DAMAGED)
    parts = {key.decode(): value.decode("ascii", "replace") for key, value in _assignment.findall(makefile)}
    number = ".".join(parts.get(name, "?") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    return f"{number}{parts.get('EXTRAVERSION', '')}"
