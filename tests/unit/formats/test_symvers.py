"""Module.symvers: what is read, what is refused, and that nothing but our own error escapes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.modules.symvers import Export, parse

GOOD = (
    b"0x1234abcd\tkfree\tvmlinux\tEXPORT_SYMBOL\t\n"
    b"0x00000000\tdma_buf_get\tdrivers/dma-buf/dma-buf\tEXPORT_SYMBOL_GPL\tDMA_BUF\n"
)


def test_reads_every_field() -> None:
    assert parse(GOOD) == {
        "kfree": Export(0x1234ABCD, "vmlinux", "EXPORT_SYMBOL", ""),
        "dma_buf_get": Export(0, "drivers/dma-buf/dma-buf", "EXPORT_SYMBOL_GPL", "DMA_BUF"),
    }


def test_reads_the_form_without_namespaces() -> None:
    assert parse(b"0x1234abcd\tkfree\tvmlinux\tEXPORT_SYMBOL\n")["kfree"].namespace == ""


def test_reads_the_form_of_linux_5_4() -> None:
    """The namespace stands before the module; it is empty for most."""
    assert parse(
        b"0x00000000\tdma_buf_get\tDMA_BUF\tdrivers/dma-buf/dma-buf\tEXPORT_SYMBOL_GPL\n"
        b"0x1234abcd\tkfree\t\tvmlinux\tEXPORT_SYMBOL\n"
    ) == parse(GOOD)


def test_whose_a_symbol_is() -> None:
    exports = parse(GOOD)
    assert [(one.owner, one.gpl_only) for one in exports.values()] == [("", False), ("dma_buf", True)]


def test_an_empty_file_exports_nothing() -> None:
    assert parse(b"") == {}


@pytest.mark.parametrize("line", [
    b"0x1\tkfree\tvmlinux",
    b"0x1\tkfree\tvmlinux\tEXPORT_SYMBOL\t\tmore",
    b"1234\tkfree\tvmlinux\tEXPORT_SYMBOL\t",
    b"0x123456789\tkfree\tvmlinux\tEXPORT_SYMBOL\t",
    b"0x1\t\tvmlinux\tEXPORT_SYMBOL\t",
    b"0x1\tkfree\tvmlinux\tSYMBOL\t",
    b"0x1 kfree vmlinux EXPORT_SYMBOL",
    b"0x1\tkmalloc\tvmlinux\tEXPORT_SYMBOL_GPLS\t",
    b"0x1\tkmalloc\tvmlinux\tEXPORT_SYMBOL\tTWO WORDS",
    b"0x1\tkmalloc\tvm linux\tEXPORT_SYMBOL\t",
    b"0x1\tkfr\xe9e\tvmlinux\tEXPORT_SYMBOL\t",
    b"0x9999\tkfree\tvmlinux\tEXPORT_SYMBOL\t",
    b"<html>not found</html>",
])
def test_refuses_what_is_malformed(line: bytes) -> None:
    with pytest.raises(FoundryError) as caught:
        parse(GOOD + line + b"\n")
    assert caught.value.reason == "symvers-malformed"


def test_names_the_line() -> None:
    with pytest.raises(FoundryError, match=r"line 3 is '0x1\\tkfree'"):
        parse(GOOD + b"0x1\tkfree\n")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with suppress(FoundryError):
        parse(data)


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=8))
def test_damaged_files(start: int, end: int, filling: bytes) -> None:
    with suppress(FoundryError):
        parse(GOOD[:start] + filling + GOOD[end:])
