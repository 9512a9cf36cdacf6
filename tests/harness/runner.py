"""What the runner of GitHub Actions reads in the output of a step."""

from __future__ import annotations

import re


def commands_in(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands that the runner reads in what a step wrote, by the rules in its ActionCommand.cs."""
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        bare = line.strip()
        match = re.match(r"::(\w[\w-]*)(?: (.*?))?::(.*)$", bare, re.DOTALL)
        if match:
            pairs = [pair.partition("=") for pair in (match.group(2) or "").split(",") if pair]
            found.append((match.group(1), {name: plain(value, "\r\n:,%") for name, _, value in pairs},
                          plain(match.group(3), "\r\n%")))
        elif old := re.search(r"##\[([\w-]+)[^\]]*\](.*)", line):
            found.append((old.group(1), {}, old.group(2)))
    return found


def plain(text: str, escaped: str) -> str:
    """The runner undoes one character after the other, the per cent sign last."""
    for char in escaped:
        text = text.replace(f"%{ord(char):02X}", char)
    return text
