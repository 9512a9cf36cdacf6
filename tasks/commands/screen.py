"""Texts as people read them: lines that fit a terminal, wrapped between words, and times."""

from __future__ import annotations

import shutil

COLUMNS = 80  # of tables where there is no terminal; texts are then as long as they are
_MINUTE = 60  # seconds, and minutes of an hour
_FEW = 10  # seconds of which tenths are said


def terminal_columns() -> int:
    """The width of the terminal on standard output, or what COLUMNS says; 0 where there is neither."""
    return shutil.get_terminal_size((0, 0)).columns


def wrapped(line: str, columns: int) -> list[str]:
    """A line as lines of at most `columns` where that is not 0: each is indented as it is, and no path is cut."""
    if not columns or len(line) <= columns:
        return [line]
    import textwrap

    indent = line[:len(line) - len(line.lstrip())]
    return textwrap.wrap(line.strip(), columns, initial_indent=indent, subsequent_indent=indent,
                         break_long_words=False, break_on_hyphens=False)


def fitted(head: str, texts: list[str], indent: int, columns: int) -> list[str]:
    """What is said of `head`: behind it if that fits, else below it, each text on lines of its own."""
    whole = "  ".join([head, *texts]).rstrip()
    if not columns or len(whole) <= columns:
        return [whole]
    return [head.rstrip(), *(line for text in texts for part in text.splitlines()
                             for line in wrapped(" " * indent + part, columns))]


def duration(seconds: float) -> str:
    """``0.2 s``, ``42 s``, ``12:34 min``, ``1:02:03 h``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if isinstance(seconds, float) and seconds < _FEW else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // _MINUTE}:{minutes % _MINUTE:02}:{rest:02} h"
