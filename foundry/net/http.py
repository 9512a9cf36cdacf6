"""Downloads: whole, checked, tried again when that can help.

Every function takes a final URL (``http``, ``https``, or ``file`` for a local
folder). What is asked for arrives as it is stored: no content decoding.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from foundry.base.errors import FoundryError, from_os
from foundry.base.files import append_to, atomic, open_file
from foundry.base.reasons import Reason
from foundry.net.redirects import followed
from foundry.net.transport import (
    FIRST_WAIT,
    NOT_MODIFIED,
    OK,
    TOTAL_SECONDS,
    Attempt,
    RetryableError,
    RetryPolicy,
    new_session,
    refuse,
    shown,
    with_retries,
)

if TYPE_CHECKING:
    import requests

__all__ = ["TOTAL_SECONDS", "Validators", "download", "get", "get_if_changed", "shown"]
_CHUNK = 1 << 16


def download(
    url: str,
    dest: Path,
    *,
    sha256: str | None,
    max_bytes: int,
    timeout: tuple[float, float] = (10, 60),
    retries: int = 3,
    total: float = TOTAL_SECONDS,
    first: float = FIRST_WAIT,
    log: Path | None = None,
) -> int:
    """Fetch `url` to `dest`, which appears whole and with the right digest or not at all; its size in bytes.

    `timeout` is for connecting and between two bytes, `total` for everything, in seconds.
    `retries` further attempts follow connection errors, 5xx, 429 and cut-off answers, after `first` seconds
    and then twice as long each time.

    Raises FoundryError ``digest-mismatch``, OutsideError ``http-unreachable``, ``http-timeout``,
    ``http-truncated``, ``http-too-large``, ``http-404``, ``http-status``, ``file-missing``, ``url-unsupported``.
    """
    policy = RetryPolicy(*timeout, total, retries, first=first)
    try:
        with atomic(dest) as sink:
            size, digest = _fetch(url, sink, max_bytes, policy, log)
            _compare(url, digest, sha256, log)
    except OSError as error:
        raise from_os(error, doing=f"can't write {dest}", log=log) from error
    return size


def get(
    url: str,
    *,
    max_bytes: int,
    timeout: tuple[float, float] = (10, 60),
    retries: int = 3,
    total: float = TOTAL_SECONDS,
    log: Path | None = None,
) -> bytes:
    """The bytes at `url`; errors and settings are those of `download`."""
    sink = io.BytesIO()
    _fetch(url, sink, max_bytes, RetryPolicy(*timeout, total, retries), log)
    return sink.getvalue()


@dataclass(frozen=True)
class Validators:
    """What a server says to tell one state of a document from another (RFC 9110, 8.8); empty where it says nothing."""

    etag: str = ""
    modified: str = ""

    def headers(self) -> dict[str, str]:
        """Those of a request that is answered by 304 when nothing changed."""
        pairs = (("If-None-Match", self.etag), ("If-Modified-Since", self.modified))
        return {name: value for name, value in pairs if value}


def get_if_changed(
    url: str, seen: Validators, *, max_bytes: int, total: float = TOTAL_SECONDS, log: Path | None = None
) -> tuple[bytes | None, Validators]:
    """The bytes at `url`, or None where the server says that they are as when it gave `seen`; and what it says now.

    One request; errors and settings are those of `download`. A ``file`` URL is always read.
    """
    sink = io.BytesIO()

    def once(attempt: Attempt) -> tuple[bytes | None, Validators]:
        sink.seek(0)
        sink.truncate()
        parts = _split(attempt)
        if parts.scheme == "file":
            _copy(attempt, _local(attempt, parts), sink, max_bytes, None)
            return sink.getvalue(), Validators()
        headers = seen.headers()
        with _asked(attempt, parts, headers) as response:
            if response.status_code == NOT_MODIFIED and headers:
                _note(log, f"GET {shown(url)}: not modified")
                return None, seen
            if response.status_code != OK:
                refuse(attempt, response)
            stated = response.headers.get("Content-Length", "")
            size, digest = _copy(attempt, _body(response), sink, max_bytes,
                                 int(stated) if stated.isdecimal() else None)
            _note(log, f"GET {shown(url)}: {size} bytes, sha256 {digest}")
            said = Validators(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        return sink.getvalue(), said

    try:
        return with_retries(url, RetryPolicy(total=total), once, lambda line: _note(log, f"GET {line}"))
    except FoundryError as error:
        error.log = log
        raise


def _compare(url: str, digest: str, sha256: str | None, log: Path | None) -> None:
    if sha256 is not None and digest != sha256.lower():
        raise FoundryError(
            f"{shown(url)} has the SHA-256 {digest}, not {sha256.lower()}",
            reason=Reason.DIGEST_MISMATCH, log=log, hint="the server's file changed or was damaged on the way",
        )


def _fetch(url: str, sink: IO[bytes], max_bytes: int, policy: RetryPolicy, log: Path | None) -> tuple[int, str]:
    """Write the answer to `sink`, whatever it takes; bytes and hex SHA-256."""

    def once(attempt: Attempt) -> tuple[int, str]:
        started = time.monotonic()
        sink.seek(0)
        sink.truncate()
        size, digest = _attempt(attempt, sink, max_bytes)
        _note(log, f"GET {shown(url)}: {size} bytes in {time.monotonic() - started:.2f} s, sha256 {digest}")
        return size, digest

    try:
        return with_retries(url, policy, once, lambda line: _note(log, f"GET {line}"))
    except FoundryError as error:
        error.log = log
        raise


def _attempt(attempt: Attempt, sink: IO[bytes], max_bytes: int) -> tuple[int, str]:
    parts = _split(attempt)
    if parts.scheme == "file":
        return _copy(attempt, _local(attempt, parts), sink, max_bytes, None)
    with _asked(attempt, parts) as response:
        if response.status_code != OK:
            refuse(attempt, response)
        stated = response.headers.get("Content-Length", "")
        return _copy(attempt, _body(response), sink, max_bytes, int(stated) if stated.isdecimal() else None)


@contextmanager
def _asked(
    attempt: Attempt, parts: SplitResult, headers: Mapping[str, str] | None = None
) -> Iterator[requests.Response]:
    session = new_session(parts.hostname or "")
    with session, followed(attempt, lambda _: session, headers=headers) as response:
        yield response


def _split(attempt: Attempt) -> SplitResult:
    try:
        parts = urlsplit(attempt.url)
        fits = bool(parts.hostname) if parts.scheme in ("http", "https") else parts.scheme == "file"
    except ValueError:
        fits = False
    if not fits:
        raise attempt.fault("it is no http, https or file URL", Reason.URL_UNSUPPORTED)
    return parts


def _copy(
    attempt: Attempt, chunks: Iterator[bytes], sink: IO[bytes], max_bytes: int, stated: int | None
) -> tuple[int, str]:
    if stated is not None and stated > max_bytes:
        raise attempt.fault(f"it has {stated} bytes, more than the {max_bytes} allowed", Reason.HTTP_TOO_LARGE)
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise attempt.fault(f"it has more than the {max_bytes} bytes allowed", Reason.HTTP_TOO_LARGE)
        if attempt.late:
            raise attempt.fault("it takes too long", Reason.HTTP_TIMEOUT, retry=True)
        digest.update(chunk)
        sink.write(chunk)
    if stated is not None and size != stated:
        raise RetryableError(attempt.fault(f"{size} of {stated} bytes arrived", Reason.HTTP_TRUNCATED, retry=True))
    return size, digest.hexdigest()


def _local(attempt: Attempt, parts: SplitResult) -> Iterator[bytes]:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or "\0" in path:
        raise attempt.fault("it names no file of this machine", Reason.URL_UNSUPPORTED)
    try:
        with open_file(path) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise attempt.fault("there is no such file", Reason.FILE_MISSING) from error
    except OSError as error:
        raise attempt.fault(f"it can't be read: {error.strerror}", Reason.FILE_UNREADABLE) from error


def _body(response: requests.Response) -> Iterator[bytes]:
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        yield chunk


def _note(log: Path | None, line: str) -> None:
    if log is not None:
        append_to(log)(line)
