"""A repository that is down, wrong, slow or malicious: `doit fetch` says so, leaves nothing, goes on when mended."""

from __future__ import annotations

import gzip
import resource
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.harness import rpmtools
from tests.harness.clone import Run
from tests.harness.refusal import Failure, refused
from tests.harness.rpmtools import Key, Server, body, serve, slow, status, truncated
from tests.harness.vendor import DRIVER, PACKAGE, LocalClone, publish

TASK = f"fetch:{DRIVER}"
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
OFTEN = 20  # a fault that stays, for all attempts
Fault = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(scope="module")
def good(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as createrepo_c writes it, with two versions."""
    folder = tmp_path_factory.mktemp("good")
    for version in (DRIVER, "2.20.1.0"):
        rpmtools.sign_rpm(rpmtools.build_rpm(folder, name=PACKAGE, version=version), key)
    rpmtools.index(folder, "--simple-md-filenames")
    shutil.copyfile(key.file, folder / "key.pub")
    return folder


@pytest.fixture
def server(good: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(good, tmp_path / "www")
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def clone(server: Server, key: Key, tmp_path: Path) -> LocalClone:
    return LocalClone(tmp_path, f"{server.url}/", key)


def fails(clone: LocalClone, code: int, reason: str, *words: str, hint: str = "") -> Failure:
    """The fetch fails as it should, nothing is locked and no package is there."""
    before = (clone.root / "config/locks/neuron.json").read_bytes()
    failure = refused(clone, clone.doit(TASK), TASK, code, reason, *words, hint=hint)
    assert (clone.root / "config/locks/neuron.json").read_bytes() == before
    assert clone.fetched == []
    return failure


def works(clone: LocalClone) -> None:
    """The mended input is taken, and nothing is left of the failure."""
    run = clone.doit(TASK)
    assert run.code == 0, run.text
    assert clone.fetched == ["fetch.json", "package.rpm"]
    assert not (clone.build / f"sources/{DRIVER}/failure.json").exists()
    assert list(clone.locked) == [DRIVER]
    assert clone.doit(TASK).connections == []


def test_nobody_listens(clone: LocalClone, server: Server) -> None:
    url = clone.address
    clone.fetch_from("http://127.0.0.1:9/")
    fails(clone, 3, "http-unreachable", "127.0.0.1:9", "Connection refused", hint="network")
    clone.fetch_from(url)
    works(clone)


FILES = ("key.pub", "repodata/repomd.xml", "repodata/primary.xml.gz", f"{PACKAGE}-{DRIVER}-1.noarch.rpm")


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_there(clone: LocalClone, server: Server, name: str) -> None:
    kept = (server.folder / name).rename(server.folder / "away")
    fails(clone, 3, "http-404", f"/{name}: the server answers 404", hint="check the address")
    kept.rename(server.folder / name)
    if name == FILES[0]:
        works(clone)


@pytest.mark.parametrize("name", FILES[1::2])
def test_an_answer_that_is_cut_off(clone: LocalClone, server: Server, name: str) -> None:
    data = (server.folder / name).read_bytes()
    server.faults = {f"/{name}": [truncated(data)] * OFTEN}
    fails(clone, 3, "http-truncated", f"/{name}: the answer is cut off", hint="again later")
    if name == FILES[-1]:
        server.faults = {f"/{name}": [truncated(data)]}
        works(clone)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Takes the request and says nothing until the other side gives up."""
    handler.connection.recv(1)


def test_a_server_that_sends_a_byte_a_second(clone: LocalClone, server: Server) -> None:
    waits(clone, server, slow(60, 1.0))


def test_a_server_that_sends_nothing(clone: LocalClone, server: Server) -> None:
    waits(clone, server, silent)


def waits(clone: LocalClone, server: Server, fault: Fault) -> None:
    """Either of two time limits may be over first: that between two bytes, or that of everything."""
    clone.edit("config/defaults.yaml", "network_timeout: 900", "network_timeout: 2")
    for name in (FILES[0], FILES[-1]):
        server.faults = {f"/{name}": [fault] * OFTEN}
        started = time.monotonic()
        fails(clone, 3, "http-timeout", f"/{name}: ", hint="network_timeout")
        assert time.monotonic() - started < 8
    server.faults = {}
    works(clone)


def test_a_page_instead_of_metadata(clone: LocalClone, server: Server) -> None:
    """The page of a proxy that wants a password, with status 200."""
    server.faults = {"/repodata/repomd.xml": [body(PAGE)] * OFTEN}
    fails(clone, 1, "repodata-malformed", "repomd.xml is an HTML page", hint="repository's address")
    server.faults = {"/key.pub": [body(PAGE)] * OFTEN}
    fails(clone, 1, "key-damaged", "holds no public key block", hint="`signing`")
    server.faults = {f"/{FILES[-1]}": [body(PAGE)] * OFTEN}
    fails(clone, 1, "digest-mismatch", FILES[-1])
    server.faults = {"/repodata/repomd.xml": [status(200)] * OFTEN}
    fails(clone, 1, "repodata-malformed", "repomd.xml is an HTML page")
    server.faults = {}
    works(clone)


def test_a_page_as_the_primary_list(clone: LocalClone, server: Server, key: Key) -> None:
    """Checksums are right: somebody indexed it."""
    publish(server, key, primary=gzip.compress(PAGE))
    fails(clone, 1, "repodata-malformed", "the primary list is an HTML page", hint="address")


def bomb(kind: str) -> bytes:
    """600 MiB behind some kilobytes: zeros, or blanks where a list may have them."""
    head, block = {
        "zeros": (b"", bytes(1 << 20)), "between": (b"<metadata>", b" " * (1 << 20)),
        "inside": (b'<metadata><package type="rpm">', b" " * (1 << 20)),
        "deep": (b"<metadata>", b"<a>" * (1 << 18)),
    }[kind]
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([pack.compress(head), *(pack.compress(block) for _ in range(600)), pack.flush()])


@pytest.mark.parametrize("kind, reason, said", [
    ("zeros", "repodata-malformed", "the primary list is damaged"),
    ("between", "repodata-too-large", "the primary list holds more than"),
    ("inside", "repodata-too-large", "the primary list holds more than"),
    ("deep", "repodata-malformed", "elements that no such document has"),
])
def test_a_bomb_of_a_primary_list(
    clone: LocalClone, server: Server, key: Key, kind: str, reason: str, said: str
) -> None:
    """Neither memory nor time: the process has 400 MB of address space to its name and some seconds."""
    packed = bomb(kind)
    assert len(packed) < 4 << 20
    publish(server, key, primary=packed)
    started = time.monotonic()
    done = subprocess.run(
        clone.command(TASK), cwd=clone.root, env=clone.environment(), capture_output=True, text=True, check=False,
        timeout=60, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20)),
    )
    assert time.monotonic() - started < 20
    run = Run(done.returncode, done.stdout, done.stderr, [], [])
    refused(clone, run, TASK, 1, reason, said, hint="address")
    assert clone.fetched == []


def test_a_version_that_the_repository_does_not_have(clone: LocalClone, server: Server) -> None:
    clone.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16.30"]} for driver in ("9.9", DRIVER)])
    run = clone.doit("fetch")
    failure = refused(clone, run, "fetch:9.9", 1, "driver-unknown",
                      f"the repository has no {PACKAGE}", "9.9", hint=f"it has {DRIVER}, 2.20.1.0")
    assert "9.9" in failure.sentence
    assert list(clone.locked) == [DRIVER], "the other driver is fetched all the same"
    assert sorted(path.name for path in (clone.build / "sources/9.9").iterdir()) == [
        "failure.json", "fetch.log", "signing-key.asc"
    ]
    clone.write("build-matrix.json", [{"driver": "2.20.1.0", "ocp_versions": ["4.16.30"]}])
    assert clone.doit("fetch").code == 0
