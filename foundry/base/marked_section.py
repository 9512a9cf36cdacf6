"""A text that belongs to two: our section between two markers, and what people wrote around it.

Line endings don't count: GitHub's web editor saves CRLF.
"""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

BEGIN = "<!-- kmod-foundry: what is between these two lines is written anew by each release -->"
END = "<!-- kmod-foundry: end -->"


def with_section(text: str, section: str) -> str:
    """The text with our section in it: in the place of the old one, else after what is there.

    Returns `text` itself, byte for byte, where it has the section already.
    Raises FoundryError (``markers-damaged``) where the markers are not one of each, in order.
    """
    ours = f"{BEGIN}\n{_defused(_unified(section)).strip()}\n{END}"
    before, old, after = _split(text)
    if _unified(old) == ours:
        return text
    if not old:
        return f"{text.rstrip()}\n\n{ours}" if text.strip() else ours
    return f"{before}{ours}{after}"


def outside(text: str) -> str:
    """What of the text is not ours. Raises as `with_section` does."""
    before, _, after = _split(text)
    return before + after


def has_section(text: str) -> bool:
    """Whether we wrote into the text before."""
    return BEGIN in text


def _split(text: str) -> tuple[str, str, str]:
    """Before our section, the section with its markers, after it."""
    counts = text.count(BEGIN), text.count(END)
    if counts == (0, 0):
        return text, "", ""
    start, end = text.find(BEGIN), text.find(END)
    if counts != (1, 1) or end < start:
        raise FoundryError(
            "the markers around kmod-foundry's section are damaged, so nobody can tell what is yours",
            reason=Reason.MARKERS_DAMAGED, hint=f"have each once, in this order: {BEGIN} and {END}; or remove both",
        )
    end += len(END)
    return text[:start], text[start:end], text[end:]


def _defused(section: str) -> str:
    """A section quotes others, such as compilers: what would be taken for a marker in it is none any more."""
    return section.replace("<!-- kmod-foundry:", "<! -- kmod-foundry:")


def _unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
