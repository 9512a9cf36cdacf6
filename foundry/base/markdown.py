"""Anybody's words in Markdown: what they say is shown, and never read as markup."""

from __future__ import annotations

import re
import unicodedata

from foundry.base.plain_text import LONGEST_WORDS, hidden

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction, line separators
_HARMLESS = re.compile(r"(?!.*www)[A-Za-z0-9 ,.;:'()+-]+")


def block(text: str) -> str:
    """Anybody's lines as a code block that they can't end (CommonMark 0.31, "Fenced code blocks")."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{hidden(text)}\n{fence}\n"


def code(text: str) -> str:
    """Anybody's words, a compiler's for one, as a code span that they can't leave (CommonMark 0.31, "Code spans")."""
    shown = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in hidden(text))
    flat = " ".join(shown.split())
    if len(flat) > LONGEST_WORDS:
        flat = f"{flat[:LONGEST_WORDS].rstrip()}…"
    if not flat:
        return "`?`"
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    room = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{room}{flat}{room}{fence}"


def cell(text: str) -> str:
    """The words as a code span in a table, where a bar ends a cell even in code (GFM, "Tables"): it is broken."""
    return code(text.replace("|", "¦"))


def words(text: str) -> str:
    """The words as they are, where Markdown reads nothing else in them; else as code."""
    return text if _HARMLESS.fullmatch(text) else code(text)
