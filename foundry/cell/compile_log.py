"""What a build log says: the first error, for people who don't want to read it all."""

from __future__ import annotations

import re
from pathlib import Path

from foundry.base.errors import says_no_space
from foundry.base.reasons import Reason

# gcc and clang, modpost, make, our own build script; in the order in which they mean most.
_PATTERNS = (
    re.compile(r"^(?P<text>.*(?:fatal )?error: .*)$"),
    re.compile(r"^(?P<text>ERROR: modpost: .*)$"),
    re.compile(r"^foundry: (?P<text>.*)$"),
    re.compile(r"^(?P<text>depmod: ERROR: .*)$"),
    re.compile(r"^(?P<text>make.*\*\*\* .*)$"),
)

_MOST_LINES = 100_000  # that are looked at: the first and the last; a kernel module's log has some hundred
# What compilers, make and shells say when the machine gave them no more.
_OUT_OF_MEMORY = re.compile(
    r"Killed signal terminated program|^(.*: )?(line \d+: +\d+ )?Killed\b|memory exhausted"
    r"|Cannot allocate memory|out of memory allocating|LLVM ERROR: out of memory|std::bad_alloc|\] Killed$"
)
_OUT_OF_PROCESSES = re.compile(r"[Cc]an(no|')t fork|fork: (retry: )?Resource temporarily unavailable")


def last_line(log: Path, begin: int = 0) -> str:
    """The last line of a log, of what follows byte `begin`."""
    return next((line.strip()[:300] for line in reversed(_lines(log, begin))), "")


def machine_fault(log: Path, begin: int = 0) -> tuple[Reason, str] | None:
    """What the machine did not give to the programs that wrote the log, and the line that says so."""
    for line in _lines(log, begin):
        for pattern, reason in ((_OUT_OF_PROCESSES, Reason.OUT_OF_PROCESSES), (_OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)):
            if pattern.search(line):
                return reason, line.strip()[:300]
    return None


def _lines(log: Path, begin: int) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(begin)
            found = [line for line in stream.read().decode(errors="replace").split("\n") if line.strip()]
    except OSError:
        return []
    return found if len(found) <= _MOST_LINES else found[:_MOST_LINES // 2] + found[-_MOST_LINES // 2:]


def first_error(log: Path, begin: int = 0) -> str:
    """The first error in a log, one line without the build's own folder; empty when there is none."""
    lines = _lines(log, begin)
    for line in lines:
        if says_no_space(line):
            return line.strip()
    for pattern in _PATTERNS:
        for line in lines:
            if match := pattern.match(line):
                return match.group("text").replace("/foundry/work/", "").strip()[:300]
    return ""
