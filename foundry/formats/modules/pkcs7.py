"""The PKCS#7 message of a module's signature (RFC 2315; RFC 5652 with signers by key id), read and written as DER.

Only what a message says is here; what the kernel takes of it is in `foundry.formats.modules.signature`. Importing this
imports cryptography.
"""

from __future__ import annotations

from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.x509 import Certificate, ObjectIdentifier, SubjectKeyIdentifier
from cryptography.x509.oid import ExtensionOID

DATA, SIGNED_DATA = ObjectIdentifier("1.2.840.113549.1.7.1"), ObjectIdentifier("1.2.840.113549.1.7.2")
RSA = ObjectIdentifier("1.2.840.113549.1.1.1")
BY_ISSUER, BY_KEY_ID = 1, 3  # versions of a message, and of what a signer says in it
HASHES = {f"2.16.840.1.101.3.4.2.{number}": name for number, name in ((1, "sha256"), (2, "sha384"), (3, "sha512"))}


@asn1.sequence
class Algorithm:
    """An algorithm; `sign-file` gives hashes no parameters, others give them NULL."""

    name: ObjectIdentifier
    parameters: asn1.Null | None = None


@asn1.sequence
class IssuerAndSerial:
    """A certificate by its issuer's name and its number."""

    issuer: asn1.TLV
    serial: int


@asn1.sequence
class SignerInfo:
    """What one signer says: the certificate, by issuer or by the id of its key, and the signature."""

    version: int
    certificate: IssuerAndSerial | Annotated[bytes, asn1.Implicit(0)]
    hash: Algorithm
    attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)] = None
    kind: Algorithm
    signature: bytes
    unsigned_attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)] = None

    @property
    def hash_name(self) -> str:
        """``sha256`` and the like; the identifier of any other."""
        return HASHES.get(self.hash.name.dotted_string, self.hash.name.dotted_string)

    def names(self, certificate: Certificate) -> bool:
        """Whether the certificate is the one that the signer names."""
        if isinstance(self.certificate, IssuerAndSerial):
            return (asn1.encode_der(self.certificate.issuer) == certificate.issuer.public_bytes()
                    and self.certificate.serial == certificate.serial_number)
        return self.certificate == key_id(certificate)


@asn1.sequence
class Content:
    """What is signed; its bytes are elsewhere (`content` is None) in a detached signature."""

    kind: ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)] = None


@asn1.sequence
class SignedData:
    """A signature by one signer or several."""

    version: int
    hashes: asn1.SetOf[Algorithm]
    content: Content
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)] = None
    revoked: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)] = None
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class Message:
    """The outermost part."""

    kind: ObjectIdentifier
    content: Annotated[SignedData, asn1.Explicit(0)]


def read(der: bytes) -> SignedData:
    """The signature in a message; ValueError when it is none, or no detached one."""
    message = asn1.decode_der(Message, der)
    if message.kind != SIGNED_DATA or message.content.content.kind != DATA:
        raise ValueError("it is no signature over data")
    if message.content.content.content is not None:
        raise ValueError("it holds the data that it is a signature of")
    return message.content


def write(version: int, signers: list[SignerInfo], other: SignedData | None = None) -> bytes:
    """The message with these signers, and with what `other` has beside its signers."""
    by_name = {one.hash.name.dotted_string: one.hash for one in signers}
    data = SignedData(
        version=version, hashes=asn1.SetOf([by_name[name] for name in sorted(by_name)]), content=Content(kind=DATA),
        certificates=other.certificates if other else None, revoked=other.revoked if other else None,
        signers=asn1.SetOf(signers),
    )
    return asn1.encode_der(Message(kind=SIGNED_DATA, content=data))


def signer_info(certificate: Certificate, hash_name: str, signature: bytes, version: int = BY_ISSUER) -> SignerInfo:
    """What an RSA signer says without attributes; ValueError for a certificate without key id, where that is needed."""
    key = key_id(certificate)
    if version == BY_KEY_ID and key is None:
        raise ValueError("the certificate has no subject key identifier")
    issuer = asn1.decode_der(asn1.TLV, certificate.issuer.public_bytes())
    number = next(number for number, name in HASHES.items() if name == hash_name)
    return SignerInfo(
        version=version,
        certificate=key if version == BY_KEY_ID and key is not None
        else IssuerAndSerial(issuer=issuer, serial=certificate.serial_number),
        hash=Algorithm(name=ObjectIdentifier(number)), kind=Algorithm(name=RSA, parameters=asn1.Null()),
        signature=signature,
    )


def key_id(certificate: Certificate) -> bytes | None:
    """The id of its key that a certificate has (subject key identifier)."""
    found = [one.value for one in certificate.extensions if one.oid == ExtensionOID.SUBJECT_KEY_IDENTIFIER]
    return found[0].digest if found and isinstance(found[0], SubjectKeyIdentifier) else None
