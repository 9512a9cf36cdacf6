"""OpenPGP packets: lengths in all their forms, messages, and bytes that are none."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.packages.openpgp import packets, signed_message

ONE_PASS, SIGNATURE = b"\x90\x01\0", b"\x88\x03abc"
LITERAL = b"\xcb\x0bb\x04name\0\0\0\0" + b"x"  # 11 octets: kind, name, date, and one of content
MESSAGE = ONE_PASS + LITERAL + SIGNATURE


@pytest.mark.parametrize("data, body", [
    (b"\xc2\x03abc", b"abc"), (b"\xc2\xc0\x00" + b"x" * 192, b"x" * 192), (b"\xc2\xff\0\0\0\x03abc", b"abc"),
    (b"\xc2\xe1ab\xe0c\x02de", b"abcde"),  # in parts of 2, 1 and 2
    (b"\x88\x03abc", b"abc"), (b"\x89\0\x03abc", b"abc"), (b"\x8a\0\0\0\x03abc", b"abc"), (b"\x8babc", b"abc"),
])
def test_every_form_of_a_length(data: bytes, body: bytes) -> None:
    assert list(packets(data)) == [(2, body)]
    if data[0] != 0x8B:  # that one goes to the end
        assert list(packets(data * 2)) == [(2, body)] * 2
        for end in range(1, len(data)):
            with pytest.raises(ValueError, match="cut off"):
                list(packets(data[:end]))


@pytest.mark.parametrize("message", [
    MESSAGE, b"\xa3\x01" + zlib.compress(MESSAGE, wbits=-15), b"\xa3\x02" + zlib.compress(MESSAGE),
])
def test_a_message(message: bytes) -> None:
    assert signed_message(message, 1) == (b"x", b"\xc2\xff\0\0\0\x03abc")
    with pytest.raises(ValueError, match="more than the 0 bytes"):
        signed_message(message, 0)


@pytest.mark.parametrize("message", [
    b"", b"-----BEGIN PGP MESSAGE-----", LITERAL, SIGNATURE, LITERAL + SIGNATURE, SIGNATURE + LITERAL,
    ONE_PASS + LITERAL,
    ONE_PASS + MESSAGE + SIGNATURE, MESSAGE + SIGNATURE, MESSAGE + LITERAL, LITERAL + MESSAGE, MESSAGE * 2,
    ONE_PASS + b"\xcb\x03b\x09n" + SIGNATURE,
    b"\xa3\x00" + MESSAGE, b"\xa3\x03" + MESSAGE, b"\xa3", b"\xa3\x01", b"\xa3\x01" + MESSAGE,
    b"\xa3\x02" + zlib.compress(MESSAGE)[:-1], b"\xa3\x02" + zlib.compress(MESSAGE) + b"x",
    b"\xa3\x02" + zlib.compress(b"\xa3\x02" + zlib.compress(MESSAGE)), b"\xa3\x02" + zlib.compress(bytes(1 << 20)),
])
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        signed_message(message, 9999)


@given(st.binary(max_size=60), st.sampled_from([b"", ONE_PASS, b"\xa3\x01", b"\xc2\xff", ONE_PASS + LITERAL]))
def test_no_bytes_are_more_than_refused(data: bytes, before: bytes) -> None:
    with suppress(ValueError):
        signed_message(before + data, 50)
