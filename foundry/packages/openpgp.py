"""OpenPGP's packets, as far as they have to be told apart before gpgv sees them (RFC 4880).

gpgv says whether a signature is good. What a signed message says is taken out here, from messages of one form alone,
and then verified as the data of a detached signature: what is read is what was signed, and no message unpacks to more
than it may.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

_SIGNATURE, _ONE_PASS, _COMPRESSED, _LITERAL = 2, 4, 8, 11  # tags (4.3)
_SIGNED_ONCE = (_ONE_PASS, _LITERAL, _SIGNATURE)  # 11.3
_WINDOWS = {1: -zlib.MAX_WBITS, 2: zlib.MAX_WBITS}  # ZIP and ZLIB (9.3)
_TWO_OCTETS, _PARTIAL, _FIVE_OCTETS = 0xC0, 0xE0, 0xFF  # first octets of longer lengths (4.2.2)
_TO_THE_END = 3  # a length of the old form (4.2.1)


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet; ValueError at what is none, or not whole."""
    source = io.BytesIO(data)
    while head := source.read(1):
        if not head[0] & 0x80:
            raise ValueError("it is no OpenPGP packet")
        if head[0] & 0x40:
            yield head[0] & 0x3F, _body(source)
            continue
        width = head[0] & 3
        size = len(data) - source.tell() if width == _TO_THE_END else int.from_bytes(_octets(source, 1 << width), "big")
        yield head[0] >> 2 & 0xF, _octets(source, size)


def signed_message(message: bytes, most: int) -> tuple[bytes, bytes]:
    """What a message says, at most so many bytes, and the one signature over that, as a detached one.

    ValueError when it is no binary message, compressed or not, that holds one signed text. Whether the signature is
    good is not looked at.
    """
    parts = list(packets(message))
    if [tag for tag, _ in parts] == [_COMPRESSED]:
        parts = list(packets(_unpacked(parts[0][1], most)))
    if tuple(tag for tag, _ in parts) != _SIGNED_ONCE:
        raise ValueError("it is no message with one signature")
    literal, signature = parts[1][1], parts[2][1]
    source = io.BytesIO(literal)
    _octets(source, _octets(source, 2)[1] + 4)  # kind, then name and date (5.9), which nothing vouches for
    content = source.read()
    if len(content) > most:
        raise ValueError(f"it has more than the {most} bytes allowed")
    return content, bytes([0xC0 | _SIGNATURE, _FIVE_OCTETS]) + len(signature).to_bytes(4, "big") + signature


def _body(source: io.BytesIO) -> bytes:
    """Of a packet of the new form, whose length may come in parts (4.2.2.4)."""
    body = b""
    while True:
        first = _octets(source, 1)[0]
        if _PARTIAL <= first < _FIVE_OCTETS:
            body += _octets(source, 1 << (first & 0x1F))
            continue
        if first == _FIVE_OCTETS:
            first = int.from_bytes(_octets(source, 4), "big")
        elif first >= _TWO_OCTETS:
            first = ((first - _TWO_OCTETS) << 8) + _octets(source, 1)[0] + _TWO_OCTETS
        return body + _octets(source, first)


def _octets(source: io.BytesIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise ValueError("it is cut off")
    return data


def _unpacked(body: bytes, most: int) -> bytes:
    """The packets in a compressed one (5.6): what is signed, and some hundred bytes of signature around it."""
    if not body or body[0] not in _WINDOWS:
        raise ValueError("it is compressed in a way that is not read")
    limit = most + (1 << 14)
    unpacker = zlib.decompressobj(_WINDOWS[body[0]])
    try:
        data = unpacker.decompress(body[1:], limit)
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from error
    if len(data) == limit:
        raise ValueError(f"it has more than the {most} bytes allowed")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut off, or something follows it")
    return data
