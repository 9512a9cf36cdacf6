"""OpenPGP signatures of version 3: vendors' old tools go on making them, gpg only reads them.

Just what the sandbox's throwaway key needs, RSA with SHA-256 over binary data (RFC 4880, 5.2.2
and 5.2.4). Nothing here resists timing attacks: not for a key that is worth something.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

_SECRET_KEY, _SIGNATURE = 0x95, 0x89  # packets of the old form with two octets of length (RFC 4880, 4.2)
_KEY_VERSION, _UNPROTECTED = 4, 0
_BINARY, _RSA, _SHA256 = 0x00, 1, 8  # RFC 4880, 5.2.1, 9.1 and 9.4
_NUMBERS = 6  # where a key's numbers begin: behind version, time and algorithm
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # of SHA-256 (RFC 8017, 9.2)


@dataclass(frozen=True)
class SecretKey:
    """An RSA key; `fingerprint` has 20 bytes, of which the last 8 are the key id."""

    fingerprint: bytes
    modulus: int = field(repr=False)
    exponent: int = field(repr=False)


def read_secret_key(exported: bytes) -> SecretKey:
    """The primary key in what ``gpg --export-secret-keys`` writes, without armour (RFC 4880, 5.5.3).

    Raises FoundryError (``standin-key``) unless it is a whole RSA key without passphrase.
    """
    body = exported[3 : 3 + int.from_bytes(exported[1:3], "big")]
    modulus, at = _number(body, _NUMBERS)
    _, end = _number(body, at)  # the public exponent
    secret, checksum = body[end + 1 : -2], int.from_bytes(body[-2:], "big")
    kind = (exported[:1], body[:1], body[_NUMBERS - 1 : _NUMBERS], body[end : end + 1])
    if kind != tuple(bytes([wanted]) for wanted in (_SECRET_KEY, _KEY_VERSION, _RSA, _UNPROTECTED)):
        raise FoundryError("the signing key is no RSA key without passphrase", reason=Reason.STANDIN_KEY)
    if sum(secret) & 0xFFFF != checksum:
        raise FoundryError("the signing key is damaged: its checksum is wrong", reason=Reason.STANDIN_KEY)
    public = body[:end]
    fingerprint = hashlib.sha1(b"\x99" + struct.pack(">H", end) + public, usedforsecurity=False).digest()  # 12.2
    return SecretKey(fingerprint, modulus, _number(secret, 0)[0])


def sign(data: bytes, key: SecretKey, created: int) -> bytes:
    """A detached signature packet; `created` in seconds since 1970. The same inputs give the same bytes."""
    hashed = struct.pack(">BI", _BINARY, created)
    digest = hashlib.sha256(data + hashed).digest()
    size = (key.modulus.bit_length() + 7) // 8
    info = _DIGEST_INFO + digest
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info  # EMSA-PKCS1-v1_5 (RFC 8017, 9.2)
    number = pow(int.from_bytes(padded, "big"), key.exponent, key.modulus)
    packet = b"".join((
        bytes([3, len(hashed)]), hashed, key.fingerprint[-8:], bytes([_RSA, _SHA256]), digest[:2],
        struct.pack(">H", number.bit_length()), number.to_bytes((number.bit_length() + 7) // 8, "big"),
    ))
    return struct.pack(">BH", _SIGNATURE, len(packet)) + packet


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, which its length in bits precedes, and where it ends (RFC 4880, 3.2)."""
    end = at + 2 + (int.from_bytes(data[at : at + 2], "big") + 7) // 8
    return int.from_bytes(data[at + 2 : end], "big"), end
