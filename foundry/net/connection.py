"""Connections on which nothing is waited for longer than what is left of the time.

A socket's limit counts from one read to the next: a server that sends a byte now and
then, of its header as of its body, would never meet it. And urllib3 sends a whole body
under the limit for connecting. Here each read and each piece sent has its own limit,
the pause allowed or what is left, whichever is less. That takes no thread and no timer.

Built on what http.client, urllib3 and requests leave to subclasses; no private name of theirs is used.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from foundry.net import traffic

_PIECE = 1 << 18  # bytes sent under one limit
_FOREVER = 60.0  # seconds between two bytes, outside of `limited`


class _Limits(threading.local):
    """What holds for the request that this thread is making: end (of time.monotonic()) and pause in seconds."""

    until: float = math.inf
    pause: float = _FOREVER


_limits = _Limits()


@contextmanager
def limited(until: float, pause: float) -> Iterator[None]:
    """Requests made in here, and reading their answers even later, end at `until` and wait for `pause` at most."""
    before = _limits.until, _limits.pause
    _limits.until, _limits.pause = until, pause
    try:
        yield
    finally:
        _limits.until, _limits.pause = before


def _limit(sock: socket.socket, until: float, pause: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(min(pause, left))


class _Stream(io.RawIOBase):
    """What a socket gives, each read under the limits of the request."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.stream = sock, sock.makefile("rb", buffering=0)
        self.until, self.pause = _limits.until, _limits.pause

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _limit(self.sock, self.until, self.pause)
        got = self.stream.readinto(buffer)
        traffic.count(received=got or 0)
        return got

    def close(self) -> None:
        self.stream.close()
        super().close()


class _Source:
    """Of a socket what an answer takes: the file that it is read from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._sock))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(_Source(sock), *args, **more)  # type: ignore[arg-type] # makefile is all that it calls


if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _Limited(_Base):
    response_class = _Response

    def send(self, data: Any) -> None:
        """In pieces, so that a large body may take its time as long as it moves."""
        pieces = [data]
        if isinstance(data, bytes) and len(data) > _PIECE:
            whole = memoryview(data)
            pieces = [whole[at:at + _PIECE] for at in range(0, len(data), _PIECE)]
        for piece in pieces:
            if self.sock is not None:  # the first one connects
                _limit(self.sock, _limits.until, _limits.pause)
            super().send(piece)
            traffic.count(sent=len(piece))


class _Connection(_Limited, HTTPConnection):
    pass


class _SecureConnection(_Limited, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class LimitedAdapter(HTTPAdapter):
    """For a session: its connections keep to `limited`, behind a proxy too."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """As requests does; called by its constructor."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """As requests does, for the first request that goes to a proxy."""
        manager = super().proxy_manager_for(proxy, **more)
        if type(manager) is ProxyManager:  # SOCKS has connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager
