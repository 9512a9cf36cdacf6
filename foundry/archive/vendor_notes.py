"""One version's section of a vendor's release notes, in reStructuredText or Markdown.

A heading is a line underlined by one repeated sign, or one that begins with ``#``. The
section of a version goes from the first heading that names it to the next heading of the
same rank or a higher one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST = 64 << 10  # characters of a section; more is no note on one version
_LONGEST_LINE = 1000  # characters of what may be a heading
_underline = re.compile(r"([=\-`:.'\"~^_*+#])\1{2,}\s*")
_atx = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
_fence = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class _Heading:
    begin: int  # lines
    end: int
    rank: int
    title: str


def section_of(text: str, version: str) -> str | None:
    """What the notes say of a version, without its heading; None when they say nothing."""
    lines = text.expandtabs().splitlines()
    headings = _headings(lines)
    named = re.compile(rf"(?<![0-9A-Za-z.])v?{re.escape(version)}(?![0-9A-Za-z~^+-]|\.[0-9A-Za-z])")
    for index, heading in enumerate(headings):
        if not named.search(heading.title):
            continue
        end = next((other.begin for other in headings[index + 1 :] if other.rank <= heading.rank), len(lines))
        body = [line.rstrip() for line in lines[heading.end : end]]
        return "\n".join(body).strip("\n")[:_LONGEST].strip() or None
    return None


def _headings(lines: list[str]) -> list[_Heading]:
    found: list[_Heading] = []
    ranks: dict[str, int] = {}  # of the signs that underline, in the order in which they are first used
    fenced = False
    for number, line in enumerate(lines):
        if _fence.match(line):
            fenced = not fenced
        if fenced or len(line) > _LONGEST_LINE:
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if match := _atx.fullmatch(line):
            found.append(_Heading(number, number + 1, len(match.group(1)), match.group(2)))
        elif line.strip() and not line[0].isspace() and not _underline.fullmatch(line) and _underline.fullmatch(below):
            rank = ranks.setdefault(below[0], len(ranks) + 1)
            over = number > 0 and _underline.fullmatch(lines[number - 1]) and lines[number - 1][0] == below[0]
            found.append(_Heading(number - 1 if over else number, number + 2, rank, line))
    return found
