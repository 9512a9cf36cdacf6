"""Reading from a registry: manifests, blobs, and layers window by window.

Protocol: OCI distribution specification 1.1. One `Registry` a host; safe to use
from several threads. Layers are asked for in growing ranges, so that what is
not wanted is not sent; a server that knows no ranges is read and cut off.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.plain_text import line
from foundry.base.reasons import Reason
from foundry.base.references import DOCKER_HUB, LOOPBACK, SHA256_DIGEST
from foundry.formats.images.manifest import ACCEPT, MAX_MANIFEST
from foundry.net.redirects import followed, origin
from foundry.net.transport import (
    NOT_FOUND,
    OK,
    Attempt,
    RetryableError,
    RetryPolicy,
    new_session,
    refuse,
    shown,
    with_retries,
)
from foundry.registry.auth import UNAUTHORIZED, Authorizer
from foundry.registry.credentials import Credentials

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Note = Callable[[str], None]
Payload = bytes | Iterable[bytes]  # a stream has a length, and is read from its beginning each time
FORBIDDEN = 403
_MAY_HAVE_ENDED = (400, FORBIDDEN)  # how ECR Public and ECR answer to a token that expired
_PUSHING = {  # LayersNotFound and InvalidLayer are ECR's
    Reason.BLOB_UNKNOWN: ("BLOB_UNKNOWN", "LayersNotFound", "InvalidLayer"),
    Reason.HTTP_UPLOAD: ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"),
}
_REPOSITORY_MISSING = (NOT_FOUND, 400)
_NO_REPOSITORY = re.compile(r": NAME_UNKNOWN\b|RepositoryNotFoundException")  # the specification's; ECR's
_MAX_REASON = 1 << 16  # bytes of an error's body
_LONGEST_SAID = 200  # characters of its message


@dataclass(frozen=True)
class Fetched:
    """A manifest as the registry has it; `digest` is that of the bytes."""

    data: bytes = field(repr=False)
    media_type: str
    digest: str


class Registry:
    """One registry. `address` is where it is served when that is not where its name says (``host:port``)."""

    def __init__(
        self, host: str, credentials: Credentials, *, address: str = "", policy: RetryPolicy | None = None,
        note: Note = lambda _: None,
    ) -> None:
        self.host = host
        self.credentials = credentials
        self.policy = policy or RetryPolicy()
        self.note = note
        served = address or ("registry-1.docker.io" if host == DOCKER_HUB else host)
        self.hostname = urlsplit(f"//{served}").hostname or ""
        scheme = "http" if self.hostname in LOOPBACK else "https"
        self.base = f"{scheme}://{served}/v2/"
        self.lists_referrers: bool | None = None  # not asked yet
        self._local = threading.local()
        self.auth = Authorizer(scheme, lambda repository: credentials.find(host, repository), self._session,
                               lambda: credentials.forget(host), host, lambda: credentials.how_to_get(host))

    def manifest(self, repository: str, reference: str, *, scope: str = "") -> Fetched:
        """The manifest of a tag or digest, its digest checked; `scope` is that of reading unless it is given.

        Raises FoundryError ``image-missing``, ``digest-mismatch``; OutsideError ``repository-missing``, and when the
        registry can't be reached (``http-…``) or refuses (``registry-unauthorized``, ``registry-denied``).
        """
        url = f"{self.base}{repository}/manifests/{reference}"
        return with_retries(url, self.policy, lambda attempt: self.manifest_once(attempt, repository, reference, scope),
                       self.note)

    def manifest_once(self, attempt: Attempt, repository: str, reference: str, scope: str = "") -> Fetched:
        """`manifest` in one attempt, for those who repeat it with something else; raises `RetryableError` too."""
        def read(attempt: Attempt, response: requests.Response) -> Fetched:
            data = whole(attempt, response, MAX_MANIFEST)
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            said = response.headers.get("Docker-Content-Digest", "")
            expected = reference if ":" in reference else said if SHA256_DIGEST.fullmatch(said) else digest
            if digest != expected:
                raise FoundryError(
                    f"{self.host}/{repository}: the manifest {expected} arrives as {digest}",
                    reason=Reason.DIGEST_MISMATCH, hint="the registry, or something before it, is damaged",
                )
            return Fetched(data, response.headers.get("Content-Type", ""), digest)

        there = replace(attempt, url=f"{self.base}{repository}/manifests/{reference}")
        return self.exchange(there, "GET", scope or pull_scope(repository), read,
                             headers={"Accept": ", ".join(ACCEPT)}, what=f"{repository} {reference}")

    def blob(self, repository: str, digest: str, max_bytes: int) -> bytes:
        """A whole blob, its digest checked; errors as of `manifest`."""
        def read(attempt: Attempt, response: requests.Response) -> bytes:
            data = whole(attempt, response, max_bytes)
            check_digest(digest, hashlib.sha256(data).hexdigest(), f"{self.host}/{repository}")
            return data

        return self.ask("GET", self.blob_url(repository, digest), pull_scope(repository), read,
                        what=f"{repository} {digest}")

    def blob_url(self, repository: str, digest: str) -> str:
        """Where a blob is."""
        return f"{self.base}{repository}/blobs/{digest}"

    def ask(
        self, method: str, url: str, scope: str, read: Callable[[Attempt, requests.Response], T], *,
        headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = (OK,), what: str = "",
    ) -> T:
        """One request that may be repeated, as `with_retries` does; what it means is that of `exchange`."""
        def once(attempt: Attempt) -> T:
            return self.exchange(attempt, method, scope, read, headers=headers, accept=accept, what=what)

        return with_retries(url, self.policy, once, self.note)

    def exchange(
        self, attempt: Attempt, method: str, scope: str, read: Callable[[Attempt, requests.Response], T], *,
        headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = (OK,), what: str = "",
        data: Payload | None = None,
    ) -> T:
        """One request, of whose answer `read` makes the value; as `answered`."""
        with self.answered(attempt, method, scope, headers=headers, accept=accept, what=what, data=data) as response:
            return read(attempt, response)

    @contextmanager
    def answered(
        self, attempt: Attempt, method: str, scope: str, *, headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (OK,), what: str = "", data: Payload | None = None,
    ) -> Iterator[requests.Response]:
        """One request, with credentials as the registry asks for them; its body not read yet.

        A redirect is followed without credentials when it leads elsewhere, and what is said
        there is never answered with any. An answer whose status is not one to `accept` is an
        error, `RetryableError` where it may pass.
        """
        renewed = again = False
        for _ in range(4):  # as it is; with a token; that has ended: as it is; with a new one
            sent = self.auth.header(scope)
            with followed(attempt, self._session, method, headers={**(headers or {}), **sent}, home=self.base,
                          data=data) as response:
                status, own = response.status_code, origin(response.url) == origin(self.base)
                if status in accept:
                    yield response
                    return
                if own and status == UNAUTHORIZED and not again and self.auth.learn(attempt, response, scope, sent):
                    again = bool(sent)  # new tokens without end would not help those who lack a right
                    continue
                said = _said(response)
                reason = None if method in ("GET", "HEAD") else _of_pushing(said)
                ended = status in _MAY_HAVE_ENDED and "expired" in said.casefold()
                if own and sent and ended and not renewed:
                    self.auth.ended(sent)
                    renewed = True
                    continue
                if own or status == NOT_FOUND:
                    self._refuse(status, said, scope, what or shown(attempt.url), reason or Reason.IMAGE_MISSING)
                refuse(replace(attempt, url=response.url), response, said.removeprefix(": "), reason)
        raise attempt.fault("the registry asks for credentials without end", Reason.REGISTRY_AUTH)

    def _session(self, host: str) -> requests.Session:
        """One session a thread and host; no credentials from elsewhere (netrc) come into it."""
        sessions: dict[str, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        if host not in sessions:
            sessions[host] = new_session(host)
            sessions[host].auth = lambda request: request
        return sessions[host]

    def _refuse(self, status: int, said: str, scope: str, what: str, missing: Reason) -> None:
        """Raise what a status means that is the registry's own, not the server's; `missing` is what 404 means."""
        if status in _REPOSITORY_MISSING and _NO_REPOSITORY.search(said):
            raise OutsideError(
                f"{self.host} has no repository {scope.split(':')[1] if ':' in scope else what}{said}",
                reason=Reason.REPOSITORY_MISSING,
                hint="create it, since not every registry does that by itself; or correct its name; or these "
                     "credentials may not see it",
            )
        if status == NOT_FOUND:
            raise FoundryError(
                f"{self.host} has no {what}{said}", reason=missing,
                hint="it may have been removed, or be hidden from these credentials",
            )
        if status in (UNAUTHORIZED, FORBIDDEN):
            repository = scope.split(":")[1] if ":" in scope else ""
            found = self.credentials.find(self.host, repository)
            tried = f"with the credentials of {found.source}" if found else "without credentials, and none were found"
            raise OutsideError(
                f"{self.host} refuses {what} {tried}{said}",
                reason=Reason.REGISTRY_UNAUTHORIZED if status == UNAUTHORIZED else Reason.REGISTRY_DENIED,
                hint=self.credentials.how_to_get(self.host),
            )


def pull_scope(repository: str) -> str:
    """The scope of reading a repository, in the words of the token specification."""
    return f"repository:{repository}:pull"


def whole(attempt: Attempt, response: requests.Response, max_bytes: int) -> bytes:
    """The body of an answer, if it has at most `max_bytes`."""
    data = bytearray()
    while chunk := response.raw.read1(1 << 16, decode_content=False):
        data += chunk
        if len(data) > max_bytes:
            raise attempt.fault(f"it has more than the {max_bytes} bytes allowed", Reason.HTTP_TOO_LARGE)
        if attempt.late:
            raise attempt.fault("it takes too long", Reason.HTTP_TIMEOUT, retry=True)
    stated = response.headers.get("Content-Length", "")
    if stated.isdecimal() and int(stated) != len(data):
        raise RetryableError(attempt.fault(f"{len(data)} of {stated} bytes arrived", Reason.HTTP_TRUNCATED, retry=True))
    return bytes(data)


def check_digest(digest: str, found: str, what: str) -> None:
    """Compare ``sha256:…`` with a hex digest; FoundryError ``digest-mismatch``."""
    if digest != f"sha256:{found}":
        raise FoundryError(f"{what}: {digest} arrives as sha256:{found}", reason=Reason.DIGEST_MISMATCH,
                           hint="the registry, or something before it, is damaged")


def _of_pushing(said: str) -> Reason | None:
    """What the registry's words mean for a push, which can go on from there (distribution specification and ECR)."""
    for reason, words in _PUSHING.items():
        if any(word in said for word in words):
            return reason
    return None


def _said(response: requests.Response) -> str:
    """``: CODE message`` of an error's body (distribution specification, "Error Codes"); empty when it has none."""
    try:
        first = json.loads(response.raw.read(_MAX_REASON, decode_content=True))["errors"][0]
        said = f"{first['code']} {first.get('message') or ''}".strip()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # whatever a server puts there
        return ""
    return f": {line(said, _LONGEST_SAID)}" if said else ""
