"""What a command prints, as a log takes it: plain text, the beginning and the end of what has no end."""

from __future__ import annotations

import codecs
import io
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from foundry.base.plain_text import ACTED_ON, hidden, longest_secret

_HEAD, _TAIL = 8 << 20, 8 << 20  # bytes
_CHUNK = 1 << 16


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
    for chunk in _plain(source):
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
    write(*tail)


def _plain(source: IO[bytes]) -> Iterator[bytes]:
    """What `source` gives as plain text, in which other ends of lines are newlines; some of it waits for what follows.

    That is half of a character or of an end of line, and what may be the beginning of a secret.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    waiting = ""
    while chunk := source.read1(_CHUNK):  # type: ignore[attr-defined]  # a pipe is buffered
        waiting = hidden(waiting + decoder.decode(chunk))
        ready = len(waiting) - max(0, longest_secret() - 1)
        if ready > 0:
            yield ACTED_ON.sub("?", waiting[:ready]).encode()
            waiting = waiting[ready:]
    yield ACTED_ON.sub("?", hidden(waiting + decoder.decode(b"", final=True))).encode()
