"""One request to the stand-in for GitHub and its answer, both held to GitHub's description; and the faults."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from requests.structures import CaseInsensitiveDict
from werkzeug.datastructures import Headers

from tests.harness import github_releases
from tests.harness.front import reset
from tests.harness.github_openapi import Answered, Description
from tests.harness.github_routes import ROUTES, routed
from tests.harness.github_state import Answer, Call, Fault, GitHub, Refused, missing

_JSON = "application/json; charset=utf-8"
_DOCUMENTATION = "https://docs.github.com/rest"
_PRIMARY = "API rate limit exceeded for user ID 1."
_SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


class Exchange:
    """A request that has arrived at the API (or, with `uploads`, where uploads go). Its body is read when needed."""

    def __init__(
        self, one: GitHub, description: Description, handler: BaseHTTPRequestHandler, *, uploads: bool,
    ) -> None:
        self.one, self.description, self.handler, self.uploads = one, description, handler, uploads
        self.method = handler.command
        self.headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(handler.headers.items())
        parts = urlsplit(handler.path)
        self.bare, self.query = parts.path, parse_qsl(parts.query, keep_blank_values=True)
        found = routed(self.method, self.bare)
        self.pattern, self.path = found if found else ("", {})

    @cached_property
    def body(self) -> bytes:
        """The request's body, read to its end."""
        return self.handler.rfile.read(self.length)

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return int(self.headers.get("Content-Length") or 0)

    def call(self, body: bytes | None = None) -> Call:
        """The request for an operation."""
        body = self.body if body is None else body
        given: Any = {}
        if body and not self.uploads:
            try:
                given = json.loads(body)
            except ValueError:
                raise Refused(400, "Problems parsing JSON") from None
            if not isinstance(given, dict):
                raise Refused(422, "Invalid request.")
        base = self.one.uploads if self.uploads else self.one.url
        return Call(self.path, dict(self.query), self.headers, body, base + self.bare, given)

    # -- both sides against the description ------------------------------------------

    def check(self) -> None:
        """Note what the description does not allow in the request."""
        if not self.pattern:
            self._wrong(f"there is no operation {self.method} {self.bare}")
            return
        if not self.headers.get("User-Agent"):
            self._wrong(f"{self.method} {self.pattern}: the request has no User-Agent")
        right = self.one.uploads if self._for_uploads else self.one.url
        if self.uploads != self._for_uploads:
            self._wrong(f"{self.method} {self.pattern} belongs to {right}")
        for text in self.description.request(
            self.method, self.pattern, path=self.path, query=self.query, headers=self.headers, body=self.body,
        ):
            self._wrong(text)

    @property
    def _for_uploads(self) -> bool:
        return "uploads." in self.description.server(self.method, self.pattern)

    def _wrong(self, text: str) -> None:
        with self.one.lock:
            self.one.violations.append(text)

    # -- answering -------------------------------------------------------------------

    def perform(self) -> Answer:
        """Do what is asked, once it is noted what is wrong with it."""
        self.check()
        with self.one.lock:
            try:
                self._admit()
                if not self.pattern or self.uploads != self._for_uploads:
                    raise missing()
                return ROUTES[self.method, self.pattern](self.one, self.call())
            except Refused as error:
                return refusal(error)

    def _admit(self) -> None:
        """Credentials, permission and rate, as GitHub looks at them."""
        one, told = self.one, self.headers.get("Authorization", "")
        kind, _, token = told.partition(" ")
        if one.token and not told:
            raise Refused(401, "Requires authentication")
        if one.token and (kind.lower() not in ("token", "bearer") or token != one.token):
            raise Refused(401, "Bad credentials")
        if self.pattern != "/rate_limit":
            if one.remaining <= 0:
                raise Refused(403, _PRIMARY)
            one.remaining -= 1
        asked = f"{self.path.get('owner', '')}/{self.path.get('repo', '')}"
        if self.path and (one.hidden or asked.lower() != one.repo.lower()):
            raise missing()
        if one.read_only and self.method != "GET":
            raise Refused(403, "Resource not accessible by integration")

    def finish(self) -> None:
        """Do what is asked and answer."""
        self.answer(self.perform())

    def answer(self, answer: Answer, *, checked: bool = True) -> None:
        """Give an answer, once it is noted what is wrong with it."""
        value = answer.value
        if self.one.spoil is not None and value is not None:
            value = self.one.spoil(value)
        data = b"" if value is None else json.dumps(value).encode()
        headers = {**self._rate(), **({"Content-Type": _JSON} if data else {}), **answer.headers}
        if checked and self.pattern:
            answered = Answered(answer.status, _JSON, Headers(headers), data)
            for text in self.description.answer(self.method, self.pattern, answered):
                self._wrong(text)
        self.send(answer.status, data, headers)

    def _rate(self) -> dict[str, str]:
        one = self.one
        left = max(0, one.remaining)
        return {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(one.reset),
                "X-RateLimit-Used": str(5000 - left), "X-RateLimit-Resource": "core"}

    def send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        """Send any bytes."""
        _ = self.body  # the connection is used again
        handler = self.handler
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def close(self) -> None:
        """End the connection without an answer."""
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Reset the connection."""
        self.handler.close_connection = True
        reset(self.handler.connection)


def refusal(error: Refused) -> Answer:
    """GitHub's body for an error; 422 has the list of what is wrong."""
    plain = {"message": error.message, "documentation_url": _DOCUMENTATION, "status": str(error.status)}
    return Answer(error.status, {**plain, **({"errors": list(error.errors)} if error.errors else {})})


