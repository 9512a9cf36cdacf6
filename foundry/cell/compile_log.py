"""What a build log says: the first error, for people who don't want to read it all."""

from __future__ import annotations

import re
from pathlib import Path

from foundry.base.errors import says_no_space
from foundry.base.files import open_file
from foundry.base.reasons import Reason

# In the order in which they mean most: compilers; modpost, of every age; what a Makefile says itself (`$(error …)`), or
# make of it; our own build script; programs that make BTF; programs that are not there; make on the way out.
_PATTERNS = tuple(map(re.compile, (
    r"(.*\berror: .*)", r"\s*((?:ERROR|FATAL): .*)", r"([^*]*: \*\*\* .* {2}Stop\.)",
    r"foundry: (.*)", r"(depmod: ERROR: .*)", r"(FAILED\b.*|BTF: .*|Failed to .*BTF.*)",
    r"(.*: (?:command )?not found|(?:/usr/bin/|/bin/|/foundry/)?(?:make|env|sh|bash|build-module\.sh)\b[^*]*: "
    r"(?:No such file or directory|Permission denied))",
    r"(make.*\*\*\* .*)",
)))
# A place in a file that is no kernel's, and lines that lead from a header to it: after an error, before it.
_PLACE = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<text>.*)")
_LED_BY = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: note: in (?:expansion|definition) of macro .*")
_LED_TO = re.compile(
    r"\s*(?:In file included from|from|inlined from .* at) (?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?[,:].*")
_KERNELS = re.compile(r"/(?!foundry/work/)|(?:\./|\.\./.*)?(?:include|arch)/")
_MOST = 300  # characters of a line that are told
_NEAR = 40  # lines around an error that belong to it

_MOST_LINES = 100_000  # that are looked at: the first and the last; a kernel module's log has some hundred
# What compilers, make and shells say when the machine gave them no more.
_OUT_OF_MEMORY = re.compile(
    r"Killed signal terminated program|^(.*: )?(line \d+: +\d+ )?Killed\b|memory exhausted"
    r"|Cannot allocate memory|out of memory allocating|LLVM ERROR: out of memory|std::bad_alloc|\] Killed$"
)
_OUT_OF_PROCESSES = re.compile(r"[Cc]an(no|')t fork|fork: (retry: )?Resource temporarily unavailable")


def last_line(log: Path, begin: int = 0) -> str:
    """The last line of a log, of what follows byte `begin`."""
    return next((line.strip()[:_MOST] for line in reversed(_lines(log, begin))), "")


def machine_fault(log: Path, begin: int = 0) -> tuple[Reason, str] | None:
    """What the machine did not give to the programs that wrote the log, and the line that says so."""
    for line in _lines(log, begin):
        for pattern, reason in ((_OUT_OF_PROCESSES, Reason.OUT_OF_PROCESSES), (_OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)):
            if found := pattern.search(line):
                return reason, line[max(0, found.end() - _MOST):].strip()[:_MOST]  # programs may write into one line
    return None


def _lines(log: Path, begin: int) -> list[str]:
    try:
        with open_file(log) as stream:
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
        for number, line in enumerate(lines):
            if match := pattern.fullmatch(line):
                return _own(lines, number, match[1]).replace("/foundry/work/", "").strip()[:_MOST]
    return ""


def _own(lines: list[str], number: int, text: str) -> str:
    """An error of a kernel's header with the driver's own line that led to it, as the log tells it."""
    place = _PLACE.fullmatch(text)
    if place is None or not _KERNELS.match(place["file"]):
        return text
    after = lines[number + 1:number + _NEAR]
    end = next((at for at, line in enumerate(after) if re.search(r"\b(?:error|warning): ", line)), len(after))
    before = list(reversed(lines[max(0, number - _NEAR):number]))
    begin = next((at for at, line in enumerate(before) if not (
        _LED_TO.fullmatch(line) or re.search(r": (?:In function|At top level)|^In function", line))), len(before))
    found = [*map(_LED_BY.fullmatch, after[:end]), *map(_LED_TO.fullmatch, before[:begin])]
    own = next((one for one in found if one is not None and not _KERNELS.match(one["file"])), None)
    return f"{own['file']}:{own['line']}: {place['text']} ({place['file']}:{place['line']})" if own else text
