"""Names that enter or leave this project: kernels, image tags, container names, task names."""

from __future__ import annotations

import re

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._-]")
_KERNEL = re.compile(r"[0-9]+\.[0-9]+[0-9A-Za-z._+~-]*")
KERNEL_LIMIT = 100  # characters
TAG_LIMIT = 128  # OCI distribution specification: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
OCI_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}  # uname -m → OCI architecture

# Files of a release.
LEDGER_FILE = "images.json"
TABLES_FILE = "images.md"  # the long tables of notes that would not fit
CHECKSUMS_FILE = "SHA256SUMS"


def cell_name(driver: str, kernel: str) -> str:
    """The name of a cell: of its folder and of its tasks."""
    return f"{driver}-{kernel}"


def image_tag(driver: str, kernel: str) -> str:
    """``<driver>-<kernel>`` with every character that a tag can't hold as ``_``."""
    return tag_of(cell_name(driver, kernel))


def tag_of(text: str) -> str:
    """The text with every character that a tag can't hold as ``_``."""
    return _NOT_IN_TAGS.sub("_", text)[:TAG_LIMIT]


def is_kernel(text: str) -> bool:
    """Whether `text` can be a kernel as ``uname -r`` prints it: the rule of schemas/catalogue.schema.json."""
    return len(text) <= KERNEL_LIMIT and ".." not in text and _KERNEL.fullmatch(text) is not None
