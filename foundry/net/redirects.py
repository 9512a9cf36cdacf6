"""Redirects: followed hop by hop, each judged before it is asked.

No hop goes from https to http, not even on the way to https again: who reads or changes the
plain request decides where the rest leads. Credentials go to one origin alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from foundry.base.reasons import Reason
from foundry.net.transport import Attempt, answer

if TYPE_CHECKING:
    import requests

_MOST = 5
_FOLLOWED = ("GET", "HEAD")  # what sends something does it in one place


@contextmanager
def followed(
    attempt: Attempt, session: Callable[[str], requests.Session], method: str = "GET", *,
    headers: Mapping[str, str] | None = None, home: str = "", data: object = None,
    may: Callable[[str], None] = lambda _: None,
) -> Iterator[requests.Response]:
    """The answer behind at most 5 redirects, given as by `foundry.net.transport.answer`, with its errors.

    `session` gives the session for a host. The header `Authorization` is sent to the origin of `home` alone,
    which is that of the attempt where nothing is given. `may` raises where a target must not be asked.
    Only GET and HEAD are redirected: the redirect of another method is the answer.

    Raises OutsideError ``http-redirect`` for a redirect too many, and for one to somewhere unsafe or unknown.
    """
    try:
        asked, own = attempt, origin(home or attempt.url)
    except ValueError as error:
        raise attempt.fault("it is no http or https URL", Reason.URL_UNSUPPORTED) from error
    for _ in range(_MOST + 1):
        sent = {name: value for name, value in (headers or {}).items()
                if name != "Authorization" or origin(asked.url) == own}
        one = session(urlsplit(asked.url).hostname or "")
        with answer(one, asked, method, headers=sent, data=data) as response:
            location = one.get_redirect_target(response) if method in _FOLLOWED else None
            if not location:
                yield response
                return
            asked = replace(asked, url=_with_login(asked.url, safe_target(asked, location)))
            may(asked.url)
    raise attempt.fault("it is redirected without end", Reason.HTTP_REDIRECT)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials are for."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def safe_target(attempt: Attempt, location: str) -> str:
    """Where an answer's Location leads, if it is somewhere to go; OutsideError ``http-redirect``."""
    target = ""
    try:
        target = urljoin(attempt.url, location)
        scheme, host, _ = origin(target)
        if "\\" in urlsplit(target).netloc:  # where a host ends, for those who connect: they would ask another one
            host = ""
    except ValueError:
        scheme = host = ""
    if (urlsplit(attempt.url).scheme, scheme) == ("https", "http"):
        raise attempt.fault("it leads from https to http", Reason.HTTP_REDIRECT)
    if not host or scheme not in ("https", "http"):
        raise attempt.fault("it leads to something unsafe or unknown", Reason.HTTP_REDIRECT)
    return target


def _with_login(url: str, target: str) -> str:
    """The target with user and password of `url` if its origin is the same, else without any."""
    ours, parts = urlsplit(url), urlsplit(target)
    login = ours.netloc.rpartition("@")[0] if origin(url) == origin(target) else ""
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{login}@{place}" if login else place
    return target if netloc == parts.netloc else parts._replace(netloc=netloc).geturl()
