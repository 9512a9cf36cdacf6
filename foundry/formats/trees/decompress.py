"""Compressed bytes in, a bounded stream of plain bytes out.

Everything that can go wrong inside a decompressor (damage, a cut-off stream,
a window that wants too much memory, a bomb) becomes one FoundryError.
"""

from __future__ import annotations

import io
import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from foundry.base.errors import FoundryError, OutsideError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 18
_MAGIC = 6  # bytes of the longest magic number, that of xz
_MEMORY = 256 << 20  # bytes that a decompressor may take for its window
_ZSTD_WINDOW = 1 << 27  # what `zstd --long` uses; rpm's levels stay below
_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: a gzip header and trailer
# Input that is decompressed in one step. gzip hands over at most _CHUNK a step however dense the input; the slice
# bounds what is copied behind each of many small members. zstd has no such bound: 4 bytes can become 128 KiB
# (RFC 8878, 3.1.1.2: an RLE block), so that 2 KiB become 64 MiB at most.
_GZIP_SLICE, _ZSTD_SLICE = 1 << 14, 1 << 11
_STREAMS = 10_000  # of bzip2 or xz; parallel compressors make one for 100 kB and more

_Pull = Callable[[int], bytes]


@dataclass(frozen=True)
class Blame:
    """How to speak of the data when it is no good: its name, the reason when damaged, the reason when too large."""

    what: str
    damaged: str
    too_large: str


class _Step(Protocol):
    """What `lzma` and `bz2` decompressor objects have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def kind_of(data: bytes) -> str:
    """The compressor that `data` was made with, by its first bytes; ``none`` when they say nothing."""
    magics = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
    return next((kind for magic, kind in magics.items() if data.startswith(magic)), "none")


def opened(data: bytes, kind: str, *, limit: int, blame: Blame) -> io.BufferedReader:
    """A stream of what `data` holds once decompressed.

    `kind` is ``gzip``, ``xz``, ``lzma``, ``bzip2``, ``zstd`` or ``none``. Reading raises
    FoundryError: with reason `blame.damaged` when the bytes are not what `kind` says, with
    reason `blame.too_large` after `limit` bytes.
    """
    return io.BufferedReader(_Bounded(_pull(data, kind, blame), limit, kind, blame), _CHUNK)


def stream(chunks: Iterator[bytes], *, limit: int, blame: Blame) -> Iterator[bytes]:
    """What a stream of gzip, zstd or plain bytes holds, in pieces of at most 64 MiB.

    The first bytes say which it is; xz, lzma and bzip2 count as damage. gzip may have several
    members and zeros behind them, zstd several frames and skippable ones. A chunk is taken
    only when all that the ones before it hold has been handed over. Not more than `limit`
    bytes are taken or handed over. Raises FoundryError as `opened` does, and what `chunks` raises.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _MAGIC:
            break
    kind = "zstd" if _skippable(head) else kind_of(head)
    taken = _counted(itertools.chain([head], chunks), limit, blame)
    if kind == "none":
        return taken
    if kind == "gzip":
        return _counted(_gunzip(taken, blame), limit, blame)
    if kind == "zstd":
        return _counted(_unzstd(taken, blame), limit, blame)
    raise FoundryError(f"{blame.what} is compressed with {kind}, which is not supported", reason=blame.damaged)


def _skippable(head: bytes) -> bool:
    """RFC 8878, 3.1.2: the magic numbers 0x184D2A50 to 0x184D2A5F."""
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50  # noqa: PLR2004 - as above


def _counted(pieces: Iterator[bytes], limit: int, blame: Blame) -> Iterator[bytes]:
    left = limit
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _too_large(blame, limit)
        yield piece


def _sliced(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), size):
            yield chunk[at : at + size]


