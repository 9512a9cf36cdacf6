"""Compressed bytes in, a bounded stream of plain bytes out.

Everything that can go wrong inside a decompressor (damage, a cut-off stream,
a window that wants too much memory, a bomb) becomes one FoundryError.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tasks.core.errors import FoundryError, OutsideError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 18
_MEMORY = 256 << 20  # bytes that a decompressor may take for its window
_ZSTD_WINDOW = 1 << 27  # what `zstd --long` uses; rpm's levels stay below

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
            raise FoundryError(
                f"{self._blame.what} is damaged: its {self._kind} data can't be read"
                f" ({str(error) or type(error).__name__})",
                reason=self._blame.damaged,
            ) from error
        self._left -= len(data)
        if self._left < 0:
            raise FoundryError(
                f"{self._blame.what} holds more than {self._limit} bytes once decompressed",
                reason=self._blame.too_large,
            )
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
        return _stepper(lzma.LZMADecompressor(form, memlimit=_MEMORY), data)
    if kind == "bzip2":
        import bz2

        return _stepper(bz2.BZ2Decompressor(), data)
    if kind == "zstd":
        return _zstd(data)
    raise FoundryError(f"{blame.what} is compressed with {kind!r}, which is not supported", reason=blame.damaged)


def _stepper(step: _Step, data: bytes) -> _Pull:
    source = io.BytesIO(data)

    def pull(size: int) -> bytes:
        while not step.eof:
            fed = source.read(_CHUNK) if step.needs_input else b""
            if step.needs_input and not fed:
                raise EOFError("the stream is cut off")
            if out := step.decompress(fed, size):
                return out
        if step.unused_data.strip(b"\0") or source.read().strip(b"\0"):
            raise EOFError("bytes follow the end of the stream")
        return b""

    return pull


def _zstd(data: bytes) -> _Pull:
    try:
        import zstandard
    except ImportError as error:
        raise OutsideError(
            "the Python package zstandard is not installed", reason="tool-missing", hint="run `doit doctor`"
        ) from error
    # It does not tell a frame that is cut off from one that ends: the reader of the archive inside does.
    frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(data, read_across_frames=False)
    return frame.read
