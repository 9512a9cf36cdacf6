"""OpenPGP public keys: when a key was made, found by its fingerprint.

Packets are described in RFC 4880, 4.2 and 5.5.2. A version 4 fingerprint is the SHA-1 of
0x99, the length of the key packet's body in two bytes, and the body (12.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

_KEYS = (6, 14)  # public key, public subkey
_VERSION = 4
_ONE_BYTE, _TWO_BYTES, _FOUR_BYTES = 192, 224, 255


def creation_time(ring: bytes, fingerprint: str) -> int | None:
    """Seconds since 1970 of the version 4 key with this fingerprint (40 hex digits); None when the ring lacks it."""
    for tag, body in _packets(ring):
        if tag not in _KEYS or body[:1] != bytes([_VERSION]):
            continue
        digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
        if digest.hexdigest().upper() == fingerprint.upper():
            return int.from_bytes(body[1:5], "big")
    return None


def _packets(ring: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet, up to the first that is not whole; a key's body is below 64 KiB."""
    at = 0
    while at < len(ring) and ring[at] & 0x80:
        head = ring[at]
        if head & 0x40:
            tag, (size, begin) = head & 0x3F, _new_length(ring, at + 1)
        else:
            tag, width = (head >> 2) & 0x0F, 1 << (head & 3)
            if width == 8:  # noqa: PLR2004 - a length that is not told
                return
            size, begin = int.from_bytes(ring[at + 1 : at + 1 + width], "big"), at + 1 + width
        if size < 0 or begin + size > len(ring):
            return
        if size <= 0xFFFF:  # noqa: PLR2004 - two bytes
            yield tag, ring[begin : begin + size]
        at = begin + size


def _new_length(ring: bytes, at: int) -> tuple[int, int]:
    """Length of a body and where it begins; a partial length, which keys don't have, is -1."""
    first = ring[at] if at < len(ring) else _TWO_BYTES
    if first < _ONE_BYTE:
        return first, at + 1
    if first < _TWO_BYTES:
        second = ring[at + 1] if at + 1 < len(ring) else 0
        return ((first - _ONE_BYTE) << 8) + second + _ONE_BYTE, at + 2
    if first == _FOUR_BYTES:
        return int.from_bytes(ring[at + 1 : at + 5], "big"), at + 5
    return -1, at