# -- faults --------------------------------------------------------------------------


def says(status: int, value: Any = None, **headers: str) -> Fault:
    """An answer in place of the right one; nothing is done. Bytes are sent as they are.

    What is JSON is held to the description if that has such an answer for the operation.
    """
    def fault(exchange: Exchange) -> None:
        exchange.check()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        if isinstance(value, bytes):
            exchange.send(status, value, named)
            return
        known = bool(exchange.pattern) and exchange.description.describes(exchange.method, exchange.pattern, status)
        exchange.answer(Answer(status, value, named), checked=known)

    return fault


def refuses(status: int, message: str, *errors: Mapping[str, str], **headers: str) -> Fault:
    """An error with GitHub's body."""
    return says(status, refusal(Refused(status, message, *errors)).value, **headers)


def unauthorized() -> Fault:
    """401, as for a token that has ended."""
    return refuses(401, "Bad credentials")


def primary_rate_limit(seconds: int = 3600) -> Fault:
    """403: the hour's requests are used up; there are new ones in `seconds`."""
    def fault(exchange: Exchange) -> None:
        refuses(403, _PRIMARY, X_RateLimit_Remaining="0", X_RateLimit_Used="5000",
                X_RateLimit_Reset=str(int(time.time()) + seconds))(exchange)

    return fault


def secondary_rate_limit(seconds: int | None = 60) -> Fault:
    """403: too much at once; Retry-After unless `seconds` is None."""
    return refuses(403, _SECONDARY, **({} if seconds is None else {"Retry_After": str(seconds)}))


def too_many() -> Fault:
    """429 without Retry-After."""
    return refuses(429, _SECONDARY)


def not_found() -> Fault:
    """404."""
    return refuses(404, "Not Found")


def conflict() -> Fault:
    """409, as while a repository is being made."""
    return refuses(409, "Git Repository is empty.")


def already_exists(resource: str = "Release", field: str = "tag_name") -> Fault:
    """422, as for a name that is taken."""
    return refuses(422, "Validation Failed", {"resource": resource, "code": "already_exists", "field": field})


def broken(status: int = 500) -> Fault:
    """5xx with a page in place of JSON."""
    return says(status, b"<html><body>Unicorn!</body></html>", Content_Type="text/html")


def drop() -> Fault:
    """The connection is reset and nothing is done."""
    def fault(exchange: Exchange) -> None:
        _ = exchange.body
        exchange.reset()

    return fault


def drop_after() -> Fault:
    """What was asked is done, and the connection ends without an answer."""
    def fault(exchange: Exchange) -> None:
        exchange.perform()
        exchange.close()

    return fault


def instead_after(status: int = 502) -> Fault:
    """What was asked is done, and the answer is an error."""
    def fault(exchange: Exchange) -> None:
        exchange.perform()
        broken(status)(exchange)

    return fault


def half_upload() -> Fault:
    """Half of an upload arrives; an asset in state `starter` stays."""
    def fault(exchange: Exchange) -> None:
        exchange.handler.rfile.read(exchange.length // 2)
        with exchange.one.lock:
            github_releases.half(exchange.one, exchange.call(b""))
        exchange.reset()

    return fault


def delay(seconds: float) -> Fault:
    """The right answer, late."""
    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.finish()

    return fault
