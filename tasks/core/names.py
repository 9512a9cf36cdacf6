"""Names that leave this project: image tags, container names, task names."""

from __future__ import annotations

import re

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._-]")
TAG_LIMIT = 128  # OCI distribution specification: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}


def cell_name(driver: str, kernel: str) -> str:
    """The name of a cell: of its folder and of its tasks."""
    return f"{driver}-{kernel}"


def image_tag(driver: str, kernel: str) -> str:
    """``<driver>-<kernel>`` with every character that a tag can't hold as ``_``."""
    return _NOT_IN_TAGS.sub("_", cell_name(driver, kernel))[:TAG_LIMIT]
