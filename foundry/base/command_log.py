"""What a command prints, as a log takes it: no control characters, the beginning and the end of what has no end."""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from typing import IO

_HEAD, _TAIL = 8 << 20, 8 << 20  # bytes
_CHUNK = 1 << 16
# C0 without tab and newline, DEL, and C1 in UTF-8: terminals and log viewers act on them (ECMA-48).
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def visible(data: bytes) -> bytes:
    """The bytes with a question mark for each control character; other ends of lines become newlines."""
    return _CONTROLS.sub(b"?", data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))


def copy(source: IO[bytes], sink: IO[bytes]) -> None:
    """Write what `source` gives to the log until it ends; of more than 16 MiB the first and the last eight.

    Where the log can't be written any more `source` is read all the same: who writes there must not wait.
    """
    def write(*chunks: bytes) -> None:
        with suppress(OSError, ValueError):  # the disk is full; the log was closed
            sink.writelines(chunks)
            sink.flush()

    written, left_out, kept = 0, 0, 0
    tail: deque[bytes] = deque()
    rest = b""
    while chunk := source.read1(_CHUNK):  # type: ignore[attr-defined]  # a pipe is buffered
        chunk = rest + chunk
        rest = chunk[-1:] if chunk[-1:] in (b"\xc2", b"\r") else b""  # half of something
        chunk = visible(chunk[:len(chunk) - len(rest)])
        if written < _HEAD:
            write(chunk)
            written += len(chunk)
            continue
        tail.append(chunk)
        kept += len(chunk)
        while kept - len(tail[0]) >= _TAIL:
            left_out += len(tail[0])
            kept -= len(tail.popleft())
    if left_out:
        write(f"\n… {left_out} bytes are left out here …\n".encode())
    write(*tail, visible(rest))
