"""What a registry wants to see before it answers: nothing, a password, or a token that it names the issuer of.

Source: the distribution project's token specification (docs/spec/auth/token.md,
oauth.md) and RFC 7617. A challenge is believed only as far as the registry's
own connection is safe: over https, the token's issuer must be https too.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.base.references import LOOPBACK
from foundry.net.transport import OK, Attempt, answer, refuse
from foundry.registry.credentials import Credential

if TYPE_CHECKING:
    import requests

UNAUTHORIZED = 401
_MAX_TOKEN_ANSWER = 1 << 20  # bytes
_SHORTEST_LIFE = 60.0  # seconds, when the issuer says nothing (token specification)
_MARGIN = 10.0  # seconds before its end at which a token is no longer used
_PARTS = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')  # between commas that are in no quotes
_SCHEME = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s+(?!\s*=)|$)")  # no `=` follows it (RFC 9110, 11.2)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass
class Authorizer:
    """The `Authorization` header of one registry, by scope; learns from the registry's challenges."""

    scheme: str
    find: Callable[[str], Credential | None]
    session: Callable[[str], requests.Session]
    renew: Callable[[], bool] = lambda: False  # have a credential made anew; False when it is kept, not made
    name: str = "the registry"
    hint: Callable[[], str] = lambda: "log in again (`podman login`)"
    _headers: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def header(self, scope: str) -> Mapping[str, str]:
        """What to send for a scope such as ``repository:name:pull``; nothing until the registry has asked."""
        with self._lock:
            value, until = self._headers.get(scope, ("", 0.0))
            return {"Authorization": value} if value and time.monotonic() < until else {}

    def ended(self, sent: Mapping[str, str]) -> None:
        """The registry says that what was sent is no longer good: the first thread to hear it has it made anew."""
        with self._lock:
            old = [scope for scope, (value, _) in self._headers.items() if value == sent["Authorization"]]
            for scope in old:
                del self._headers[scope]
            if old:
                self.renew()

    def learn(self, attempt: Attempt, response: requests.Response, scope: str, sent: Mapping[str, str]) -> bool:
        """Take up a 401; True when there is something new to try."""
        with self._lock:
            current = self.header(scope)
            if current and current != sent:
                return True  # another thread has learnt it meanwhile
            if not scope:
                return False
            repository = scope.split(":")[1] if scope.count(":") >= 2 else ""  # noqa: PLR2004 - type:name:actions
            challenge = parse_challenge(response.headers.get("WWW-Authenticate", ""))
            found = self._found(attempt, challenge, scope, repository)
            if found is not None and {"Authorization": found[0]} == sent and self.renew():
                found = self._found(attempt, challenge, scope, repository)
            if found is None or {"Authorization": found[0]} == sent:
                self._headers.pop(scope, None)
                return False
            self._headers[scope] = found
            return True

    def _found(
        self, attempt: Attempt, challenge: tuple[str, Mapping[str, str]], scope: str, repository: str
    ) -> tuple[str, float] | None:
        """A header that answers the challenge, and until when; None when there is nothing to answer with."""
        kind, parameters = challenge
        credential = self.find(repository)
        if kind == "basic":
            return (_basic(credential), float("inf")) if credential is not None else None
        if kind != "bearer":
            return None
        try:
            return self._token(attempt, parameters, scope, credential)
        except OutsideError as error:
            if error.reason != Reason.REGISTRY_UNAUTHORIZED or not self.renew():
                raise
        return self._token(attempt, parameters, scope, self.find(repository))

    def _token(
        self, attempt: Attempt, challenge: Mapping[str, str], scope: str, credential: Credential | None
    ) -> tuple[str, float]:
        realm, host = self._issuer(attempt, challenge["realm"])
        asked = {"service": challenge.get("service", ""), "scope": _wider(challenge.get("scope", ""), scope)}
        asked = {name: value for name, value in asked.items() if value}
        try:
            if credential is not None and credential.identity_token:
                form = {**asked, "grant_type": "refresh_token", "refresh_token": credential.identity_token,
                        "client_id": "kmod-foundry"}
                return self._issued(replace(attempt, url=realm), host, "POST", {}, form)
            joint = "&" if urlsplit(realm).query else "?"
            headers = {"Authorization": _basic(credential)} if credential is not None else {}
            return self._issued(replace(attempt, url=f"{realm}{joint}{urlencode(asked)}"), host, "GET", headers, None)
        except OutsideError as error:
            if error.reason == Reason.REGISTRY_UNAUTHORIZED:
                whose = f"with the credentials of {credential.source}" if credential else "without credentials"
                error.message += f": {self.name} refuses {asked.get('scope', 'it')} {whose}"
                error.hint = self.hint()
            raise

    def _issuer(self, attempt: Attempt, realm: str) -> tuple[str, str]:
        """Address and host of a token's issuer, if credentials may go there."""
        try:
            parts = urlsplit(urljoin(attempt.url, realm))
            host = parts.hostname or ""
        except ValueError:
            host = ""
        safe = host and (parts.scheme == "https" or (self.scheme == "http" and host in LOOPBACK))
        if not safe:
            raise attempt.fault("the registry names no safe issuer of tokens", Reason.REGISTRY_AUTH)
        return parts.geturl(), host

    def _issued(
        self, attempt: Attempt, host: str, method: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[str, float]:
        started = time.monotonic()
        with answer(self.session(host), attempt, method, headers=headers, data=form) as response:
            if response.status_code != OK:
                if response.status_code in (UNAUTHORIZED, 400, 403):
                    raise attempt.fault("the issuer of the registry's tokens gives none", Reason.REGISTRY_UNAUTHORIZED)
                refuse(attempt, response)
            try:
                document: Any = json.loads(response.raw.read(_MAX_TOKEN_ANSWER, decode_content=True))
                token = document.get("token") or document.get("access_token")
                life = float(document.get("expires_in") or _SHORTEST_LIFE)
            except (ValueError, AttributeError, TypeError, RecursionError):
                token, life = None, 0.0
            if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
                raise attempt.fault("the issuer of the registry's tokens gives no token", Reason.REGISTRY_AUTH)
        return f"Bearer {token}", started + max(_MARGIN, life - _MARGIN)


def parse_challenge(header: str) -> tuple[str, Mapping[str, str]]:
    """Kind (lower case) and parameters of the challenge to take up: a token before a password, or nothing known.

    There may be several, in one ``WWW-Authenticate`` header or in several, which are one list (RFC 9110, 11.6.1).
    A token without the address of its issuer can't be had.
    """
    found: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    for part in _PARTS.findall(header):
        if scheme := _SCHEME.match(part):
            parameters = found.setdefault(scheme[1].lower(), {})
        for name, quoted, bare in _PARAMETER.findall(part):
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
    if "realm" in found.get("bearer", {}):
        return "bearer", found["bearer"]
    return ("basic", found["basic"]) if "basic" in found else ("", {})


def _wider(challenged: str, scope: str) -> str:
    """The scope to ask for: ours where it covers what the challenge says, so that one token does for all requests."""
    theirs, ours = challenged.rpartition(":"), scope.rpartition(":")
    covers = theirs[0] == ours[0] and set(theirs[2].split(",")) <= set(ours[2].split(","))
    return scope if covers or not challenged else challenged


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
