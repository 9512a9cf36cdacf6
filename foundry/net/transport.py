"""HTTP exchanges: time limits, attempts again when that can help, faults as sentences.

What downloads (`foundry.net.http`) and registries (`foundry.registry`)
have in common. Nothing here reads a body.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urlsplit

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.plain_text import keep_header_secret
from foundry.base.reasons import Reason
from foundry.base.references import LOOPBACK

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
TOTAL_SECONDS = 900.0  # for one URL, all attempts together
OK, NOT_MODIFIED, NOT_FOUND, TOO_MANY, SERVER_FAULT = 200, 304, 404, 429, 500
FIRST_WAIT = 0.5  # seconds, doubled with each attempt
_LONGEST_WAIT = 30.0  # seconds
_DAY = 86400.0
_SHORT = 1 << 16  # bytes of an answer that are taken although nobody wants them


class RetryableError(Exception):
    """An attempt failed in a way that another may not; `wait` is what the server asks for, in seconds."""

    def __init__(self, final: OutsideError, wait: float = 0.0) -> None:
        super().__init__(final.message)
        self.final, self.wait = final, wait


class RateLimiter:
    """What several threads that ask one server share: when it asks for a pause, all of them keep it."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, deadline: float) -> None:
        """Return when it may be asked again, at the latest at `deadline`."""
        while (left := min(self._until, deadline) - time.monotonic()) > 0:
            time.sleep(left)


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait: for a connection, between two bytes, for everything, all in seconds; and attempts more.

    `until` (of time.monotonic()) ends everything, too. `first` is the pause before the second attempt,
    doubled with each; `pause` is the longest between two, unless a server asks for more. An attempt after
    which it asks for a pause is none of `retries`: it may ask as often as there is time.
    """

    connect: float = 10.0
    read: float = 60.0
    total: float = TOTAL_SECONDS
    retries: int = 3
    until: float = math.inf
    first: float = FIRST_WAIT
    pause: float = _LONGEST_WAIT
    pace: RateLimiter = field(default_factory=RateLimiter, compare=False)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a URL, with what is left of the time."""

    url: str
    policy: RetryPolicy
    deadline: float  # of time.monotonic()

    def fault(self, why: str, reason: Reason, *, retry: bool = False, hint: str = "") -> OutsideError:
        """The error that says what is wrong with the URL."""
        return OutsideError(f"{shown(self.url)}: {why}", reason=reason, retry=retry, hint=hint)

    @property
    def timeout(self) -> tuple[float, float]:
        """For connecting and between two bytes, never more than is left."""
        left = max(0.1, self.deadline - time.monotonic())
        return min(self.policy.connect, left), min(self.policy.read, left)

    @property
    def late(self) -> bool:
        """True when the time for all attempts is over."""
        return time.monotonic() > self.deadline


def with_retries(url: str, policy: RetryPolicy, work: Callable[[Attempt], T], note: Callable[[str], None]) -> T:
    """What `work` returns, tried again with growing pauses while it raises `RetryableError` and there is time.

    `note` gets a line for each attempt that failed.
    """
    deadline, number = min(time.monotonic() + policy.total, policy.until), 0
    while True:
        policy.pace.wait(deadline)
        try:
            return work(Attempt(url, policy, deadline))
        except RetryableError as again:
            note(again.final.message)
            wait = _pause(number, again.wait, policy)
            late = time.monotonic() + wait > deadline
            if late and again.wait:
                again.final.hint = f"the server asks to wait {again.wait:.0f} s: run again then"
            if late or (number == policy.retries and not again.wait):
                raise again.final from again.__cause__
            if again.wait:
                policy.pace.hold(wait)
            else:
                number += 1
                time.sleep(wait)
        except FoundryError as error:
            note(error.message)
            raise


def new_session(host: str) -> requests.Session:
    """A session for one host: no content decoding, and no proxy for loopback."""
    import requests

    from foundry.net.connection import LimitedAdapter

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, LimitedAdapter())
    session.trust_env = host not in LOOPBACK  # a proxy can't reach this machine
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "kmod-foundry"
    return session


