"""Servers on this machine that speak TLS, with a certificate made for the test."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

OTHER = "127.0.0.2"  # this machine, too, but none of the names of loopback: a client takes it for a foreign host


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself: the file for clients, the context for servers."""

    file: Path
    context: ssl.SSLContext


def certificate(folder: Path, *addresses: str) -> Certificate:
    """Make one for these IP addresses."""
    folder.mkdir(parents=True, exist_ok=True)
    key, file = folder / "key.pem", folder / "cert.pem"
    names = ",".join(f"IP:{address}" for address in addresses)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
                    "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(file)],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)
