"""Limits on time, on a real socket: of the header, of the body, of what is sent, and what they cost."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from foundry.base.errors import OutsideError
from foundry.net.transport import OK, Attempt, RetryableError, RetryPolicy, answer, new_session, with_retries
from tests.harness.tls import certificate

HEADER = b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 4000 + b"\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def listening(talk: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that does with each connection what `talk` does, the request not read yet; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as ready:
                talk(ready)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}/x"
        listener.shutdown(socket.SHUT_RDWR)


def drip(connection: socket.socket, data: bytes, pause: float = 0.02) -> None:
    for at in range(len(data)):
        connection.sendall(data[at:at + 1])
        time.sleep(pause)


def ask(url: str, policy: RetryPolicy, method: str = "GET", data: bytes | None = None, trusted: str = "") -> bytes:
    with new_session("127.0.0.1") as session:
        session.verify = trusted or True

        def once(attempt: Attempt) -> bytes:
            with answer(session, attempt, method, data=data) as response:
                assert response.status_code == OK
                return bytes(response.raw.read())

        return with_retries(url, policy, once, lambda _: None)


def dripping_header(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    drip(connection, HEADER)


def dripping_status(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    drip(connection, b"HTTP/1.1 200 " + b"O" * 4000)


def dripping_body(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    drip(connection, b"x" * 4000)


def dripping_chunk_size(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(CHUNKED)
    drip(connection, b"2;" + b"x" * 4000)


@pytest.mark.parametrize("talk", [dripping_header, dripping_status, dripping_body, dripping_chunk_size])
def test_a_server_that_drips_does_not_outlast_the_limit(talk: Callable[[socket.socket], None]) -> None:
    with listening(talk) as url, pytest.raises(OutsideError) as caught:
        started = time.monotonic()
        ask(url, RetryPolicy(connect=1, read=1, total=0.5, retries=3))
    assert time.monotonic() - started < 1.5
    assert (caught.value.reason, caught.value.retry) == ("http-timeout", True)


@pytest.mark.parametrize("talk", [dripping_header, dripping_body])
def test_encrypted_connections_have_the_same_limits(tmp_path: Path, talk: Callable[[socket.socket], None]) -> None:
    made = certificate(tmp_path, "127.0.0.1")
    with listening(talk, made.context) as url, pytest.raises(OutsideError) as caught:
        started = time.monotonic()
        ask(url, RetryPolicy(connect=1, read=1, total=0.5, retries=0), trusted=str(made.file))
    assert time.monotonic() - started < 1.5
    assert (caught.value.reason, caught.value.retry) == ("http-timeout", True)
    data = bytes(32 << 20)
    with listening(lambda connection: reading(connection, len(data), 1.0), made.context) as url:
        assert ask(url, RetryPolicy(0.5, 5, 20, 0), "PUT", data, str(made.file)) == b"ok"


def test_a_header_that_comes_in_pieces_is_read() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        for at in range(0, len(HEADER), 500):
            connection.sendall(HEADER[at:at + 500])
            time.sleep(0.02)
        connection.sendall(b"ok")

    with listening(talk) as url:
        assert ask(url, RetryPolicy(connect=1, read=1, total=5, retries=0)) == b"ok"


def reading(connection: socket.socket, size: int, seconds: float) -> None:
    """Take a body over some time, then answer."""
    got, started = 0, time.monotonic()
    while got < size:
        got += len(connection.recv(1 << 16))
        time.sleep(max(0.0, started + seconds * min(1.0, got / size) - time.monotonic()))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_sending_may_take_longer_than_connecting() -> None:
    data = bytes(32 << 20)
    with listening(lambda connection: reading(connection, len(data), 2.0)) as url:
        started = time.monotonic()
        assert ask(url, RetryPolicy(connect=0.5, read=5, total=20, retries=0), "PUT", data) == b"ok"
        assert time.monotonic() - started > 1.5


@pytest.mark.parametrize("policy", [RetryPolicy(0.5, 20, 0.5, 0), RetryPolicy(20, 0.5, 20, 0)], ids=["total", "pause"])
def test_a_server_that_takes_nothing_is_not_waited_for(policy: RetryPolicy) -> None:
    with listening(lambda _: time.sleep(5)) as url, pytest.raises(OutsideError) as caught:
        started = time.monotonic()
        ask(url, policy, "PUT", bytes(64 << 20))
    assert time.monotonic() - started < 3
    assert caught.value.reason == "http-timeout"


def test_a_connection_is_used_again_under_the_limits_of_its_next_request() -> None:
    connections = []

    def talk(connection: socket.socket) -> None:
        connections.append(connection)
        while connection.recv(1 << 16):
            time.sleep(0.3)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with listening(talk) as url, new_session("127.0.0.1") as session:
        for total, fits in ((0.6, True), (0.6, True), (0.1, False), (0.6, True)):
            attempt = Attempt(url, RetryPolicy(1, 1, total), time.monotonic() + total)
            if fits:
                with answer(session, attempt) as response:
                    assert response.raw.read() == b"ok"
            else:
                with pytest.raises(RetryableError) as caught, answer(session, attempt):
                    pass
                assert caught.value.final.reason == "http-timeout"
    assert len(connections) == 2
