"""Bytes that a run tells are those that a server at the other end of the sockets counts."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from foundry.base.parallel import in_parallel
from foundry.github.client import GitHub, Pauses
from foundry.net import http
from foundry.net.traffic import TOTAL, Traffic, metered, size
from foundry.net.transport import Attempt, RetryPolicy, answer, new_session, with_retries
from foundry.run.journal import FAILED, Journal
from tests.harness.github import github_fake


class Counting(socketserver.ThreadingTCPServer):
    """Passes bytes on to another server, or answers each request with `body`, and counts both directions."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, upstream: int = 0, body: bytes = b"", stated: int | None = None) -> None:
        self.upstream, self.body, self.stated = upstream, body, len(body) if stated is None else stated
        self.got = self.gave = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, *, got: int = 0, gave: int = 0) -> None:
        with self.lock:
            self.got += got
            self.gave += gave


class _Handler(socketserver.BaseRequestHandler):
    server: Counting

    def handle(self) -> None:
        if self.server.upstream:
            self._pass_on()
            return
        data = b""
        while b"\r\n\r\n" not in data and (piece := self.request.recv(1 << 16)):
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        wanted = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                       if line.lower().startswith(b"content-length:")), 0)
        have = len(body)
        while have < wanted and (piece := self.request.recv(1 << 16)):
            have += len(piece)
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.server.stated + self.server.body
        self.server.count(got=len(head) + 4 + have, gave=len(reply))
        self.request.sendall(reply)

    def _pass_on(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as there:
            back = threading.Thread(target=self._copy, args=[there, self.request, False])
            back.start()
            self._copy(self.request, there, True)
            back.join()

    def _copy(self, source: socket.socket, sink: socket.socket, asking: bool) -> None:
        while piece := source.recv(1 << 16):
            self.server.count(**{"got" if asking else "gave": len(piece)})
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def serving(upstream: int = 0, body: bytes = b"", stated: int | None = None) -> Iterator[Counting]:
    with Counting(upstream, body, stated) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_is_downloaded(tmp_path: Path) -> None:
    with serving(body=b"x" * 300_000) as server, metered() as meter:
        http.download(f"{server.url}/a", tmp_path / "a", sha256=None, max_bytes=1 << 20)
        assert meter.read() == Traffic(received=server.gave, sent=server.got)
        assert server.gave > 300_000


def test_attempts_that_fail_count() -> None:
    with serving(body=b"x" * 1000, stated=2000) as server, metered() as meter:
        with pytest.raises(Exception, match=r"cut off|1000 of 2000"):
            http.get(server.url, max_bytes=1 << 20, retries=1, total=5)
        assert meter.read() == Traffic(received=server.gave, sent=server.got)
        assert server.gave > 2 * 1000


@pytest.mark.parametrize("pieces", [1, 40])
def test_what_is_sent(pieces: int) -> None:
    """A body at once and one that streams."""
    class Stream:
        def __len__(self) -> int:
            return 40 * 10_000

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"y" * 10_000] * 40)

    body = b"y" * 400_000 if pieces == 1 else Stream()

    def once(attempt: Attempt) -> None:
        with new_session("127.0.0.1") as session, answer(session, attempt, "PUT", data=body) as response:
            response.raw.read()

    with serving(body=b"ok") as server, metered() as meter:
        with_retries(server.url, RetryPolicy(), once, lambda _: None)
        assert meter.read() == Traffic(received=server.gave, sent=server.got)
        assert server.got > 400_000


def test_github_counts_too() -> None:
    """PyGithub has sessions of its own."""
    with github_fake() as fake:
        port = int(fake.url.rpartition(":")[2].partition("/")[0])
        with serving(port) as server, metered() as meter:
            one = GitHub(fake.repo, token="t", api=fake.url.replace(f":{port}", f":{server.server_address[1]}"),
                         pauses=Pauses(0, 0, 0.1))
            fake.token = "t"
            with one.told(Attempt(fake.url, one.policy, 1e12), "list the releases"):
                assert list(one.repository.get_releases()) == []
            assert (server.gave, server.got) == (meter.read().received, meter.read().sent)
            assert server.gave > 100


def test_each_task_has_its_own_and_the_process_all() -> None:
    """Threads that a task starts count for it; a task that fails tells what it took."""
    before = TOTAL.read()
    with serving(body=b"z" * 5000) as server:
        def work(times: int) -> None:
            jobs = list(range(times))
            for outcome in in_parallel(jobs, lambda _: http.get(server.url, max_bytes=1 << 20), threads=2,
                                       stopping=threading.Event()):
                assert outcome.error is None
            if times == 3:
                raise OSError("no")

        journal = Journal()
        once, thrice = (journal.perform(f"fetch:{times}", lambda times=times: work(times))  # type: ignore[misc]
                        for times in (1, 3))
        http.get(server.url, max_bytes=1 << 20)
    assert thrice.state == FAILED
    assert thrice.traffic.received == 3 * once.traffic.received > 3 * 5000
    assert TOTAL.read().received - before.received == 5 * once.traffic.received == server.gave


def test_other_sessions_are_not_ours() -> None:
    with serving(body=b"z") as server, metered() as meter:
        requests.get(server.url, timeout=5)
        assert meter.read() == Traffic()


@pytest.mark.parametrize("number, text", [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
    (999_960_000, "1.0 GB"), (1_500_000_000, "1.5 GB"), (12_345_000_000_000, "12345.0 GB"),
])
def test_sizes_are_shown(number: int, text: str) -> None:
    assert size(number) == text
