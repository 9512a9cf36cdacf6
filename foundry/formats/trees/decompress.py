"""Compressed bytes in, a bounded stream of plain bytes out.

Everything that can go wrong inside a decompressor (damage, a cut-off stream,
a window that wants too much memory, a bomb) becomes one FoundryError.
"""

from __future__ import annotations

import io
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.reasons import Reason
from foundry.formats.trees.budget import Budget

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 18
MAGIC = 6  # bytes of the longest magic number, that of xz
_MEMORY = 256 << 20  # bytes that a decompressor may take for its window
_ZSTD_WINDOW = 1 << 27  # what `zstd --long` uses; rpm's levels stay below
_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: a gzip header and trailer
# Input that is decompressed in one step. All but zstd hand over at most _CHUNK a step however dense the input; the
# slice bounds what gzip copies behind each of many small members. zstd has no such bound: 4 bytes can become 128 KiB
# (RFC 8878, 3.1.1.2: an RLE block), so that 2 KiB become 64 MiB at most.
_GZIP_SLICE, _ZSTD_SLICE = 1 << 14, 1 << 11
_STREAMS = 10_000  # of bzip2 or xz; parallel compressors make one for 100 kB and more


class _Step(Protocol):
    """What decompressor objects of `lzma` and `bz2` have in common; `_Gzip` and `_Zstd` are like them."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class _Form:
    """How a compressor's data is read: a stream's reader, bytes of input in a step, what may stand between streams."""

    begin: Callable[[], _Step]
    slice: int = _CHUNK
    padding: bytes = b"\0"
    streams: float = float("inf")


def kind_of(data: bytes) -> str:
    """The compressor that `data` was made with, by its first bytes; ``none`` when they say nothing."""
    magics = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
    return next((kind for magic, kind in magics.items() if data.startswith(magic)), "none")


def opened(data: bytes, kind: str, budget: Budget) -> io.BufferedReader:
    """A stream of what `data` holds once decompressed; reading it raises as taking from `pieces` does."""
    return io.BufferedReader(_Pieces(pieces(iter([data]), kind, budget)), _CHUNK)


def pieces(chunks: Iterator[bytes | memoryview], kind: str, budget: Budget) -> Iterator[bytes]:
    """What the chunks hold once decompressed, in pieces of at most 64 MiB, a chunk taken only when it is needed.

    `kind` is ``gzip``, ``xz``, ``lzma``, ``bzip2``, ``zstd`` or ``none``. Raises FoundryError: with reason
    `budget.damaged` when the bytes are not what `kind` says, with `budget.too_large` after `budget.max_bytes` bytes;
    and what `chunks` raises.
    """
    plain = _sliced(chunks, _CHUNK) if kind == "none" else _decompressed(chunks, _form(kind, budget), kind, budget)
    for piece in plain:
        budget.unpack(len(piece))
        yield piece


def stream(chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    """What a stream of gzip, zstd or plain bytes holds, as `pieces` gives it.

    The first bytes say which it is; xz, lzma and bzip2 count as damage. gzip may have several
    members and zeros behind them, zstd several frames and skippable ones. Not more than `budget.max_bytes`
    bytes are taken or handed over.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= MAGIC:
            break
    kind = "zstd" if _skippable(head) else kind_of(head)
    if kind not in ("none", "gzip", "zstd"):
        raise _unsupported(kind, budget)
    return pieces(_counted(itertools.chain([head], chunks), budget), kind, budget)


def _skippable(head: bytes) -> bool:
    """RFC 8878, 3.1.2: the magic numbers 0x184D2A50 to 0x184D2A5F."""
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50  # noqa: PLR2004 - as above


def _counted(chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    taken = 0
    for chunk in chunks:
        taken += len(chunk)
        if taken > budget.max_bytes:
            raise budget.excess(f"has more than {budget.max_bytes} bytes")
        yield chunk


def _sliced(chunks: Iterator[bytes | memoryview], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), size):
            yield bytes(chunk[at : at + size])


def _decompressed(
    chunks: Iterator[bytes | memoryview], form: _Form, kind: str, budget: Budget
) -> Iterator[bytes]:
    """All streams in the chunks, one after the other as parallel compressors write them."""
    step, streams = form.begin(), 1
    for data in _sliced(chunks, form.slice):
        fed = data
        while True:
            if step.eof:
                fed = fed.lstrip(form.padding)
                if not fed:
                    break
                if streams == form.streams:
                    raise _damaged(budget, kind, f"it has more than {streams} streams")
                step, streams = form.begin(), streams + 1
            try:
                piece = step.decompress(fed, _CHUNK)
            except Exception as error:  # zlib, lzma, bz2 and zstandard each have an error class of their own
                raise _damaged(budget, kind, str(error) or type(error).__name__) from error
            if piece:
                yield piece
            fed = step.unused_data if step.eof else b""
            if not step.eof and step.needs_input:
                break
    if not step.eof:
        raise _damaged(budget, kind, "it is cut off")


def _damaged(budget: Budget, kind: str, why: str) -> FoundryError:
    return budget.fault(f"is damaged: its {kind} data can't be read ({why})")


def _unsupported(kind: str, budget: Budget) -> FoundryError:
    return budget.fault(f"is compressed with {kind!r}, which is not supported")


class _Pieces(io.RawIOBase):
    """The pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._piece = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        size = min(len(view), len(self._piece))
        view[:size], self._piece = self._piece[:size], self._piece[size:]
        return size


def _form(kind: str, budget: Budget) -> _Form:
    if kind == "gzip":
        return _Form(_Gzip, _GZIP_SLICE)
    if kind in ("xz", "lzma"):
        import lzma

        form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
        return _Form(lambda: lzma.LZMADecompressor(form, memlimit=_MEMORY), streams=_STREAMS)
    if kind == "bzip2":
        import bz2

        return _Form(bz2.BZ2Decompressor, streams=_STREAMS)
    if kind == "zstd":
        context = _zstandard().ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return _Form(lambda: _Zstd(context.decompressobj()), _ZSTD_SLICE, padding=b"")
    raise _unsupported(kind, budget)


class _Gzip:
    """A member of gzip's."""

    def __init__(self) -> None:
        self._step = zlib.decompressobj(_GZIP)
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._step.decompress(self._step.unconsumed_tail + data, max_length)
        self.eof, self.unused_data = self._step.eof, self._step.unused_data
        self.needs_input = len(piece) < max_length  # else zlib may still hold some, even if all input is taken
        return piece


class _Zstd:
    """A frame of zstd's; a step gives all that its input holds."""

    def __init__(self, step: Any) -> None:
        self._step = step
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, _: int = -1) -> bytes:
        piece: bytes = self._step.decompress(data)
        self.eof, self.unused_data = self._step.eof, self._step.unused_data
        return piece


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise OutsideError(
            "the Python package zstandard is not installed", reason=Reason.TOOL_MISSING, hint="run `doit doctor`"
        ) from error
    return zstandard
