"""Assignments in a bash script, read without bash; what is more than an assignment is kept as a block of code.

Source of the rules: bash(1), "QUOTING", "PARAMETERS", "Arrays". Known are plain words, both
kinds of quotes, backslashes, ``$name``, ``${name}``, ``${name[n]}``, ``${name:-word}``, ``name[n]=``, ``name+=`` and
``name=(…)``. A value with anything else in it is marked as `code` and has no meaning.

A script is somebody else's: what its values grow to, and how often a character of it is looked at, have a limit.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_]\w*)(?:\[(\d{1,3})\])?(\+?)=")
# An index that is too long to be looked through counts as that of an assignment.
_ANYWHERE = re.compile(r"(?:^|[\s;&|({])([A-Za-z_]\w*)(?:(?:\[[^\]]{0,200}\])?\+?=|\[[^\]]{201})")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:\[(\d{1,3})\])?(?::?-([^{}$`\"'\\]*))?\})")
_KEYWORD = re.compile(r"(?:^|[;&|\n]|\b(?:then|do|else)\b)[ \t]*(if|case|for|while|until|select|fi|esac|done)\b")
_LOADS = re.compile(r"^\s*(?:\.|source|eval)\s")
_OPENS = ("if", "case", "for", "while", "until", "select")
_META = frozenset("|&;<>()`")
_SHOWN = 120
_MAX_VALUES = 1 << 20  # characters of all values together
_MAX_STEPS = 1 << 20  # characters that are looked at, one that is looked at twice counting twice


class TooMuch(ValueError):
    """The script grows, or takes steps, beyond all that a description of modules needs."""


@dataclass(frozen=True)
class Assignment:
    """One value; `unset` are variables in it that nobody set, `text` is the line as it stands."""

    name: str
    value: str
    line: int
    text: str
    code: bool = False
    unset: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """A command, or a conditional or loop to its end: the names that are assigned in it, and whether it loads code."""

    line: int
    text: str
    assigns: tuple[str, ...]
    loads: bool


@dataclass
class Script:
    """What was read: values by name and index, and code."""

    values: dict[str, dict[int, Assignment]] = field(default_factory=dict)
    code: list[Code] = field(default_factory=list)

    def array(self, name: str) -> Mapping[int, Assignment]:
        """The values of a variable by index; a plain variable has index 0."""
        return self.values.get(name, {})

    def plain(self, name: str) -> str:
        """The value at index 0, empty when it is not there or needs a shell."""
        found = self.array(name).get(0)
        return found.value if found is not None and not found.code else ""


def read_script(text: str, known: Mapping[str, str]) -> Script:
    """Read a script; `known` are variables that are set before. Raises `TooMuch`."""
    return _Reader(text.replace("\r\n", "\n").replace("\\\n", "\0"), known).read()


class _Reader:
    r"""`\0` stands for a backslash at the end of a line, so that lines can still be counted."""

    def __init__(self, text: str, known: Mapping[str, str]) -> None:
        self._text, self._at, self._known = text, 0, known
        self._script = Script()
        self._steps = self._size = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("[\n\0]", text))]

    def read(self) -> Script:
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in " \t\n\0;":
                self._at += 1
            elif char == "#":
                self._at = self._line_end(self._at)
            elif not self._assignment():
                self._code()
        return self._script

    # -- assignments -----------------------------------------------------------

    def _assignment(self) -> bool:
        start = self._at
        match = _ASSIGNMENT.match(self._text, start)
        if match is None:
            return False
        name, index, plus = match.group(1), int(match.group(2) or 0), match.group(3)
        self._at = match.end()
        listed = self._text.startswith("(", self._at)
        empty = Assignment(name, "", self._line(start), self._shown(start))
        found = self._list(empty) if listed else [self._value(empty)]
        self._skip_blanks()
        self._steps += self._at - start
        if self._steps > _MAX_STEPS:
            raise TooMuch(f"reading it takes more than {_MAX_STEPS} steps")
        rest = self._text[self._at:self._at + 1]
        if rest not in ("", "\n", ";", "#") and not _ASSIGNMENT.match(self._text, self._at):
            self._at = start  # a command with an environment of its own
            return False
        values = self._script.values.setdefault(name, {})
        if plus and len(found) == 1 and index in values:
            before = values[index]
            self._grow(len(before.value))
            found = [replace(found[0], value=before.value + found[0].value, code=before.code or found[0].code)]
        for number, one in enumerate(found, index):
            values[number] = one
        return True

    def _list(self, empty: Assignment) -> list[Assignment]:
        found: list[Assignment] = []
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == ")":
                self._at += 1
                return found
            if char in " \t\n\0":
                self._at += 1
            elif char == "#":
                self._at = self._line_end(self._at)
            else:
                before = self._at
                found.append(self._value(empty))
                if self._at == before:  # a character that no word begins with
                    break
        return [replace(empty, code=True)]

    def _value(self, empty: Assignment) -> Assignment:
        parts: list[str] = []
        unset: list[str] = []
        shell, quote = False, ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if not quote and (char in " \t\n;)#" and (char != "#" or not parts)):
                break
            if quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif char == "\0":
                pass  # the line goes on
            elif quote == "'":
                parts.append(char)
            elif char == "\\":
                self._at += 1
                after = self._text[self._at:self._at + 1]
                parts.append(after if not quote or after in '$`"\\' else f"\\{after}")
            elif char == "$":
                text, missing, ok = self._variable()
                self._grow(len(text))
                parts.append(text)
                unset += missing
                shell = shell or not ok
                if not ok:
                    self._skip_shell()
                continue
            elif char == "`" or (not quote and char in _META):
                shell = True
                self._skip_shell()
                continue
            else:
                parts.append(char)
            self._at += 1
        return replace(empty, value="".join(parts), code=shell or bool(quote), unset=tuple(dict.fromkeys(unset)))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _MAX_VALUES:
            raise TooMuch(f"its values grow beyond {_MAX_VALUES} characters")

    def _variable(self) -> tuple[str, list[str], bool]:
        match = _VARIABLE.match(self._text, self._at)
        if match is None:
            if self._text[self._at + 1:self._at + 2] in ("(", "{", "'", '"', "?", "@", "*", "#", "!", "$"):
                return "", [], False
            self._at += 1
            return "$", [], True
        self._at = match.end()
        name = match.group(1) or match.group(2)
        found = self._script.array(name).get(int(match.group(3) or 0))
        if found is not None:
            return found.value, [], not found.code
        if name in self._known:
            return self._known[name], [], True
        return (match.group(4), [], True) if match.group(4) is not None else ("", [name], True)

    def _skip_shell(self) -> None:
        """Past what only a shell understands: a substitution to its end, else one character."""
        if self._text.startswith("`", self._at):
            end = self._text.find("`", self._at + 1)
            self._at = len(self._text) if end < 0 else end + 1
            return
        opener = self._text[self._at:self._at + 2]
        pair = {"$(": "()", "${": "{}"}.get(opener)
        if pair is None:
            self._at += 1
            return
        depth, self._at = 0, self._at + 1
        while self._at < len(self._text):
            depth += (self._text[self._at] == pair[0]) - (self._text[self._at] == pair[1])
            self._at += 1
            if not depth:
                return

    # -- everything else -------------------------------------------------------

    def _code(self) -> None:
        """A command up to the end of its line; a conditional, loop or function to its own end."""
        start = self._at
        end = self._line_end(start)
        conditionals, braces = self._opened(start, end)
        while (conditionals > 0 or braces > 0) and end < len(self._text):
            begin, end = end + 1, self._line_end(end + 1)
            more = self._opened(begin, end)
            conditionals, braces = conditionals + more[0], braces + more[1]
        block = self._text[start:end]
        self._at = end
        self._script.code.append(Code(
            self._line(start), self._shown(start), tuple(dict.fromkeys(_ANYWHERE.findall(block))),
            # what a conditional loads is gone with it; a function or a bare load could set anything
            bool(_LOADS.match(block)),
        ))

    def _opened(self, start: int, end: int) -> tuple[int, int]:
        """How many conditionals and loops, and how many braces, more begin than end in a line."""
        line = self._text[start:end]
        words = _KEYWORD.findall(line)
        return sum(1 if word in _OPENS else -1 for word in words), line.count("{") - line.count("}")

    # -- places ----------------------------------------------------------------

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t\0":
            self._at += 1

    def _line(self, at: int) -> int:
        return bisect_right(self._line_starts, at)

    def _shown(self, at: int) -> str:
        line = self._text[at:at + 4 * _SHOWN].partition("\n")[0]
        return " ".join(line.replace("\0", " ").split())[:_SHOWN]
