"""What a build log says: the first error, for people who don't want to read it all."""

from __future__ import annotations

import re
from pathlib import Path

from foundry.base.errors import says_no_space

# gcc and clang, modpost, make, our own build script; in the order in which they mean most.
_PATTERNS = (
    re.compile(r"^(?P<text>.*(?:fatal )?error: .*)$"),
    re.compile(r"^(?P<text>ERROR: modpost: .*)$"),
    re.compile(r"^foundry: (?P<text>.*)$"),
    re.compile(r"^(?P<text>depmod: ERROR: .*)$"),
    re.compile(r"^(?P<text>make.*\*\*\* .*)$"),
)


def last_line(log: Path) -> str:
    """The last line of a log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def first_error(log: Path) -> str:
    """The first error in a log, one line without the build's own folder; empty when there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        if says_no_space(line):
            return line.strip()
    for pattern in _PATTERNS:
        for line in lines:
            if match := pattern.match(line):
                return match.group("text").replace("/foundry/work/", "").strip()[:300]
    return ""
