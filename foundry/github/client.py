"""One GitHub repository, and what its refusals mean.

Every call goes through `told`, which makes our errors of PyGithub's. What may
help to be tried again raises `RetryableError`; a second attempt reads first, so that
an answer that was lost costs a read and never a second release.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from foundry.base.errors import OutsideError
from foundry.base.plain_text import keep_secret
from foundry.base.reasons import Reason
from foundry.net.redirects import followed
from foundry.net.transport import (
    FIRST_WAIT,
    NOT_FOUND,
    OK,
    SERVER_FAULT,
    TOO_MANY,
    Attempt,
    RetryableError,
    RetryPolicy,
    new_session,
    refuse,
    with_retries,
)
from foundry.registry.client import whole

if TYPE_CHECKING:
    from github import GithubException
    from github.Repository import Repository

T = TypeVar("T")
API = "https://api.github.com"

_UNAUTHORIZED, _DENIED, _CONFLICT, _INVALID = 401, 403, 409, 422
_LONGEST_WAIT = 120.0  # seconds; a used-up limit comes back within the hour, which is for the next run
_NOT_FOR_ACTIONS = "not permitted to create or approve pull requests"  # GitHub's words for a setting that is off


@dataclass(frozen=True)
class Pauses:
    """Seconds: between two requests, between two writes, after a limit of which nobody says how long it lasts, and
    before a second attempt.

    What docs.github.com asks for ("Best practices for using the REST API", "Rate limits for the REST API").
    """

    requests: float = 0.25
    writes: float = 1.0
    limit: float = 60.0
    first: float = FIRST_WAIT


class GitHub:
    """A repository ``owner/name``."""

    def __init__(self, repository: str, *, token: str, api: str = API, seconds: float = 900.0,
                 note: Callable[[str], None] = lambda _: None, retries: int = 5, pauses: Pauses = Pauses(),
                 permissions: str = "the permission `contents: write`") -> None:
        self.name = repository
        self.api = api.rstrip("/")
        self.note = note
        self.policy = RetryPolicy(total=seconds, retries=retries, first=pauses.first, pause=_LONGEST_WAIT)
        self._token = token
        keep_secret(token)
        self._permissions = permissions
        self._pauses = pauses
        self._repository: Repository | None = None

    def with_retries(self, work: Callable[[Attempt], T]) -> T:
        """What `work` returns, begun again from its first read while it raises `RetryableError`."""
        return with_retries(f"{self.api}/repos/{self.name}", self.policy, work, self.note)

    @property
    def repository(self) -> Repository:
        """PyGithub's object; makes no request. It never tries again by itself: that is `with_retries`'s."""
        if self._repository is None:
            from github import Auth, Github

            _use_our_connections()
            one = Github(
                auth=Auth.Token(self._token) if self._token else None, base_url=self.api, per_page=100, retry=None,
                timeout=int(self.policy.read), lazy=True,
                seconds_between_requests=self._pauses.requests, seconds_between_writes=self._pauses.writes,
            )
            self._repository = one.get_repo(self.name)
        return self._repository

    @contextmanager
    def told(self, attempt: Attempt, what: str) -> Iterator[None]:
        """Errors of PyGithub in the block become ours; `what` is what was tried, as in "make a draft"."""
        import requests
        from github import BadAttributeException, GithubException
        from urllib3.exceptions import HTTPError

        from foundry.net.connection import limited

        try:
            with limited(math.inf, attempt.policy.read):
                yield
        except GithubException as error:
            raise self._meaning(attempt, error, what) from error
        except requests.Timeout as error:
            fault = attempt.fault(f"can't {what}: GitHub does not answer", Reason.GITHUB_TIMEOUT, retry=True)
            raise RetryableError(fault) from error
        except (requests.RequestException, HTTPError, OSError) as error:
            fault = attempt.fault(f"can't {what}: GitHub can't be reached, or the connection broke",
                                  Reason.GITHUB_UNREACHABLE, retry=True, hint="check the network")
            raise RetryableError(fault) from error
        except (BadAttributeException, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            why = f"can't {what}: the answer is none of GitHub's ({type(error).__name__})"
            raise attempt.fault(why, Reason.GITHUB_MALFORMED) from error

    def download(self, attempt: Attempt, url: str, max_bytes: int) -> bytes:
        """An asset's bytes by its API URL; the redirect's other host gets no token."""
        headers = {"Accept": "application/octet-stream"}
        if self._token:
            headers["Authorization"] = f"token {self._token}"
        there = replace(attempt, url=url)
        session = new_session(urlsplit(url).hostname or "")
        with session, followed(there, lambda _: session, headers=headers) as response:
            if response.status_code != OK:
                refuse(there, response)
            return whole(there, response, max_bytes)

    def _meaning(self, attempt: Attempt, error: GithubException, what: str) -> Exception:
        """What a status means, as an error or as `RetryableError`."""
        status = int(error.status)
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        says = _message(error)
        why = f"can't {what}: GitHub answers {status} ({says})"
        if status in (_DENIED, TOO_MANY):
            limit = _limit(headers, says, status, self._pauses.limit)
            if limit is not None:
                return _limited(attempt, why, limit)
            hint = f"the token needs {self._permissions}"
            if _NOT_FOR_ACTIONS in says:
                hint = "in the repository's settings (Actions, General) let GitHub Actions create pull requests"
            return attempt.fault(why, Reason.GITHUB_DENIED, hint=hint)
        if status == _UNAUTHORIZED:
            return attempt.fault(why, Reason.GITHUB_UNAUTHORIZED, hint="GITHUB_TOKEN is refused: has it expired?")
        fault = attempt.fault(why, Reason.GITHUB_STATUS, retry=True)
        if status == NOT_FOUND:
            fault.hint = f"is there a repository {self.name}, and may the token see it?"
        again = status in (NOT_FOUND, _CONFLICT, _INVALID) or status >= SERVER_FAULT
        return RetryableError(fault) if again else fault


@cache
def _use_our_connections() -> None:
    """Have PyGithub's requests go over connections that count and have a limit for each read and each piece sent."""
    from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester

    from foundry.net.connection import LimitedAdapter

    class Plain(HTTPRequestsConnectionClass):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.session.mount("http://", LimitedAdapter(max_retries=self.retry))

    class Secure(HTTPSRequestsConnectionClass):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.session.mount("https://", LimitedAdapter(max_retries=self.retry))

    Requester.injectConnectionClasses(Plain, Secure)


