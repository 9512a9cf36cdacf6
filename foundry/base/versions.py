"""Versions and ranges of drivers, kernels, releases and RHEL.

A range is a comma-separated list of comparisons, ``>=2.22.2.0,<2.28``; all must
hold. ``*`` (or nothing) holds always. Numbers compare as numbers and missing
parts count as zero, so ``6.1`` equals ``6.1.0``.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PART = re.compile(r"(<=|>=|==|!=|<|>)\s*([0-9]+(?:\.[0-9]+)*)$")
_RHEL = re.compile(r"\.el(\d+)(?:_(\d+))?(?=[._+]|$)")
_DIST = re.compile(r"\.el\d")
_REAL_TIME = re.compile(r"\.rt\d|\+rt")
_NUMBERS = re.compile(r"\d+")
# CentOS Stream kernels say `el9` alone and run ahead of every RHEL minor.
_AHEAD_OF_EVERY_MINOR = 999

Numbers = tuple[int, ...]


@lru_cache(maxsize=65536)
def version_key(version: str) -> Numbers:
    """A sort key: the numbers in the text in their order, trailing zeros dropped.

    ``2.22.2.0`` → ``(2, 22, 2)``; ``1.1-2.0`` → ``(1, 1, 2)``.
    """
    numbers = [int(number) for number in _NUMBERS.findall(version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@lru_cache(maxsize=65536)
def kernel_version(kernel: str) -> str:
    """The upstream version that a ``uname -r`` begins with: ``5.14.0`` of ``5.14.0-427.el9_4.x86_64``."""
    match = re.match(r"\d+(?:\.\d+)*", kernel)
    return match.group() if match else ""


@lru_cache(maxsize=65536)
def rhel_release(kernel: str) -> str | None:
    """The RHEL release in a kernel's name: ``el9_4`` → ``9.4``, ``el10_0`` → ``10.0``, ``el8_10`` → ``8.10``.

    None where the name holds none (Debian's kernels). A name with the major
    alone (CentOS Stream's ``el9``) gives a minor beyond every real one.
    """
    match = _RHEL.search(kernel)
    if match is None:
        return None
    major, minor = match.groups()
    return f"{int(major)}.{int(minor) if minor is not None else _AHEAD_OF_EVERY_MINOR}"


def named_rhel_release(kernel: str) -> str:
    """The same where the name holds major and minor; else empty."""
    release = rhel_release(kernel) or ""
    return "" if release.endswith(f".{_AHEAD_OF_EVERY_MINOR}") else release


def rt_kernel_of(kernel: str) -> str:
    """What RHEL calls the real-time kernel that goes with a kernel; ``*`` stands for a number that is its own.

    ``5.14.0-284.11.1.rt*.el9_2.x86_64`` up to RHEL 9.2, ``5.14.0-427.68.2.el9_4.x86_64+rt`` later.
    """
    release = rhel_release(kernel)
    return _DIST.sub(r".rt*\g<0>", kernel, count=1) if release and in_range(release, "<9.3") else f"{kernel}+rt"


def is_real_time(kernel: str, default: str) -> bool:
    """Whether a kernel's name can be that of the real-time one beside `default`.

    RHEL's say so: ``…rt7.91.el8_4…``, ``…+rt``. Since both are of one version, toolkits were made that name it without
    ``+rt`` (openshift/driver-toolkit#154): no node runs a real-time kernel of that name.
    """
    return kernel != default and (rhel_release(kernel) is None or _REAL_TIME.search(kernel) is not None)


def minor_of(release: str) -> str:
    """``4.18`` of ``4.18.15``."""
    return ".".join(release.split(".")[:2])


def range_fault(text: str) -> str | None:
    """What is wrong with a range, or None."""
    for part in _parts(text):
        if _PART.match(part) is None:
            return f"{part!r} is not a comparison such as >=2.22.2.0"
    return None


@lru_cache(maxsize=65536)
def in_range(version: str, text: str) -> bool:
    """True when `version` meets every comparison of the range.

    Raises ValueError for a range that `range_fault` would refuse.
    """
    have = version_key(version)
    for part in _parts(text):
        match = _PART.match(part)
        if match is None:
            raise ValueError(range_fault(text))
        if not _holds(have, match.group(1), version_key(match.group(2))):
            return False
    return True


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part not in ("", "*")]


def _holds(have: Numbers, comparison: str, want: Numbers) -> bool:
    return {
        "<": have < want, "<=": have <= want, ">": have > want,
        ">=": have >= want, "==": have == want, "!=": have != want,
    }[comparison]
