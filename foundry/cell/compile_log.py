"""What a build log says: the first error, for people who don't want to read it all."""

from __future__ import annotations

import re
from pathlib import Path

from foundry.base.errors import says_no_space
from foundry.base.files import open_file
from foundry.base.reasons import Reason

# What make says of a target or of a Makefile (`$(error …)`), the innermost first; not what it says on the way out.
_OF_MAKE = re.compile(
    r"\S+: \*\*\* (?!Waiting for |Deleting |\[.*\] Deleting )(?:\[(?:\S+: )?(?P<target>.*)\] (?P<how>.*)|.*)")
_STOP, _MOST_STOP_LINES = ".  Stop.", 20
# Compilers, assemblers, linkers, modpost of every age, depmod; then our own build script.
_ERRORS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    r"\s*(?!collect2: )((?:(?:\S+|\{standard input\}:\d+): )*(?:(?:fatal|internal compiler) )?error: .*)",
    r"\s*(fatal: .*)", r"foundry: (.*)",
))
# What stands between an error and make's own line, or is no error: make and the kernel's build at work, warnings and
# shown code, and what programs say after their errors.
_NOISE = re.compile(
    r"\$ .*|\S*make(?:\[\d+\])?: (?:Entering |Leaving |\*\*\* |\[|Nothing to be done |.* is up to date\.).*"
    r"|\s+[A-Z][A-Z0-9_-]*(?: \[M\])? +\S+|.*\b(?:[Ww]arning|WARNING|WARN|note): (?!objtool: ).*"
    r"|.* warnings being treated .*|\s*\d* \|.*|collect2: .*|.*: use the --help .*|compilation terminated\."
    r"|BEGIN failed--.*|Try to disable CONFIG_.*|Skipping BTF .*|[^A-Za-z]*")
# A place in a file, and lines that lead to it from elsewhere: macros after an error, what includes and calls before it.
_PLACE = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<text>.*)")
_LED_BY = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: note: in (?:expansion|definition) of macro .*")
_INLINED = re.compile(r"\s*inlined from .* at (?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?[,:].*")
_INCLUDED = re.compile(r"\s*(?:In file included from|from) (?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?[,:].*")
_LEADS = re.compile(r"\s*(?:In file included |from |inlined from ).*|.*: (?:In function|At top level).*|In function.*")
_KERNELS = re.compile(r"/(?!foundry/work/)|(?:\.\.?/)+(?:.*/)?(?:include|arch)/|(?:include|arch)/")
_MOST = 300  # characters of a line that are told
_NEAR = 40  # lines around an error that belong to it
_LAST = 5  # lines among which podman's error is; it may warn after it

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


def said_by_podman(log: Path, begin: int = 0) -> str:
    """The error with which podman itself ended, which it says last; empty where there is none."""
    said = reversed(_lines(log, begin)[-_LAST:])
    return next((line.strip()[:_MOST] for line in said if line.startswith("Error: ")), "")


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
    """The first error in a log, one line without the build's own folder; empty when there is none.

    Where nothing looks like an error and make gave up on a target, what was said last before that.
    """
    lines = _lines(log, begin)
    full = next((line for line in lines if says_no_space(line)), "")
    return (full or _first_error(lines)).replace("/foundry/work/", "").strip()[:_MOST]


def _first_error(lines: list[str]) -> str:
    ends = [(number, match) for number, line in enumerate(lines) if (match := _OF_MAKE.fullmatch(line))]
    number, made = ends[0] if ends else (len(lines), None)
    if made is not None and made["target"] is None and (stop := _stop(lines[number:number + _MOST_STOP_LINES])):
        return stop  # the Makefile itself is at fault
    for pattern in _ERRORS:
        for place, line in enumerate(lines):
            if match := pattern.fullmatch(line):
                return _own(lines, place, match[1])
    if made is None or made["target"] is None:
        return ""
    # before make's line; after it only where stdout and stderr came out of order
    said = next((line for line in [*reversed(lines[:number]), *lines[number:]] if not _NOISE.fullmatch(line)), "")
    return f"{said.strip()} (making {made['target']}: {made['how']})" if said else made[0]


def _stop(lines: list[str]) -> str:
    """What a Makefile ends with, which may have several lines; empty where it does not end so."""
    end = next((number for number, line in enumerate(lines, 1) if line.endswith(_STOP)), 0)
    return " ".join(line.strip() for line in lines[:end])


def _own(lines: list[str], number: int, text: str) -> str:
    """An error with the driver's own line that led to it.

    That is where the macro is used in which it is; of one in a kernel's header, the line that calls or includes what it
    is in.
    """
    place = _PLACE.fullmatch(text)
    if place is None:
        return text
    after = lines[number + 1:number + _NEAR]
    end = next((at for at, line in enumerate(after) if re.search(r"\b(?:error|warning): ", line)), len(after))
    before = lines[max(0, number - _NEAR):number]
    begin = next((at for at in range(len(before), 0, -1) if not _LEADS.fullmatch(before[at - 1])), 0)
    own = _places(_LED_BY, after[:end])[-1:]
    if not own and _KERNELS.match(place["file"]):
        own = (_places(_INLINED, before[begin:]) or _places(_INCLUDED, before[begin:]))[:1]
    here = (place["file"], place["line"])
    return text if own in ([], [here]) else f"{':'.join(own[0])}: {place['text']} ({':'.join(here)})"


def _places(pattern: re.Pattern[str], lines: list[str]) -> list[tuple[str, str]]:
    """The driver's own files and lines that these lines lead through, in their order."""
    found = filter(None, map(pattern.fullmatch, lines))
    return [(one["file"], one["line"]) for one in found if not _KERNELS.match(one["file"])]
