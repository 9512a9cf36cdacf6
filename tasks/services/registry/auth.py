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
from urllib.parse import urlencode, urlsplit

from tasks.services.registry.credentials import Credential
from tasks.services.transport import LOOPBACK, OK, Attempt, answer, refuse

if TYPE_CHECKING:
    import requests

UNAUTHORIZED = 401
_MAX_TOKEN_ANSWER = 1 << 20  # bytes
_SHORTEST_LIFE = 60.0  # seconds, when the issuer says nothing (token specification)
_MARGIN = 10.0  # seconds before its end at which a token is no longer used
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass
class Authorizer:
    """The `Authorization` header of one registry, by scope; learns from the registry's challenges."""

    scheme: str
    find: Callable[[str], Credential | None]
    session: Callable[[str], requests.Session]
    _headers: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def header(self, scope: str) -> Mapping[str, str]:
        """What to send for a scope such as ``repository:name:pull``; nothing until the registry has asked."""
        with self._lock:
            value, until = self._headers.get(scope, ("", 0.0))
            return {"Authorization": value} if value and time.monotonic() < until else {}

    def forget(self, scope: str) -> None:
        """What was learnt for a scope is no longer good."""
        with self._lock:
            self._headers.pop(scope, None)

    def learn(self, attempt: Attempt, response: requests.Response, scope: str, sent: Mapping[str, str]) -> bool:
        """Take up a 401; True when there is something new to try."""
        with self._lock:
            current = self.header(scope)
            if current and current != sent:
                return True  # another thread has learnt it meanwhile
            if not scope:
                return False
            repository = scope.split(":")[1] if scope.count(":") >= 2 else ""  # noqa: PLR2004 - type:name:actions
            kind, parameters = parse_challenge(response.headers.get("WWW-Authenticate", ""))
            credential = self.find(repository)
            if kind == "basic":
                found = (_basic(credential), float("inf")) if credential is not None else None
            elif kind == "bearer":
                found = self._token(attempt, parameters, scope, credential)
            else:
                found = None
            if found is None or {"Authorization": found[0]} == sent:
                self._headers.pop(scope, None)
                return False
            self._headers[scope] = found
            return True

    def _token(
        self, attempt: Attempt, challenge: Mapping[str, str], scope: str, credential: Credential | None
    ) -> tuple[str, float]:
        realm = challenge.get("realm", "")
        host = self._checked(attempt, realm)
        asked = {"service": challenge.get("service", ""), "scope": challenge.get("scope") or scope}
        asked = {name: value for name, value in asked.items() if value}
        if credential is not None and credential.identity_token:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": credential.identity_token,
                    "client_id": "kmod-foundry"}
            return self._issued(replace(attempt, url=realm), host, "POST", {}, form)
        joint = "&" if urlsplit(realm).query else "?"
        headers = {"Authorization": _basic(credential)} if credential is not None else {}
        return self._issued(replace(attempt, url=f"{realm}{joint}{urlencode(asked)}"), host, "GET", headers, None)

    def _checked(self, attempt: Attempt, realm: str) -> str:
        """The host of a token's issuer, if credentials may go there."""
        try:
            parts = urlsplit(realm)
            host = parts.hostname or ""
        except ValueError:
            host = ""
        safe = host and (parts.scheme == "https" or (self.scheme == "http" and host in LOOPBACK))
        if not safe:
            raise attempt.fault("the registry names no safe issuer of tokens", "registry-auth")
        return host

    def _issued(
        self, attempt: Attempt, host: str, method: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[str, float]:
        started = time.monotonic()
        with answer(self.session(host), attempt, method, headers=headers, follow=False, data=form) as response:
            if response.status_code != OK:
                if response.status_code in (UNAUTHORIZED, 400, 403):
                    raise attempt.fault("the issuer of the registry's tokens refuses the credentials",
                                        "registry-unauthorized", hint="log in again (`podman login`)")
                refuse(attempt, response)
            try:
                document: Any = json.loads(response.raw.read(_MAX_TOKEN_ANSWER, decode_content=True))
                token = document.get("token") or document.get("access_token")
                life = float(document.get("expires_in") or _SHORTEST_LIFE)
            except (ValueError, AttributeError, TypeError, RecursionError):
                token, life = None, 0.0
            if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
                raise attempt.fault("the issuer of the registry's tokens gives no token", "registry-auth")
        return f"Bearer {token}", started + max(_MARGIN, life - _MARGIN)


def parse_challenge(header: str) -> tuple[str, Mapping[str, str]]:
    """Kind (lower case) and parameters of a ``WWW-Authenticate`` header; of several, the first that is known."""
    for kind in ("bearer", "basic"):
        match = re.search(rf"(?:^|,)\s*{kind}\b\s*", header, re.IGNORECASE)
        if match:
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
                for name, quoted, bare in _PARAMETER.findall(header[match.end():])
            }
            return kind, parameters
    return "", {}


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
