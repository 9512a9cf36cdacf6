"""Downloads: whole, checked, tried again when that can help.

Every function takes a final URL (``http``, ``https``, or ``file`` for a local
folder). What is asked for arrives as it is stored: no content decoding.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from tasks.core.errors import FoundryError, OutsideError

if TYPE_CHECKING:
    import requests

TOTAL_SECONDS = 900.0  # for one URL, all attempts together
_CHUNK = 1 << 16
_FIRST_WAIT = 0.5  # seconds, doubled with each attempt
_LONGEST_WAIT = 30.0  # seconds, also when a server asks for more
_REDIRECTS = 5
_OK, _NOT_FOUND, _TOO_MANY, _SERVER_FAULT = 200, 404, 429, 500
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Again(Exception):
    """An attempt failed in a way that another may not; `wait` is what the server asks for, in seconds."""

    def __init__(self, final: OutsideError, wait: float = 0.0) -> None:
        super().__init__(final.message)
        self.final, self.wait = final, wait


@dataclass(frozen=True)
class _Request:
    url: str
    max_bytes: int
    timeout: tuple[float, float]
    deadline: float  # of time.monotonic()

    def fault(self, why: str, reason: str, *, retry: bool = False, hint: str = "") -> OutsideError:
        return OutsideError(f"{shown(self.url)}: {why}", reason=reason, retry=retry, hint=hint)


def download(
    url: str,
    dest: Path,
    *,
    sha256: str | None,
    max_bytes: int,
    timeout: tuple[float, float] = (10, 60),
    retries: int = 3,
    total: float = TOTAL_SECONDS,
    log: Path | None = None,
) -> int:
    """Fetch `url` to `dest`, which appears whole and with the right digest or not at all; its size in bytes.

    `timeout` is for connecting and between two bytes, `total` for everything, in seconds.
    `retries` further attempts follow connection errors, 5xx, 429 and cut-off answers.

    Raises FoundryError ``digest-mismatch``, OutsideError ``http-unreachable``, ``http-timeout``,
    ``http-truncated``, ``http-too-large``, ``http-<status>``, ``file-missing``, ``url-unsupported``.
    """
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=dest.parent, prefix=f".{dest.name}.")
        try:
            with os.fdopen(handle, "wb") as sink:
                size, digest = _fetch(url, sink, max_bytes, timeout, retries, total, log)
            _compare(url, digest, sha256, log)
            os.chmod(name, 0o644)
            os.replace(name, dest)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise OutsideError(f"can't write {dest}: {error.strerror or error}", reason="disk", log=log) from error
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
    _fetch(url, sink, max_bytes, timeout, retries, total, log)
    return sink.getvalue()


def shown(url: str) -> str:
    """The URL as it may be printed: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a URL that can't be read)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _compare(url: str, digest: str, sha256: str | None, log: Path | None) -> None:
    if sha256 is not None and digest != sha256.lower():
        raise FoundryError(
            f"{shown(url)} has the SHA-256 {digest}, not {sha256.lower()}",
            reason="digest-mismatch", log=log, hint="the server's file changed or was damaged on the way",
        )


def _fetch(
    url: str, sink: IO[bytes], max_bytes: int, timeout: tuple[float, float], retries: int, total: float,
    log: Path | None,
) -> tuple[int, str]:
    """Write the answer to `sink`, whatever it takes; bytes and hex SHA-256."""
    request = _Request(url, max_bytes, timeout, time.monotonic() + total)
    for attempt in range(retries + 1):
        started = time.monotonic()
        sink.seek(0)
        sink.truncate()
        try:
            size, digest = _attempt(request, sink)
            _note(log, f"GET {shown(url)}: {size} bytes in {time.monotonic() - started:.2f} s, sha256 {digest}")
            return size, digest
        except _Again as again:
            _note(log, f"GET {again.final.message}")
            wait = _pause(attempt, again.wait)
            if attempt == retries or time.monotonic() + wait > request.deadline:
                again.final.log = log
                raise again.final from again.__cause__
            time.sleep(wait)
        except FoundryError as error:
            _note(log, f"GET {error.message}")
            error.log = log
            raise
    raise AssertionError("unreachable")


def _pause(attempt: int, asked: float) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads the load, keeps no secret
    return min(_LONGEST_WAIT, max(asked, _FIRST_WAIT * (1 << attempt) * jitter))


