"""Lines that fit a terminal: wrapped between words, and no path or name is ever cut."""

from __future__ import annotations

import shutil

COLUMNS = 80  # of tables where there is no terminal; texts are then as long as they are


def terminal_columns() -> int:
    """The width of the terminal on standard output, or what COLUMNS says; 0 where there is neither."""
    return shutil.get_terminal_size((0, 0)).columns


def fitted(head: str, texts: list[str], indent: int, columns: int) -> list[str]:
    """What is said of `head`: behind it if that fits, else below it, each text on lines of its own.

    `columns` is the width; 0 keeps everything on one line.
    """
    whole = "  ".join([head, *texts]).rstrip()
    if not columns or len(whole) <= columns:
        return [whole]
    return [head.rstrip(), *(line for text in texts for line in wrapped(text, indent, columns))]


def wrapped(text: str, indent: int, columns: int) -> list[str]:
    """The lines of a text, indented; those of more than `columns` are wrapped, if that is not 0."""
    import textwrap

    begin = " " * indent
    return [
        begin + part for line in text.splitlines()
        for part in (textwrap.wrap(line, max(1, columns - indent), break_long_words=False, break_on_hyphens=False)
                     if columns else [line])
    ]
