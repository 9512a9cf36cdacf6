"""Downloads from a real server on loopback, with the faults that real servers have."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError, OutsideError
from foundry.net import http, transport
from tests.harness.rpmtools import Server, answer, body, serve, slow, status, truncated

DATA = bytes(range(256)) * 2000
SUM = hashlib.sha256(DATA).hexdigest()
MAX = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "file").write_bytes(DATA)
    with serve(folder) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out/file"


def fault(url: str, out: Path, **settings: object) -> FoundryError:
    """The error of a download; whatever it is, nothing stays behind."""
    arguments: dict[str, object] = {"sha256": SUM, "max_bytes": MAX, **settings}
    with pytest.raises(FoundryError) as caught:
        http.download(url, out, **arguments)  # type: ignore[arg-type]
    assert list(out.parent.iterdir()) == []
    return caught.value


def test_a_download(server: Server, out: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert http.download(f"{server.url}/file", out, sha256=SUM.upper(), max_bytes=len(DATA), log=log) == len(DATA)
    assert out.read_bytes() == DATA
    assert [p.name for p in out.parent.iterdir()] == ["file"]
    assert out.stat().st_mode & 0o777 == 0o644
    assert SUM in log.read_text()
    assert http.get(f"{server.url}/file", max_bytes=MAX) == DATA


def test_an_old_file_is_replaced_only_by_a_good_one(server: Server, out: Path) -> None:
    out.parent.mkdir()
    out.write_bytes(b"old")
    with pytest.raises(FoundryError):
        http.download(f"{server.url}/file", out, sha256="0" * 64, max_bytes=MAX)
    assert out.read_bytes() == b"old"
    http.download(f"{server.url}/file", out, sha256=None, max_bytes=MAX)
    assert out.read_bytes() == DATA


def test_a_wrong_digest(server: Server, out: Path) -> None:
    server.faults["/file"] = [body(b"<html>Sign in</html>")]
    error = fault(f"{server.url}/file", out)
    assert error.reason == "digest-mismatch"
    assert not isinstance(error, OutsideError)
    assert len(server.hits) == 1


def test_not_found_is_told_at_once(server: Server, out: Path) -> None:
    error = fault(f"{server.url}/none", out)
    assert (error.reason, error.exit_code, len(server.hits)) == ("http-404", 3, 1)
    assert f"{server.url}/none" in error.message


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_server_faults_are_tried_again(server: Server, out: Path, code: int) -> None:
    server.faults["/file"] = [status(code)]
    assert http.download(f"{server.url}/file", out, sha256=SUM, max_bytes=MAX) == len(DATA)
    assert len(server.hits) == 2


def test_a_server_that_stays_broken(server: Server, out: Path) -> None:
    server.faults["/file"] = [status(500)] * 9
    error = fault(f"{server.url}/file", out, retries=1)
    assert (error.reason, error.retry, len(server.hits)) == ("http-status", True, 2)


@pytest.mark.parametrize("code", [401, 403, 204, 206])
def test_other_answers_are_final(server: Server, out: Path, code: int) -> None:
    server.faults["/file"] = [status(code)]
    assert fault(f"{server.url}/file", out).reason == "http-status"
    assert len(server.hits) == 1


def test_a_cut_off_body_is_tried_again(server: Server, out: Path) -> None:
    server.faults["/file"] = [truncated(DATA)]
    assert http.download(f"{server.url}/file", out, sha256=SUM, max_bytes=MAX) == len(DATA)
    server.faults["/file"] = [truncated(DATA)] * 9
    out.unlink()
    assert fault(f"{server.url}/file", out, sha256=None, retries=1).reason == "http-truncated"


def test_retry_after_is_obeyed_and_bounded(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults["/file"] = [status(429, Retry_After="1")]
    started = time.monotonic()
    http.download(f"{server.url}/file", out, sha256=SUM, max_bytes=MAX)
    assert time.monotonic() - started >= 1
    out.unlink()
    server.faults["/file"] = [status(429, Retry_After=formatdate(time.time() + 9999, usegmt=True))]
    started = time.monotonic()
    assert fault(f"{server.url}/file", out, total=2).reason == "http-status"  # a wait beyond the limit is not begun
    assert time.monotonic() - started < 1
    server.faults["/file"] = [status(503, Retry_After="nonsense")]
    assert http.get(f"{server.url}/file", max_bytes=MAX) == DATA


@pytest.mark.parametrize("said, seconds", [
    ("5", 5), (" 5 ", 5), ("0", 0), ("-5", 0), ("1e9", 0), ("9" * 400, 86400), (" " * 20 + "7", 7), ("5; rm", 0),
    ("\x1b[31m", 0), ("5\x00", 0), ("\u0665", 0), ("inf", 0), ("nan", 0), ("", 0), ("0" * 9 + "5", 0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 86400), ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
    ("Mon, 01 Jan 0001 00:00:00 -0000", 0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 -2359", 86400),
    ("Fri, 99 Dec 2030 99:99:99 GMT", 0), ("Fri, 31 Dec 99999999999 23:59:59 GMT", 0), (",", 0), ("GMT", 0),
])
def test_whatever_retry_after_says(said: str, seconds: float) -> None:
    assert transport._retry_after(said) == seconds


@given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{1,12} (Jan|Feb|Dec) [0-9]{0,12} [0-9:]{0,9} ?[+-]?\w{0,9}\Z"))
def test_retry_after_is_a_time_within_a_day(said: str) -> None:
    assert 0 <= transport._retry_after(said) <= 86400


def test_a_slow_server_is_not_waited_for(server: Server, out: Path) -> None:
    server.faults["/file"] = [slow(20, 0.05)]
    started = time.monotonic()
    error = fault(f"{server.url}/file", out, total=0.5)
    assert (error.reason, error.retry) == ("http-timeout", True)
    assert time.monotonic() - started < 3


def test_a_silent_server_is_not_waited_for(server: Server, out: Path) -> None:
    server.faults["/file"] = [slow(1.5, 1.0)] * 2
    started = time.monotonic()
    error = fault(f"{server.url}/file", out, timeout=(1, 0.2), retries=1)
    assert error.reason == "http-timeout"
    assert time.monotonic() - started < 5


def test_too_large(server: Server, out: Path) -> None:
    assert fault(f"{server.url}/file", out, max_bytes=len(DATA) - 1).reason == "http-too-large"
    server.faults["/file"] = [slow(5, 0)]
    assert fault(f"{server.url}/file", out, max_bytes=100).reason == "http-too-large"


def test_nobody_listens(out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = fault(f"http://127.0.0.1:{port}/x", out, retries=1)
    assert (error.reason, error.exit_code) == ("http-unreachable", 3)
    assert "Connection refused" in error.message


def test_redirects(server: Server, out: Path) -> None:
    server.faults["/a"] = [status(302, Location="/file")]
    assert http.download(f"{server.url}/a", out, sha256=SUM, max_bytes=MAX) == len(DATA)
    out.unlink()
    server.faults["/a"] = [status(302, Location="/a")] * 20
    assert fault(f"{server.url}/a", out).reason == "http-redirect"
    server.faults["/a"] = [status(302, Location="file:///etc/passwd")]
    assert fault(f"{server.url}/a", out).reason == "http-redirect"


def test_secrets_in_a_url_stay_there(server: Server, out: Path, tmp_path: Path) -> None:
    url = server.url.replace("://", "://robot:hunter2@") + "/none?token=hunter2#hunter2"
    log = tmp_path / "log"
    error = fault(url, out, log=log)
    assert "hunter2" not in error.render() + log.read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = fault(f"http://robot:hunter2@127.0.0.1:{port}/?hunter2", out, log=log, retries=0)
    assert "hunter2" not in error.render() + log.read_text()


def test_content_arrives_as_it_is_stored(server: Server, out: Path) -> None:
    """A compressed file that the server also declares as encoded is not unpacked on the way."""
    server.faults["/file"] = [lambda handler: answer(handler, 200, DATA, Content_Encoding="gzip")]
    assert http.download(f"{server.url}/file", out, sha256=SUM, max_bytes=MAX) == len(DATA)


def test_a_proxy_is_not_asked_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http.get(f"{server.url}/file", max_bytes=MAX) == DATA


def test_local_files(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "with blank %41"
    source.write_bytes(DATA)
    assert http.download(source.as_uri(), out, sha256=SUM, max_bytes=MAX) == len(DATA)
    out.unlink()
    assert fault(source.as_uri(), out, sha256="0" * 64).reason == "digest-mismatch"
    assert fault(source.as_uri(), out, max_bytes=5).reason == "http-too-large"
    assert fault((tmp_path / "none").as_uri(), out).reason == "file-missing"
    assert fault(tmp_path.as_uri(), out).reason == "file-unreadable"


@pytest.mark.parametrize("url", ["", "x", "ftp://host/x", "http://", "file://host/x", "http://[bad", "file:///a%00b"])
def test_urls_that_are_none(out: Path, url: str) -> None:
    assert fault(url, out).reason == "url-unsupported"


def test_a_full_disk_is_the_machines_fault(server: Server) -> None:
    with pytest.raises(OutsideError) as caught:
        http.download(f"{server.url}/file", Path("/proc/none/file"), sha256=None, max_bytes=MAX)
    assert caught.value.reason == "disk"