def _attempt(request: _Request, sink: IO[bytes]) -> tuple[int, str]:
    parts = _split(request)
    if parts.scheme == "file":
        return _copy(request, _local(request, parts), sink, None)
    with _response(request, parts.hostname or "") as response:
        stated = response.headers.get("Content-Length", "")
        return _copy(request, _body(response), sink, int(stated) if stated.isdecimal() else None)


def _split(request: _Request) -> SplitResult:
    try:
        parts = urlsplit(request.url)
        fits = bool(parts.hostname) if parts.scheme in ("http", "https") else parts.scheme == "file"
    except ValueError:
        fits = False
    if not fits:
        raise request.fault("it is no http, https or file URL", "url-unsupported")
    return parts


def _copy(request: _Request, chunks: Iterator[bytes], sink: IO[bytes], stated: int | None) -> tuple[int, str]:
    if stated is not None and stated > request.max_bytes:
        raise request.fault(f"it has {stated} bytes, more than the {request.max_bytes} allowed", "http-too-large")
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        if size > request.max_bytes:
            raise request.fault(f"it has more than the {request.max_bytes} bytes allowed", "http-too-large")
        if time.monotonic() > request.deadline:
            raise request.fault("it takes too long", "http-timeout", retry=True)
        digest.update(chunk)
        sink.write(chunk)
    if stated is not None and size != stated:
        raise _Again(request.fault(f"{size} of {stated} bytes arrived", "http-truncated", retry=True))
    return size, digest.hexdigest()


def _local(request: _Request, parts: SplitResult) -> Iterator[bytes]:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or "\0" in path:
        raise request.fault("it names no file of this machine", "url-unsupported")
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise request.fault("there is no such file", "file-missing") from error
    except OSError as error:
        raise request.fault(f"it can't be read: {error.strerror}", "file-unreadable") from error


@contextmanager
def _response(request: _Request, host: str) -> Iterator[requests.Response]:
    """An answer with status 200, its body not read yet."""
    import requests
    from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

    left = max(0.1, request.deadline - time.monotonic())
    connect, read = (min(limit, left) for limit in request.timeout)
    with requests.Session() as session:
        session.max_redirects = _REDIRECTS
        session.trust_env = host not in _LOOPBACK  # a proxy can't reach this machine
        headers = {"Accept-Encoding": "identity", "User-Agent": "kmod-foundry"}
        try:
            with session.get(request.url, stream=True, timeout=(connect, read), headers=headers) as response:
                _check(request, response)
                yield response
        except (requests.Timeout, ReadTimeoutError, TimeoutError) as error:
            raise _Again(request.fault("the server does not answer", "http-timeout", retry=True)) from error
        except (requests.TooManyRedirects, requests.exceptions.InvalidSchema) as error:
            raise request.fault("it is redirected without end or to something unknown", "http-redirect") from error
        except ProtocolError as error:
            raise _Again(request.fault("the answer is cut off", "http-truncated", retry=True)) from error
        except (requests.ConnectionError, HTTPError) as error:
            why = f"the server can't be reached{_cause(error)}"
            raise _Again(request.fault(why, "http-unreachable", retry=True, hint="check the network")) from error
        except (requests.RequestException, ValueError) as error:
            raise request.fault(f"it can't be fetched ({type(error).__name__})", "http-failed") from error


def _check(request: _Request, response: requests.Response) -> None:
    status = response.status_code
    if request.url.startswith("https:") and not response.url.startswith("https:"):
        raise request.fault("it is redirected from https to http", "http-redirect")
    if status == _OK:
        return
    final = request.fault(f"the server answers {status} {response.reason or ''}".rstrip(), f"http-{status}")
    if status == _TOO_MANY or status >= _SERVER_FAULT:
        final.retry = True
        raise _Again(final, _retry_after(response.headers.get("Retry-After", "")))
    if status == _NOT_FOUND:
        final.hint = "check the address; the server has no such file"
    raise final


def _body(response: requests.Response) -> Iterator[bytes]:
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        yield chunk


def _retry_after(text: str) -> float:
    """Seconds that a Retry-After header asks for, given as a number or a date; 0 when it says nothing."""
    if text.strip().isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _cause(error: BaseException | None) -> str:
    """The system's word on what happened, found down the chain of exceptions; it holds no URL."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return f" ({error.strerror})"
        error = error.__cause__ or error.__context__
    return ""


def _note(log: Path | None, line: str) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
