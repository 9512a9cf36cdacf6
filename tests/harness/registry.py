"""A real registry on loopback, with the ways to log in that registries have, and images to put into it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import zstandard

from tests.harness.front import send, serving
from tests.harness.secrets import BASIC, PASSWORD, USER

_BCRYPT = "$2b$04$aC/VCk4pMezNbEHhncN.H.hkNPSgPjpdx44iRy3jEORclwGY27JdO"  # of PASSWORD
_BCRYPT_MOTO = "$2b$04$skL9jvFR/GXNAFO9HUDJJODK6a.7CIq5Oial.i/6VTQpKBXpKurhu"  # of ECR's password as moto has it
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
_START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def real_registry(folder: Path, auth: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Debian's docker-registry; yields ``127.0.0.1:port``."""
    port = free_port()
    config = {
        "version": "0.1", "log": {"level": "error"}, "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "x"}, **({"auth": auth} if auth else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    with (folder / "registry.log").open("wb") as log:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}  # its settings
        process = subprocess.Popen(["docker-registry", "serve", str(file)], stdout=log, stderr=log, env=clean)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None and time.monotonic() < deadline, (folder / "registry.log").read_text()
                time.sleep(0.02)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def htpasswd(folder: Path) -> dict[str, Any]:
    """The registry's setting for basic auth, with one user and what moto says that ECR's is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\nAWS:{_BCRYPT_MOTO}\n")
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}


@dataclass
class Issuer:
    """A token server as the token specification has it; counts what it is asked, and by whom."""

    folder: Path
    life: int = 300  # seconds
    anonymous: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()  # actions that nobody may do
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def setting(self) -> dict[str, Any]:
        return {"token": {"realm": f"{self.url}/token", "service": "test-registry", "issuer": "test-issuer",
                          "rootcertbundle": str(self.folder / "cert.pem")}}

    def token(self, scopes: Sequence[str]) -> str:
        """A JWT signed with RS256, its certificate in ``x5c``; by openssl."""
        certificate = "".join((self.folder / "cert.pem").read_text().splitlines()[1:-1])
        now = int(time.time())
        access = [{"type": kind, "name": name, "actions": sorted({*actions.split(",")} - {*self.withheld})}
                  for kind, name, actions in (scope.split(":") for scope in scopes)]
        claims = {"iss": "test-issuer", "sub": USER, "aud": "test-registry", "exp": now + self.life, "nbf": now - 10,
                  "iat": now, "jti": str(time.monotonic_ns()), "access": access}
        head = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(self.folder / "key.pem")], input=signed,
                              capture_output=True, check=True)
        return (signed + b"." + _base64url(done.stdout)).decode()


@contextmanager
def token_issuer(folder: Path, **settings: Any) -> Iterator[Issuer]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=issuer",
                    "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
                   check=True, capture_output=True)
    issuer = Issuer(folder, **settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            self._answer(scopes, self.headers.get("Authorization", "") == BASIC)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(form.get("scope", []), form.get("refresh_token") == [PASSWORD])

        def _answer(self, scopes: list[str], known: bool) -> None:
            issuer.asked.append((" ".join(scopes), "user" if known else "anyone"))
            fits = known or ("Authorization" not in self.headers and all(
                scope.split(":")[1] in issuer.anonymous for scope in scopes))
            document = {"token": issuer.token(scopes), "expires_in": issuer.life} if fits else {"details": "no"}
            send(self, 200 if fits else 401, json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler) as port:
        issuer.url = f"http://127.0.0.1:{port}"
        yield issuer


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# -- images ------------------------------------------------------------------


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of regular files; whiteouts are files too."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def compressed(data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if kind == "zstd" else data


@dataclass
class Pusher:
    """Puts images into a registry by the protocol's simplest way."""

    address: str
    repository: str
    auth: tuple[str, str] | None = None
    token: str = ""

    def blob(self, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        begun = self._ask("POST", f"http://{self.address}/v2/{self.repository}/blobs/uploads/")
        where = begun.headers["Location"]
        where = where if where.startswith("http") else f"http://{self.address}{where}"
        self._ask("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", data,
                  {"Content-Type": "application/octet-stream"})
        return {"digest": digest, "size": len(data)}

    def manifest(self, document: Mapping[str, Any], tag: str = "") -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        url = f"http://{self.address}/v2/{self.repository}/manifests/{tag or digest}"
        self._ask("PUT", url, data, {"Content-Type": document["mediaType"]})
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def image(
        self, layers: Sequence[bytes], *, labels: Mapping[str, str] | None = None, arch: str = "amd64", tag: str = "",
        created: str | None = None,
    ) -> dict[str, Any]:
        """An image of layers as stored; the descriptor of its manifest."""
        config = {"architecture": arch, "os": "linux", "config": {"Labels": dict(labels or {})},
                  "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in layers]}}
        config |= {"created": created} if created else {}
        document = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, **self.blob(json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **self.blob(layer)} for layer in layers],
        }
        return self.manifest(document, tag)

    def index(self, images: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """An index over images by architecture."""
        entries = [{**one, "platform": {"os": "linux", "architecture": arch}} for arch, one in images.items()]
        return self.manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})

    def _ask(
        self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        done = requests.request(method, url, data=data, headers={**bearer, **(headers or {})}, auth=self.auth,
                                timeout=60)
        assert done.status_code < 300, (method, url, done.status_code, done.text)
        return done


def release_file(kernel: str, rt: str = "", rhel: str = "9.4") -> bytes:
    return json.dumps({"KERNEL_VERSION": kernel, "RT_KERNEL_VERSION": rt, "RHEL_VERSION": rhel}).encode()