def _gunzip(chunks: Iterator[bytes], blame: Blame) -> Iterator[bytes]:
    step, ended = zlib.decompressobj(_GZIP), False
    for data in _sliced(chunks, _GZIP_SLICE):
        fed = data
        while fed:
            if ended:
                fed = fed.lstrip(b"\0")
                if not fed:
                    break
                step, ended = zlib.decompressobj(_GZIP), False
            while True:
                try:
                    piece = step.decompress(fed, _CHUNK)
                except zlib.error as error:
                    raise _damaged(blame, "gzip", str(error)) from error
                fed, ended = step.unused_data if step.eof else step.unconsumed_tail, step.eof
                if piece:
                    yield piece
                if ended or len(piece) < _CHUNK:  # else zlib may still hold some, even if all input is taken
                    break
    if not ended:
        raise _damaged(blame, "gzip", "it is cut off")


def _unzstd(chunks: Iterator[bytes], blame: Blame) -> Iterator[bytes]:
    zstandard = _zstandard()
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    step: Any = None
    for data in _sliced(chunks, _ZSTD_SLICE):
        fed = data
        while fed:
            step = step or context.decompressobj()
            try:
                piece = step.decompress(fed)
            except zstandard.ZstdError as error:
                raise _damaged(blame, "zstd", str(error)) from error
            fed = b""
            if step.eof:
                fed, step = step.unused_data, None
            if piece:
                yield piece
    if step is not None:
        raise _damaged(blame, "zstd", "it is cut off")


def _damaged(blame: Blame, kind: str, why: str) -> FoundryError:
    return FoundryError(f"{blame.what} is damaged: its {kind} data can't be read ({why})", reason=blame.damaged)


def _too_large(blame: Blame, limit: int) -> FoundryError:
    return FoundryError(f"{blame.what} holds more than {limit} bytes once decompressed", reason=blame.too_large)


class _Bounded(io.RawIOBase):
    def __init__(self, pull: _Pull, limit: int, kind: str, blame: Blame) -> None:
        self._pull, self._left, self._limit, self._kind, self._blame = pull, limit, limit, kind, blame

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._pull(len(view))
        except Exception as error:  # zlib, lzma, bz2 and zstandard each have an error class of their own
            raise _damaged(self._blame, self._kind, str(error) or type(error).__name__) from error
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._blame, self._limit)
        view[: len(data)] = data
        return len(data)


def _pull(data: bytes, kind: str, blame: Blame) -> _Pull:
    if kind == "none":
        return io.BytesIO(data).read
    if kind == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=io.BytesIO(data)).read1
    if kind in ("xz", "lzma"):
        import lzma

        form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
        return _stepper(lambda: lzma.LZMADecompressor(form, memlimit=_MEMORY), data)
    if kind == "bzip2":
        import bz2

        return _stepper(bz2.BZ2Decompressor, data)
    if kind == "zstd":
        return _zstd(data)
    raise FoundryError(f"{blame.what} is compressed with {kind!r}, which is not supported", reason=blame.damaged)


def _stepper(begin: Callable[[], _Step], data: bytes) -> _Pull:
    """All streams in `data`, one after the other as parallel compressors write them, with zeros between or behind."""
    source, step, streams = io.BytesIO(data), begin(), 1

    def pull(size: int) -> bytes:
        nonlocal step, streams
        while True:
            while not step.eof:
                fed = source.read(_CHUNK) if step.needs_input else b""
                if step.needs_input and not fed:
                    raise EOFError("the stream is cut off")
                if out := step.decompress(fed, size):
                    return out
            source.seek(-len(step.unused_data), os.SEEK_CUR)
            while (fed := source.read(_CHUNK)) and not fed.strip(b"\0"):
                pass
            if not fed:
                return b""
            source.seek(-len(fed.lstrip(b"\0")), os.SEEK_CUR)
            if streams == _STREAMS:
                raise EOFError(f"it has more than {_STREAMS} streams")
            step, streams = begin(), streams + 1

    return pull


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise OutsideError(
            "the Python package zstandard is not installed", reason="tool-missing", hint="run `doit doctor`"
        ) from error
    return zstandard


def _zstd(data: bytes) -> _Pull:
    zstandard = _zstandard()
    # It does not tell a frame that is cut off from one that ends: the reader of the archive inside does.
    frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(data, read_across_frames=False)
    read: _Pull = frame.read
    return read
