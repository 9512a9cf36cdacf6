"""The file of a signer's certificate, in PEM or DER: the bytes of the one certificate in it, not decoded."""

from __future__ import annotations

import binascii
import re

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
_SEQUENCE, _LONG = 0x30, 0x80  # DER: what a certificate is, and that the length stands in several bytes


def der_of(content: bytes) -> bytes:
    """The DER of the one certificate in a file; ValueError with what is wrong, which follows the file's name."""
    blocks = _BLOCK.findall(content)
    if b"PRIVATE KEY-----" in content:
        raise ValueError("holds a private key: it is published with every release, and must hold the certificate alone")
    certificates = [text for label, text in blocks if label == b"CERTIFICATE"]
    if len(certificates) > 1:
        raise ValueError(f"holds {len(certificates)} certificates: it must hold the key's alone")
    if blocks and not certificates:
        raise ValueError(f"holds no certificate but: {blocks[0][0].decode().lower()}")
    try:
        der = binascii.a2b_base64(b"".join(certificates[0].split()), strict_mode=True) if certificates else content
    except ValueError:
        der = b""
    if not der or der[0] != _SEQUENCE or _length(der) != len(der):
        raise ValueError("is no certificate in PEM or DER")
    return der


def _length(der: bytes) -> int:
    """Bytes that the outermost value of DER has, with its head; -1 where that is cut off."""
    size = der[1] if len(der) > 1 else _LONG
    if size < _LONG:
        return 2 + size
    count = size - _LONG
    return 2 + count + int.from_bytes(der[2:2 + count], "big") if count and len(der) > 2 + count else -1
