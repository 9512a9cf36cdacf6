"""A server before a registry that counts and disturbs."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import urlsplit

from tests.harness.secrets import BASIC

T = TypeVar("T")


class Asked(BaseHTTPRequestHandler):
    """A request that has arrived, its body read."""

    body: bytes | None = None


Fault = Callable[[Asked], None]


@dataclass
class Front:
    """Counts bytes and notes requests; `faults` answer the next fitting requests.

    `cuts` are bytes of a longer body after which the connection is reset, once.

    With `elsewhere`, blobs are given by a redirect to another origin, which knows no credentials.
    `location` changes where uploads are said to be.
    """

    upstream: str
    address: str = ""
    elsewhere: str = ""
    no_ranges: bool = False
    location: Callable[[str], str] = str
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    elsewhere_requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    sent: int = 0
    taken: int = 0  # bytes of bodies
    connections: int = 0
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    standing: list[tuple[str, Fault]] = field(default_factory=list)
    cuts: list[tuple[str, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, part: str, method: str = "") -> int:
        return sum(part in path and method in ("", verb) for verb, path, _ in self.requests)

    def after(self, part: str, number: int, fault: Fault) -> None:
        """The fault answers the request that is the `number`-th to fit."""
        def wait(handler: Asked, left: int = number) -> None:
            if self.count(part) < left:
                self.faults.append((part, wait))
                forward(handler, self, handler.body, {})
            else:
                fault(handler)

        self.faults.append((part, wait))

    def always(self, part: str, fault: Fault) -> None:
        """The fault answers every request that fits and that no other fault answers."""
        self.standing.append((part, fault))


@contextmanager
def front(upstream: str, *, redirects: bool = False, no_ranges: bool = False) -> Iterator[Front]:
    one = Front(upstream, no_ranges=no_ranges)

    class Handler(Asked):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            with one.lock:
                one.connections += 1
            super().setup()

        def _pass(self) -> None:
            path = self.path
            length = int(self.headers.get("Content-Length") or 0)
            with one.lock:
                one.requests.append((self.command, path, dict(self.headers)))
                cut = _next([pair for pair in one.cuts if pair[1] < length], f"{self.command} {path}")
                fault = None if cut is not None else (
                    _next(one.faults, f"{self.command} {path}") or _next([*one.standing], f"{self.command} {path}"))
            if cut is not None:
                one.cuts.clear()
                _cut(self, one, cut)
                return
            self.body = self.rfile.read(length) if length else None
            with one.lock:
                one.taken += length
            if fault is not None:
                fault(self)
            elif redirects and self.command == "GET" and "/blobs/sha256:" in path:
                send(self, 307, b"", Location=f"http://{one.elsewhere}{path}?X-Signature=canary-signature")
            else:
                forward(self, one, self.body, {})

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass

        def log_message(self, *_: object) -> None:
            return

    class Elsewhere(Handler):
        def _give(self) -> None:
            one.elsewhere_requests.append((self.path, dict(self.headers)))
            self.path = self.path if "_state=" in self.path else self.path.partition("?")[0]
            length = int(self.headers.get("Content-Length") or 0)
            forward(self, one, self.rfile.read(length) if length else None, {"Authorization": BASIC})

        do_GET = do_PUT = do_DELETE = _give

    with serving(Handler) as port, serving(Elsewhere) as other:
        one.address, one.elsewhere = f"127.0.0.1:{port}", f"127.0.0.1:{other}"
        yield one


def _next(waiting: list[tuple[str, T]], request: str) -> T | None:
    for index, (part, value) in enumerate(waiting):
        if part in request:
            del waiting[index]
            return value
    return None


def forward(handler: BaseHTTPRequestHandler, one: Front, body: bytes | None, more: Mapping[str, str]) -> None:
    upstream = _upstream(handler, one, body, more)
    response = upstream.getresponse()
    handler.send_response_only(response.status)
    for name, value in response.getheaders():
        if name.lower() not in ("connection", "transfer-encoding", "date"):
            given = value.replace(one.upstream, one.address)
            handler.send_header(name, one.location(given) if "/uploads/" in given else given)
    handler.end_headers()
    handler.close_connection = False
    try:
        while chunk := response.read(4096):
            handler.wfile.write(chunk)
            with one.lock:
                one.sent += len(chunk)
    except OSError:
        handler.close_connection = True
    finally:
        upstream.close()


def _upstream(
    handler: BaseHTTPRequestHandler, one: Front, body: bytes | None, more: Mapping[str, str]
) -> http.client.HTTPConnection:
    """The request, sent to the registry."""
    upstream = http.client.HTTPConnection(one.upstream, timeout=60)
    headers = {name: ", ".join(handler.headers.get_all(name, [])) for name in handler.headers
               if name.lower() not in ("host", "connection")}
    if one.no_ranges:
        headers.pop("Range", None)
    upstream.request(handler.command, handler.path, body, {**headers, **more})
    return upstream


def _cut(handler: Asked, one: Front, size: int) -> None:
    """Let the registry have the first `size` bytes of a body, then reset both connections."""
    upstream = _upstream(handler, one, handler.rfile.read(size), {})
    assert upstream.sock is not None
    reset(upstream.sock)
    hang_up(handler)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# -- faults --------------------------------------------------------------------


def pass_on(one: Front) -> Fault:
    return lambda handler: forward(handler, one, handler.body, {})


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """The connection is reset instead of an answer."""
    reset(handler.connection)
    handler.close_connection = True  # else the socket stays open for the next request, and the client waits


def says(status: int, body: bytes = b"", **headers: str) -> Fault:
    return lambda handler: send(handler, status, body, **headers)


def swallow(one: Front) -> Fault:
    """The registry does what was asked, and nobody hears of it."""
    def fault(handler: Asked) -> None:
        upstream = _upstream(handler, one, handler.body, {})
        upstream.getresponse().read()
        upstream.close()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    return fault


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response_only(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    server = ThreadingHTTPServer((address, 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def relative(where: str) -> str:
    """A Location without scheme and host."""
    parts = urlsplit(where)
    return f"{parts.path}?{parts.query}"
