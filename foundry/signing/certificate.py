"""The certificate of the key that modules are signed with: what it says, and whether kernels take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import read_file, sha256_bytes
from foundry.base.plain_text import line
from foundry.base.reasons import Reason
from foundry.formats.modules.certificate import der_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509

SHORTEST = 2048  # bits
_LONGEST = 4096  # bits: the kernel verifies no longer ones (crypto/asymmetric_keys/public_key.c, MAX_KEY_SIZE)
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Certificate:
    """A certificate: its DER, the SHA-256 of that (64 hex digits), its common name, and when it is valid.

    `warnings` say why some kernels would not trust it.
    """

    der: bytes
    fingerprint: str
    subject: str
    not_before: datetime
    not_after: datetime
    warnings: tuple[str, ...] = ()


def read_certificate(path: Path) -> Certificate:
    """The certificate in a file, in PEM or DER. FoundryError as of `parse_certificate`."""
    return parse_certificate(der_in(path), path)


def parse_certificate(der: bytes, path: Path) -> Certificate:
    """The certificate in DER that is in that file.

    FoundryError: ``certificate-unreadable``; ``certificate-weak`` for keys that modules can't be signed with.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import NameOID, load_der_x509_certificate

    try:
        parsed = load_der_x509_certificate(der)
        names, warnings = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME), tuple(_warnings(parsed))
        key = parsed.public_key()
    except Exception as error:  # cryptography has several kinds for bytes that are none
        raise _unreadable(path, "is no certificate that can be read") from error
    if not isinstance(key, RSAPublicKey):
        raise _weak(path, "is of a key that is not RSA")
    if not SHORTEST <= key.key_size <= _LONGEST:
        raise _weak(path, f"is of a key of {key.key_size} bits")
    return Certificate(der, sha256_bytes(der), line(str(names[0].value), _LONGEST_NAME) if names else "",
                       parsed.not_valid_before_utc, parsed.not_valid_after_utc, warnings)


def require_valid(certificate: Certificate, now: datetime | None = None) -> None:
    """FoundryError (``certificate-expired``, ``certificate-not-yet-valid``) unless it is valid now."""
    now = now or datetime.now(UTC)
    if now > certificate.not_after:
        raise FoundryError(
            f"the certificate {certificate.subject!r} expired on {certificate.not_after:%Y-%m-%d}",
            reason=Reason.CERTIFICATE_EXPIRED,
            hint="make a new key and certificate (`doit signing:new`), have the nodes trust it, then change `signing`")
    if now < certificate.not_before:
        raise FoundryError(
            f"the certificate {certificate.subject!r} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC",
            reason=Reason.CERTIFICATE_NOT_YET_VALID, hint="is this machine's clock right?")


def der_in(path: Path) -> bytes:
    """The DER of the certificate in a file. FoundryError (``certificate-unreadable``)."""
    try:
        return der_of(read_file(path))
    except FileNotFoundError as error:
        raise _unreadable(path, "does not exist") from error
    except OSError as error:
        raise _unreadable(path, f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise _unreadable(path, str(error)) from error


def _warnings(parsed: X509) -> Iterator[str]:
    """Why RHEL would not take the certificate both as a machine owner's key and from the firmware's db.

    A machine owner's key reaches the keyring `.machine` only as that of an authority that signs certificates alone
    (CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX, since RHEL 9.3); the kernel looks keys up by the subject key identifier.
    """
    from cryptography.x509 import BasicConstraints, KeyUsage, SubjectKeyIdentifier

    extensions = {type(one.value): one for one in parsed.extensions}
    basic, usage = extensions.get(BasicConstraints), extensions.get(KeyUsage)
    if basic is None or not basic.critical or not basic.value.ca:
        yield "it has no critical basicConstraints with CA:TRUE"
    if usage is None or not usage.value.key_cert_sign:
        yield "its keyUsage lacks keyCertSign"
    if usage is not None and usage.value.digital_signature:
        yield "its keyUsage has digitalSignature"
    if SubjectKeyIdentifier not in extensions:
        yield "it has no subjectKeyIdentifier"


def _unreadable(path: Path, why: str) -> FoundryError:
    return FoundryError(f"the certificate {path} {why}", reason=Reason.CERTIFICATE_UNREADABLE,
                        hint="`signing.certificate` names the file; `doit signing:new` makes one")


def _weak(path: Path, why: str) -> FoundryError:
    return FoundryError(
        f"the certificate {path} {why}", reason=Reason.CERTIFICATE_WEAK,
        hint=f"modules are signed with RSA keys of {SHORTEST} to {_LONGEST} bits; `doit signing:new` makes one")
