"""Keys and certificates that sign modules in tests, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

GOOD = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "subjectKeyIdentifier=hash")
_folder = TemporaryDirectory(prefix="kmod-foundry-signing-")  # removed with the process


@dataclass(frozen=True)
class Der:
    der: bytes


@dataclass(frozen=True)
class Pair:
    """A key and its self-signed certificate, as PEM files; signs without any code of ours."""

    key: Path
    file: Path

    @property
    def certificate(self) -> Der:
        return Der(openssl("x509", "-in", self.file, "-outform", "DER"))

    def sign(self, content: bytes, hash_name: str) -> bytes:
        key = load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key.sign(content, padding.PKCS1v15(), getattr(hashes, hash_name.upper())())


def openssl(*words: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


def make_pair(
    folder: Path, subject: str = "/O=A site/CN=A site's modules", *, kind: str = "rsa:2048", days: int = 36500,
    extensions: tuple[str, ...] = GOOD, more: tuple[str, ...] = (),
) -> Pair:
    pair = Pair(folder / "signing.key", folder / "signing.crt")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [word for one in extensions for word in ("-addext", one)]
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")  # nothing of the system's own file
    openssl("req", "-config", folder / "openssl.cnf", "-x509", "-newkey", kind, "-nodes", "-keyout", pair.key,
            "-out", pair.file, "-days", str(days), "-subj", subject, "-utf8", *parts, *more)
    pair.key.chmod(0o600)
    return pair


@cache
def pair_named(name: str) -> Pair:
    """One of this process, made once."""
    return make_pair(Path(_folder.name) / name, f"/O=A site/CN={name}")
