"""A matrix file with one more entry: as people wrote it, their order, blanks and line ends stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BLANKS = re.compile(r"[ \t\r\n]*")


def with_entry(text: str, entry: Mapping[str, Any]) -> str:
    """The text of a JSON list with the entry at its end, laid out as the one before it."""
    decoder, spans = json.JSONDecoder(), list[tuple[int, int]]()
    at = begin = _past(text, text.index("[") + 1)
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        spans.append((at, end))
        at = _past(text, end)
        at = _past(text, at + 1) if text[at] == "," else at
    line_end = "\r\n" if "\r\n" in text else "\n"
    if not spans:
        return f"{text[:begin].rstrip()}{line_end}  {json.dumps(entry)}{line_end}{text[at:]}"
    first, last = spans[0], spans[-1]
    indent = text[:first[0]].rpartition("\n")[2] if "\n" in text[:first[0]] else "  "
    indent = indent if not indent.strip() else "  "
    between = text[spans[-2][1]:last[0]] if len(spans) > 1 else f",{line_end}{indent}"
    written = json.dumps(entry)
    if "\n" in text[last[0]:last[1]]:  # a field on each line
        step = re.search(r"\n([ \t]*)\S", text[last[0]:last[1]])
        deeper = step[1].removeprefix(indent) if step else ""
        written = json.dumps(entry, indent=deeper or "  ").replace("\n", f"{line_end}{indent}")
    return text[:last[1]] + between + written + text[last[1]:]


def _past(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at