@contextmanager
def answer(
    session: requests.Session, attempt: Attempt, method: str = "GET", *, headers: Mapping[str, str] | None = None,
    **more: object,
) -> Iterator[requests.Response]:
    """The server's answer, whatever its status, its body not read yet. What goes wrong below becomes our errors.

    A redirect is an answer like any other; `foundry.net.redirects` follows it.
    From here to the end of the body nothing lasts longer than the attempt may.
    """
    import requests
    from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

    from foundry.net.connection import limited

    try:
        with limited(attempt.deadline, attempt.policy.read):
            begun = session.request(
                method, attempt.url, headers=dict(headers or {}), stream=True, timeout=attempt.timeout,
                allow_redirects=False, **more,  # type: ignore[arg-type]
            )
        keep_header_secret(begun.request.headers.get("Authorization") or "")
        with begun as response:
            yield response
            if method == "HEAD" or _length(response) <= _SHORT:
                with suppress(HTTPError, OSError):
                    response.raw.drain_conn()  # else the connection is closed, and the next request makes a new one
    except (requests.Timeout, ReadTimeoutError, TimeoutError) as error:
        why = "it takes too long" if attempt.late else "the server does not answer"
        raise RetryableError(attempt.fault(why, Reason.HTTP_TIMEOUT, retry=True)) from error
    except ProtocolError as error:
        raise RetryableError(attempt.fault("the answer is cut off", Reason.HTTP_TRUNCATED, retry=True)) from error
    except (requests.ConnectionError, HTTPError) as error:
        if _timed_out(error):  # while something was sent
            raise RetryableError(attempt.fault("the server does not answer",
                                               Reason.HTTP_TIMEOUT, retry=True)) from error
        why = f"the server can't be reached{_cause(error)}"
        raise RetryableError(attempt.fault(why, Reason.HTTP_UNREACHABLE, retry=True,
                                           hint="check the network")) from error
    except (requests.RequestException, ValueError) as error:
        raise attempt.fault(f"it can't be fetched ({type(error).__name__})", Reason.HTTP_FAILED) from error


def refuse(
    attempt: Attempt, response: requests.Response, detail: str = "", reason: Reason | None = None
) -> NoReturn:
    """Raise what a status other than success means.

    RetryableError for 429 and 5xx, else OutsideError; with `reason`, or ``http-404`` or ``http-status``.
    """
    status = response.status_code
    why = f"the server answers {status} {response.reason or ''}".rstrip()
    final = attempt.fault(f"{why}: {detail}" if detail else why,
                          reason or (Reason.HTTP_404 if status == NOT_FOUND else Reason.HTTP_STATUS))
    if status == TOO_MANY or status >= SERVER_FAULT:
        final.retry = True
        raise RetryableError(final, _retry_after(response.headers.get("Retry-After", "")))
    if status == NOT_FOUND:
        final.hint = "check the address; the server has no such file"
    raise final


def shown(url: str) -> str:
    """The URL as it may be printed: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a URL that can't be read)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _length(response: requests.Response) -> float:
    """Bytes of the body as the header says; without end when it says nothing."""
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else float("inf")


def _pause(number: int, asked: float, policy: RetryPolicy) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads the load, keeps no secret
    return max(asked, min(policy.pause, policy.first * (1 << number) * jitter))


def _retry_after(text: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3), a day at most; 0 when it says nothing."""
    asked = text.strip()
    if asked.isascii() and asked.isdecimal():
        return min(_DAY, float(asked[:9]))
    try:
        return min(_DAY, max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()))
    except (ValueError, TypeError, LookupError, OverflowError, OSError):  # what email.utils makes of nonsense
        return 0.0


def _timed_out(error: BaseException | None) -> bool:
    """Whether a limit on time is at the bottom of it."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cause(error: BaseException | None) -> str:
    """The system's word on what happened, found down the chain of exceptions; it holds no URL."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return f" ({error.strerror})"
        error = error.__cause__ or error.__context__
    return ""
