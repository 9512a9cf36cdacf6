"""Unified diffs of files with any bytes, as ``patch -p1`` and ``git apply`` take them.

Lines end with a line feed and nothing else: a carriage return, a form feed or a zero is
part of its line. The form is that of GNU diffutils' manual, "Detailed Description of
Unified Format", below git's own first line (git-diff, "Generating patch text with -p"):
with it an empty result is an empty file, and without it a file that is to be deleted.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence

_NO_NEWLINE = b"\n\\ No newline at end of file\n"
_plain_name = re.compile(rb"[A-Za-z0-9._+/@%,=~-]+")
_MARKS = {"equal": (b" ", b""), "delete": (b"-", b""), "insert": (b"", b"+"), "replace": (b"-", b"+")}


def unified_diff(name: str, old: bytes, new: bytes) -> bytes:
    """How the file `name` (relative, ``/`` between parts) becomes `new`; empty when it stays as it is."""
    if old == new:
        return b""
    before, after = quoted("a/" + name), quoted("b/" + name)
    head = b"diff --git %s %s\n--- %s\n+++ %s\n" % (before, after, before, after)
    return head + b"".join(_hunks(_lines(old), _lines(new)))


def quoted(name: str) -> bytes:
    """A name as both programs read it: in quotes and with octal escapes where it has anything unusual."""
    raw = os.fsencode(name)
    if _plain_name.fullmatch(raw):
        return raw
    parts = [bytes([byte]) if _plain_name.fullmatch(bytes([byte])) else b"\\%03o" % byte for byte in raw]
    return b'"' + b"".join(parts) + b'"'


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + parts[-1:] * bool(parts[-1])


def _hunks(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[bytes]:
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes():
        yield b"@@ -%s +%s @@\n" % (
            _range(group[0][1], group[-1][2]), _range(group[0][3], group[-1][4])
        )
        for kind, old_from, old_to, new_from, new_to in group:
            less, more = _MARKS[kind]
            if less:
                yield from _marked(less, old[old_from:old_to])
            if more:
                yield from _marked(more, new[new_from:new_to])


def _marked(mark: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + (line if line.endswith(b"\n") else line + _NO_NEWLINE)


def _range(start: int, stop: int) -> bytes:
    """First line and number of lines; of no lines, the line before them."""
    count = stop - start
    return b"%d" % (start + 1) if count == 1 else b"%d,%d" % (start + bool(count), count)
