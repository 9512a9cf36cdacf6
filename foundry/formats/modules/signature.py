"""The signature that the kernel expects at the end of a module: taken off, made, added to, checked.

A PKCS#7 message over all bytes before it, 12 bytes that give its length, a mark (kernel/module_signature.c,
include/linux/module_signature.h). What `signed` makes is, byte by byte, what the kernel's ``scripts/sign-file`` makes:
without certificates and attributes, the signer by issuer and serial number. RSA with PKCS #1 v1.5 has no randomness:
the same module, key and hash give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from foundry.base.errors import FoundryError
from foundry.base.plain_text import line
from foundry.base.reasons import Reason

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509

    from foundry.formats.modules.pkcs7 import SignedData, SignerInfo

MARK = b"~Module signature appended~\n"
HASHES = ("sha256", "sha384", "sha512")  # of CONFIG_MODULE_SIG_HASH, those that are strong
_TRAILER = struct.Struct(">8BI")  # algorithm, hash, kind, two lengths, three of padding; bytes of the message
_PKCS7 = (0, 0, 2, 0, 0, 0, 0, 0)  # all else is 0 with a PKCS#7 message (mod_check_sig)
_BEGINS = bytes.fromhex("06092a864886f70d010702a0")  # a message of PKCS#7: its kind
_LARGEST = 1 << 16  # bytes in which a message is looked for that was cut off


class Certificate(Protocol):
    """A certificate, as DER."""

    @property
    def der(self) -> bytes:
        """All its bytes."""


class Signer(Protocol):
    """Who signs: the certificate, and what its RSA key makes of content (PKCS #1 v1.5)."""

    @property
    def certificate(self) -> Certificate:
        """The key's certificate."""

    def sign(self, content: bytes, hash_name: str) -> bytes:
        """The signature alone, as long as the key; `hash_name` is one of `HASHES`."""


@dataclass(frozen=True)
class Signature:
    """A good signature: the signer as modinfo shows it, the certificate's SHA-256 (64 hex digits), the hash's name."""

    signer: str
    fingerprint: str
    hash_name: str


def split(content: bytes) -> tuple[bytes, bytes | None]:
    """The module without its last signature, and the message of that; None where there is none.

    FoundryError (``module-signature-malformed``, ``module-signature-truncated``) when the bytes before the mark are
    none that the kernel takes.
    """
    if not content.endswith(MARK):
        return content, None
    end = len(content) - len(MARK) - _TRAILER.size
    if end < 0:
        raise _truncated("the file has the mark of a signature and is too short for one")
    *fields, size = _TRAILER.unpack_from(content, end)
    if tuple(fields) != _PKCS7 or not size:
        raise _malformed(f"its trailer says {bytes(fields).hex(' ')}, {size} bytes")
    if size >= end:
        raise _truncated(f"the signature is said to have {size} bytes, and {end} are there for module and signature")
    return content[:end - size], content[end - size:end]


def signed(content: bytes, signer: Signer, hash_name: str) -> bytes:
    """The module with this signature and no other. FoundryError as of `split`, and ``module-signature-hash``."""
    from foundry.formats.modules import pkcs7

    module = bare(content)
    return _appended(module, pkcs7.write(pkcs7.BY_ISSUER, [_signer_info(module, signer, hash_name, pkcs7.BY_ISSUER)]))


def added(content: bytes, signer: Signer, hash_name: str) -> bytes:
    """The module with this signature beside those that it has; one by the same certificate is replaced.

    The kernel takes the module if it trusts one of the signers. FoundryError as of `signed`, and
    ``module-signature-beside`` for a signature that no other can stand beside.
    """
    from foundry.formats.modules import pkcs7

    module, message = split(content)
    if message is None:
        return signed(content, signer, hash_name)
    data, certificate = _read(message), _x509(signer.certificate)
    others = [one for one in data.signers.as_list() if not one.names(certificate)]
    if any(one.attributes for one in others):  # pkcs7_verify
        raise FoundryError("the module's signature has attributes: kernels load no such module, also with another one",
                           reason=Reason.MODULE_SIGNATURE_BESIDE, hint="replace the signature instead")
    try:
        ours = _signer_info(module, signer, hash_name, data.version)
    except ValueError as error:
        raise FoundryError(f"the module's signature names its signer by key id: {error}",
                           reason=Reason.MODULE_SIGNATURE_BESIDE, hint="replace the signature instead") from error
    return _appended(module, pkcs7.write(data.version, [*others, ours], data))


def signers(content: bytes, *, but: Certificate | None = None) -> dict[str, str]:
    """Who the module says that signed it, for people, each with the hash's name; nothing of it is checked.

    Without those that name the certificate `but`.

    FoundryError: ``module-signature-malformed``, ``module-signature-truncated``.
    """
    _, message = _split_whole(content)
    found = _read(message).signers.as_list() if message is not None else []
    return {_told(one): one.hash_name for one in found if but is None or not one.names(_x509(but))}


def check(content: bytes, certificate: Certificate) -> Signature:
    """That the certificate's key signed the module as it is; other signers may stand beside it.

    FoundryError: ``module-signature-missing``, ``-malformed``, ``-truncated``, ``-wrong-key``, ``-bad`` (the module was
    changed after it was signed), ``-hash``.
    """
    module, message = _split_whole(content)
    if message is None:
        raise FoundryError("the module is not signed", reason=Reason.MODULE_SIGNATURE_MISSING,
                           hint="was it stripped after it was signed?")
    x509, data = _x509(certificate), _read(message)
    signers = data.signers.as_list()
    ours = next((one for one in signers if one.names(x509)), None)
    if ours is None:
        raise _other_key("the module is signed by " + ", ".join(_told(one) for one in signers), x509)
    if ours.hash_name not in HASHES:
        raise _unknown_hash(ours.hash_name)
    if ours.hash.name not in [one.name for one in data.hashes.as_list()]:
        raise _malformed("it does not list the signer's hash")
    _verify(module, ours, x509)
    return Signature(_common_name(x509.issuer.public_bytes()), hashlib.sha256(certificate.der).hexdigest(),
                     ours.hash_name)


def _split_whole(content: bytes) -> tuple[bytes, bytes | None]:
    """As `split`; FoundryError also for a module that ends within a signature."""
    module, message = split(content)
    if message is None and _BEGINS in content[-_LARGEST:]:
        raise _truncated("the module ends within a signature")
    return module, message


def _verify(module: bytes, ours: SignerInfo, x509: X509) -> None:
    """FoundryError unless the key of the certificate made the signature, and of this module."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    from foundry.formats.modules.pkcs7 import RSA

    if ours.attributes or ours.kind.name != RSA:
        raise _malformed("it has attributes, or is none of RSA")
    key, kind = x509.public_key(), getattr(hashes, ours.hash_name.upper())()
    try:
        if not isinstance(key, rsa.RSAPublicKey):
            raise InvalidSignature
        digest = key.recover_data_from_signature(ours.signature, padding.PKCS1v15(), kind)
    except InvalidSignature as error:
        raise _other_key("the module's signature was made by another key, or is damaged", x509) from error
    if digest != hashlib.new(ours.hash_name, module).digest():
        raise FoundryError("the module was changed after it was signed", reason=Reason.MODULE_SIGNATURE_BAD,
                           hint="sign it again, once you know what changed it")


def bare(content: bytes) -> bytes:
    """The module without any signature."""
    message: bytes | None = b""
    while message is not None:
        content, message = split(content)
    return content


def _appended(module: bytes, message: bytes) -> bytes:
    return b"".join((module, message, _TRAILER.pack(*_PKCS7, len(message)), MARK))


def _signer_info(module: bytes, signer: Signer, hash_name: str, version: int) -> SignerInfo:
    from foundry.formats.modules import pkcs7

    if hash_name not in HASHES:
        raise _unknown_hash(hash_name)
    return pkcs7.signer_info(_x509(signer.certificate), hash_name, signer.sign(module, hash_name), version)


def _read(message: bytes) -> SignedData:
    from foundry.formats.modules import pkcs7

    try:
        data = pkcs7.read(message)
    except ValueError as error:
        raise _malformed(line(str(error).partition("\n")[0])) from error
    if not data.signers.as_list():
        raise _malformed("it has no signer")
    return data


def _x509(certificate: Certificate) -> X509:
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(certificate.der)


def _told(signer: SignerInfo) -> str:
    """Who a signer is, for people."""
    from cryptography.hazmat import asn1

    if isinstance(signer.certificate, bytes):
        return f"key {signer.certificate.hex()}"
    return f"{_common_name(asn1.encode_der(signer.certificate.issuer))!r} (certificate {signer.certificate.serial:X})"


def _common_name(name: bytes) -> str:
    """What modinfo shows of a signer's name (X.509): the first common name, else its last part. Empty: unreadable."""
    from cryptography.x509 import Name, NameOID

    try:
        parsed = Name.from_bytes(name)
    except ValueError:  # of a stranger
        return ""
    parts = parsed.get_attributes_for_oid(NameOID.COMMON_NAME)[:1] or list(parsed)[-1:]
    return line(str(parts[0].value)) if parts else ""


def _malformed(why: str) -> FoundryError:
    return FoundryError(f"the module's signature can't be read: {why}", reason=Reason.MODULE_SIGNATURE_MALFORMED,
                        hint="sign the module again")


def _truncated(why: str) -> FoundryError:
    return FoundryError(f"the module's signature is cut off: {why}", reason=Reason.MODULE_SIGNATURE_TRUNCATED,
                        hint="sign the module again")


def _other_key(sentence: str, x509: X509) -> FoundryError:
    return FoundryError(
        f"{sentence}; the certificate is that of {_common_name(x509.subject.public_bytes())!r} "
        f"({x509.serial_number:X})", reason=Reason.MODULE_SIGNATURE_WRONG_KEY,
        hint="sign the module with the certificate's key, or check it with the certificate of its signer")


def _unknown_hash(name: str) -> FoundryError:
    return FoundryError(f"modules are not signed with the hash {line(name)}", reason=Reason.MODULE_SIGNATURE_HASH,
                        hint=f"known are {', '.join(HASHES)}")
