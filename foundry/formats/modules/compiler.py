"""Compilers by what they say of themselves: the first line of ``gcc --version``, CONFIG_CC_VERSION_TEXT of a kernel.

Both are the same text for the same compiler (scripts/Kconfig.include of the kernel's sources).
"""

from __future__ import annotations

import re

SAME, VERSION, BASE = "exact", "version", "base"
_version = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


def match(compiler: str, kernel_compiler: str) -> str:
    """How near a compiler comes to the one of the kernel.

    ``exact``: it is that one; ``version``: its version is the same, it is another build; ``base``: another version,
    the base image's own.
    """
    if compiler.strip() == kernel_compiler.strip() != "":
        return SAME
    mine, theirs = _version.search(compiler), _version.search(kernel_compiler)
    return VERSION if mine and theirs and mine.group() == theirs.group() else BASE