def _limited(attempt: Attempt, why: str, wait: float) -> Exception:
    until = time.strftime("%H:%M UTC", time.gmtime(time.time() + wait))
    fault = attempt.fault(why, Reason.GITHUB_RATE_LIMIT, retry=True,
                          hint=f"GitHub asks to wait until {until}; run again")
    return RetryableError(fault, wait) if wait <= _LONGEST_WAIT else fault


def _limit(headers: Mapping[str, str], says: str, status: int, unknown: float) -> float | None:
    """Seconds to wait where a limit was reached, `unknown` where nobody says how long; else None."""
    after = headers.get("retry-after", "")
    if after.isdecimal():
        return float(after[:9])
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(1.0, float(reset[:12]) - time.time())
    return unknown if status == TOO_MANY or "rate limit" in says.lower() else None


def _message(error: GithubException) -> str:
    """GitHub's own words, on one line of bounded length."""
    data = error.data if isinstance(error.data, dict) else {}
    faults = data.get("errors") if isinstance(data.get("errors"), list) else []
    parts = [str(data.get("message", "")), *(
        f"{fault.get('field', '')} {fault.get('code', '')} {fault.get('message', '')}".strip()
        for fault in faults or [] if isinstance(fault, dict)
    )]
    return " ".join("; ".join(part for part in parts if part).split())[:300] or "no reason given"


def missing_token(what: str = "GitHub releases") -> OutsideError:
    """The error of a run that is to write to GitHub and has no token."""
    return OutsideError(
        f"{what} need a token, and none is set", reason=Reason.GITHUB_CREDENTIALS,
        hint="set GITHUB_TOKEN or GH_TOKEN; in GitHub Actions: `GITHUB_TOKEN: ${{ github.token }}`",
    )
