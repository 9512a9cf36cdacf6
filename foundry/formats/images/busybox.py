"""Which BusyBox an image has: the version in its program, from a layer that arrives as a stream.

The program is a file, or a hard link to the first of its applets in the layer (Docker's official image). Its
first line of help begins with ``BusyBox v1.36.1 (`` (busybox, libbb/messages.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images import layers
from foundry.formats.images.layers import ABSENT, FILE, HIDDEN, State
from foundry.formats.trees.tarstream import Kind

PATHS = ("bin/busybox", "usr/bin/busybox")
_MAX_PROGRAM = 16 << 20  # bytes
_MAX_LAYER = 1 << 30  # bytes, unpacked
_MOST_PROGRAMS = 2000  # files that may be what a hard link names
_MOST_VERSIONS = 100  # in one of them, where one is right
_version = re.compile(rb"BusyBox v([0-9]{1,4}(?:\.[0-9]{1,6}){1,3})(?![0-9.])")


@dataclass(frozen=True)
class Found:
    """The answer of one layer; `versions` are those in the program, for FILE alone."""

    kind: State
    versions: frozenset[str] = frozenset()


def look(chunks: Iterator[bytes]) -> Found:
    """What a layer says of BusyBox's program; all chunks are taken unless it is there.

    Raises FoundryError ``layer-…``, as `layers.look` does.
    """
    wanted = [layers.parts_of(path.encode()) for path in PATHS]
    programs: dict[tuple[bytes, ...], frozenset[str]] = {}
    hidden: set[tuple[bytes, ...]] = set()
    for member, tar in layers.members(chunks, _MAX_LAYER):
        name = layers.parts_of(member.name)
        if member.kind is Kind.FILE and member.size <= _MAX_PROGRAM and len(programs) < _MOST_PROGRAMS:
            programs[name] = _versions(tar.read())
        if name in wanted and member.kind in (Kind.FILE, Kind.HARDLINK):
            target = name if member.kind is Kind.FILE else layers.parts_of(member.link)
            if target not in programs:
                raise FoundryError("its busybox is no program of a sensible size in the layer",
                                   reason=Reason.LAYER_NOT_A_FILE)
            return Found(FILE, programs[target])
        hidden |= {one for one in wanted if layers.hides(name, member.kind, one)}
    return Found(HIDDEN if len(hidden) == len(wanted) else ABSENT)


def _versions(program: bytes) -> frozenset[str]:
    return frozenset(one[1].decode() for one in islice(_version.finditer(program), _MOST_VERSIONS))
