"""Debian packages: what the control file says, the maintainer scripts, and the payload as a tree of files.

A package is an ar archive of ``debian-binary``, ``control.tar*`` and ``data.tar*`` (deb(5)).
Nothing in it vouches for it: its SHA-256 must be known beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.times import within_32_bits
from foundry.formats.trees import sourcetree

MAX_FILE = 512 << 20  # bytes of a package file
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

_MAGIC = b"!<arch>\n"
_HEADER = 60
_END = b"`\n"
_control = re.compile(r"control\.tar(\.\w+)?")
_data = re.compile(r"data\.tar(\.\w+)?")
_field = re.compile(r"([A-Za-z0-9-]+):[ \t]*(.*)")
_token = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]{0,199}")
_number = re.compile(rb"([0-9]*) *")
_MAX_CONTROL = 8 << 20  # bytes of the control archive, unpacked
_MOST_MEMBERS = 16  # deb(5) has three, and lets others be


@dataclass(frozen=True)
class DebPackage:
    """What a package says of itself; `version` without epoch, `build_time` in seconds since 1970."""

    name: str
    version: str
    arch: str
    build_time: int
    scripts: Mapping[str, str] = field(repr=False, hash=False)
    payload: memoryview = field(repr=False, hash=False, compare=False)


def parse_deb(data: bytes) -> DebPackage:
    """The package in `data`; FoundryError (``deb-damaged``) for anything that is no whole one."""
    members = _members(data)
    names = list(members)
    if not names or names[0] != "debian-binary" or not bytes(members[names[0]][1]).startswith(b"2."):
        raise _damaged("it is of no form that is known")
    control = _one(names, _control, "control archive")
    files = sourcetree.read_small(members[control][1], limit=_MAX_CONTROL, what="the package's control archive")
    fields = _fields(files.get("control", b"").decode(errors="replace"))
    for name in ("Package", "Version", "Architecture"):
        if not _token.fullmatch(fields.get(name, "")):
            raise _damaged(f"its {name} is {fields.get(name, '')[:40]!r}")
    return DebPackage(
        fields["Package"], fields["Version"].rpartition(":")[2], fields["Architecture"], members[names[0]][0],
        {name: files[name].decode(errors="replace") for name in SCRIPTS if name in files},
        members[_one(names, _data, "payload")][1],
    )


def unpack_deb(package: DebPackage, dest: Path) -> list[str]:
    """Write the payload below the new folder `dest`; the paths written. Raises as `sourcetree.unpack_tar` does."""
    return sourcetree.unpack_tar(package.payload, dest, what="the package's payload")


def _members(data: bytes) -> dict[str, tuple[int, memoryview]]:
    """Time and content of the archive's members by name, in their order."""
    if not data.startswith(_MAGIC):
        raise _damaged("it does not begin like one")
    view, at = memoryview(data), len(_MAGIC)
    found: dict[str, tuple[int, memoryview]] = {}
    while at < len(data):
        header = data[at:at + _HEADER]
        if len(header) < _HEADER or not header.endswith(_END):
            raise _damaged(f"there is no member at byte {at}")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        time, digits = (_number.fullmatch(one) for one in (header[16:28], header[48:58]))
        if time is None or digits is None or not digits[1]:
            raise _damaged("a member's header can't be read")
        size = int(digits[1])
        at += _HEADER
        if at + size > len(data) or name in found:
            raise _damaged(f"its member {name[:40]!r} is cut off or there twice")
        if len(found) == _MOST_MEMBERS:
            raise _damaged(f"it has more than {_MOST_MEMBERS} members")
        found[name] = (within_32_bits(int(time[1] or 0)), view[at:at + size])
        at += size + size % 2
    return found


def _one(names: list[str], pattern: re.Pattern[str], what: str) -> str:
    fitting = [name for name in names if pattern.fullmatch(name)]
    if len(fitting) != 1:
        raise _damaged(f"it has {len(fitting) or 'no'} {what}")
    return fitting[0]


def _fields(text: str) -> dict[str, str]:
    matches = (_field.match(line) for line in text.split("\n\n", maxsplit=1)[0].splitlines())
    return {match.group(1): match.group(2).strip() for match in matches if match is not None}


def _damaged(why: str) -> FoundryError:
    return FoundryError(f"the Debian package is damaged: {why}", reason=Reason.DEB_DAMAGED,
                        hint="delete it and fetch it again")
