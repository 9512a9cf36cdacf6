"""New keys: with a certificate, to sign modules, or with a public half, to sign images; and the sandbox's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEY_FILE, CERTIFICATE_FILE, DER_FILE = "signing.key", "signing.crt", "signing.der"
IMAGE_KEY_FILE, PUBLIC_FILE = "image.key", "image.pub"
KEY_MODE = 0o600
# Bits. The kernel takes 4096, but not every firmware and shim does in db and among the machine owner's keys; Debian,
# Ubuntu and DKMS make such keys of 2048 bits for that reason, and it is enough (NIST SP 800-131A).
_BITS = 2048
_YEAR = timedelta(days=365.25)
_CLOCKS_DIFFER = timedelta(days=1)


def write_pair(folder: Path, name: str, *, years: int, passphrase: str = "") -> None:
    """Make a key and a certificate with the common name; the files in `folder` are new, or UsageError.

    The certificate is one that RHEL trusts both as a machine owner's key and from the firmware's db: of an authority
    that signs certificates alone (`foundry.signing.certificate`).
    """
    _write(folder, _pair(name, years, passphrase))


def write_image_pair(folder: Path, passphrase: str = "") -> None:
    """Make a key to sign images with, and its public half; the files in `folder` are new, or UsageError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(folder, {IMAGE_KEY_FILE: _private_pem(key, passphrase), PUBLIC_FILE: public})


def _private_pem(key: RSAPrivateKey | EllipticCurvePrivateKey, passphrase: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    files = {folder / file: content for file, content in contents.items()}
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    try:
        for path, content in files.items():
            mode = KEY_MODE if path.name in (KEY_FILE, IMAGE_KEY_FILE) else 0o644
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                made.append(path)
                stream.write(content)
    except FileExistsError as error:
        _remove(made)
        raise UsageError(f"{error.filename} is there already", hint="name another folder: --out DIR") from None
    except BaseException:  # an interruption, too, leaves no half of a pair; it is raised on
        _remove(made)
        raise


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _pair(name: str, years: int, passphrase: str) -> dict[str, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    try:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise UsageError(f"{name!r} can't be a certificate's name", hint="it has 1 to 64 characters") from error
    now = datetime.now(UTC)
    usage = dict.fromkeys((
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
        "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER).not_valid_after(now + years * _YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {
        KEY_FILE: _private_pem(key, passphrase),
        CERTIFICATE_FILE: certificate.public_bytes(Encoding.PEM),
        DER_FILE: certificate.public_bytes(Encoding.DER),
    }
