"""The cpio reader: members, padding, the stripped form, and every way to be broken."""

from __future__ import annotations

import io
import stat

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages.cpio import Archive, Member
from tests.harness.rpmwriter import newc, trailer

REGULAR = stat.S_IFREG | 0o644


def members(data: bytes, sizes: tuple[int, ...] = ()) -> list[tuple[Member, bytes]]:
    return [(member, b"".join(chunks)) for member, chunks in Archive(io.BytesIO(data), sizes)]


@pytest.mark.parametrize("size", range(6))
def test_data_and_names_of_any_length(size: int) -> None:
    data = b"x" * size
    archive = newc(b"n" * (size + 1), REGULAR, data) + newc(b"next", REGULAR, b"y", nlink=2, inode=7) + trailer()
    first, second = members(archive)
    assert (first[0].name, first[1]) == (b"n" * (size + 1), data)
    assert second == (Member(b"next", REGULAR, 1, nlink=2, inode=(0, 0, 7)), b"y")


def test_unread_data_is_skipped() -> None:
    data = newc(b"a", REGULAR, b"12345") + newc(b"b", REGULAR, b"6") + trailer() + bytes(400)
    assert [member.name for member, _ in Archive(io.BytesIO(data))] == [b"a", b"b"]


def test_the_stripped_form_takes_sizes_from_the_rpm_header() -> None:
    data = b"07070X00000001\0\0abc\0" + b"07070X00000000\0\0z\0\0\0" + trailer()
    assert [(m.index, body) for m, body in members(data, (1, 3))] == [(1, b"abc"), (0, b"z")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        newc(b"a", REGULAR, b"12345"),  # no trailer
        newc(b"a", REGULAR, b"12345")[:-5],
        trailer()[:-1],
        trailer() + b"more",
        newc(b"a", REGULAR, b"", magic=b"070702") + trailer(),
        newc(b"a", REGULAR, b"", magic=b"070707") + trailer(),
        newc(b"", REGULAR, b"") + trailer(),
        newc(b"a\0b", REGULAR, b"") + trailer(),
        newc(b"a" * 5000, REGULAR, b"") + trailer(),
        newc(b"a", REGULAR, b"").replace(b"00000001", b"+0000001", 1) + trailer(),
        b"07070X00000002\0\0" + trailer(),
        b"garbage" * 40,
    ],
)
def test_broken_archives(data: bytes) -> None:
    with pytest.raises(FoundryError) as caught:
        members(data, (1, 1))
    assert caught.value.reason == "rpm-damaged"
