"""Real packages, keys, repositories and servers for tests, made by the real tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

_SPEC = """
%define _binary_payload {payload}
%define _build_id_links none
%define _use_internal_dependency_generator 0
Name: {name}
Version: {version}
Release: {release}
Summary: A thing
License: GPL-2.0
BuildArch: noarch
AutoReqProv: no
%description
A thing to unpack.
%install
d=%{{buildroot}}/usr/src/thing-{version}; mkdir -p $d/empty $d/sub
echo "version {version} {text}" >$d/main.c
printf '#!/bin/sh\\nexit 0\\n' >$d/tool; chmod 4755 $d/tool
: >$d/nothing
echo shared >$d/one; ln $d/one $d/sub/two; ln $d/one $d/sub/three
ln -s ../main.c $d/sub/link
%post
echo postin
%files
/usr/src/thing-{version}
%ghost /var/log/thing.log
"""


def command(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv], env={**os.environ, "LC_ALL": "C", **(env or {})},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def build_rpm(
    folder: Path, *, name: str = "thing-dkms", version: str = "1.2.3", release: str = "1",
    payload: str = "w2.xzdio", text: str = "", when: int | None = None,
) -> Path:
    """Build a package with rpmbuild; `payload` is rpm's name of a compressor, `when` its build time."""
    top = Path(tempfile.mkdtemp(dir=folder, prefix="top-"))
    spec = top / "thing.spec"
    spec.write_text(_SPEC.format(name=name, version=version, release=release, payload=payload, text=text))
    dates = ["--define", "use_source_date_epoch_as_buildtime 1"] if when is not None else []
    command("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", "--define", "_rpmfilename p.rpm", *dates, spec,
            env={"SOURCE_DATE_EPOCH": str(when)} if when is not None else None)
    path = folder / f"{name}-{version}-{release}.noarch.rpm"
    shutil.move(top / "RPMS/p.rpm", path)
    shutil.rmtree(top)
    return path


@dataclass(frozen=True)
class Key:
    home: Path
    fingerprint: str
    file: Path


@contextmanager
def signing_key(*options: str, expires: str = "never", armor: bool = True, kind: str = "rsa2048") -> Iterator[Key]:
    """A throwaway key; `options` go to gpg, such as --faked-system-time, `kind` is gpg's name of an algorithm."""
    home = Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))  # the agent's socket needs a short path
    env = {"GNUPGHOME": str(home)}
    try:
        command("gpg", "--batch", "--passphrase", "", "--pinentry-mode", "loopback", *options,
                "--quick-generate-key", "Test Vendor <vendor@invalid>", kind, "sign", expires, env=env)
        listing = command("gpg", "--batch", "--with-colons", "--list-keys", env=env)
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        file = home / "key.pub"
        command("gpg", "--batch", *(["--armor"] if armor else []), "--output", file, "--export", env=env)
        yield Key(home, fingerprint, file)
    finally:
        command("gpgconf", "--kill", "all", env=env)
        shutil.rmtree(home, ignore_errors=True)


def secret_key(key: Key) -> bytes:
    """The secret key as gpg exports it, without armour."""
    file = key.home / "secret-key"
    command("gpg", "--batch", "--yes", "--passphrase", "", "--pinentry-mode", "loopback",
            "--output", file, "--export-secret-keys", env={"GNUPGHOME": str(key.home)})
    return file.read_bytes()


def sign_bytes(data: bytes, key: Key, *options: str) -> bytes:
    """A detached binary signature."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "data")
        file.write_bytes(data)
        command("gpg", "--batch", *options, "--detach-sign", file, env={"GNUPGHOME": str(key.home)})
        return Path(folder, "data.sig").read_bytes()


def sign_message(data: bytes, key: Key, *options: str, mode: str = "--sign") -> bytes:
    """A signed message that holds the data; `mode` is gpg's name of another form."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "data")
        file.write_bytes(data)
        command("gpg", "--batch", *options, "--output", f"{file}.gpg", mode, file, env={"GNUPGHOME": str(key.home)})
        return Path(f"{file}.gpg").read_bytes()


def sign_rpm(path: Path, key: Key, *options: str) -> None:
    """Sign the header, and header and payload (``--rpmv3``), or as `options` say; gpg's signatures are of version 4."""
    command("rpmsign", "--define", "__gpg /usr/bin/gpg", "--define", f"_gpg_name {key.fingerprint}",
            *(options or ("--rpmv3",)), "--addsign", path, env={"GNUPGHOME": str(key.home)})


def index(folder: Path, *options: str) -> None:
    command("createrepo_c", "--quiet", "--compress-type=gz", "--general-compress-type=gz", *options, folder)


@dataclass
class Server:
    """A web server over a folder; `faults` are tried in order, each until it returns False."""

    url: str
    folder: Path
    hits: list[str] = field(default_factory=list)
    unmodified: int = 0  # answers that said only that nothing changed
    faults: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = field(default_factory=dict)

    def count(self, part: str) -> int:
        return sum(part in hit for hit in self.hits)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve `folder` on loopback; a path's faults answer its first requests, one each."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.hits.append(self.path)
            if queue := server.faults.get(self.path.partition("?")[0]):
                queue.pop(0)(self)
                return
            file = server.folder / unquote(self.path.partition("?")[0]).lstrip("/")
            if not file.is_file():
                answer(self, 404, b"<html>no</html>")
                return
            tag = f'"{sha256(file)}"'
            if self.headers.get("If-None-Match") == tag:
                server.unmodified += 1
                self.send_response(304)
                self.end_headers()
                return
            answer(self, 200, file.read_bytes(), ETag=tag)

        def log_message(self, *_: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}", folder)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: answer(handler, code, b"<html>sorry</html>", **headers)


def body(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: answer(handler, 200, data)


def truncated(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Announces all of `data`, sends half of it, hangs up."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])

    return fault


def slow(seconds: float, step: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte every `step` seconds for `seconds`."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(step)
        except OSError:
            return

    return fault


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
