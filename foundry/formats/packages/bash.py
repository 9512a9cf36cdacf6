"""Assignments in a bash script, read without bash; what is more than an assignment is kept as code that nobody read.

Source of the rules: bash(1), "QUOTING", "PARAMETERS", "Arrays". Known are plain words, both kinds of quotes,
backslashes, ``$name``, ``${name}``, ``${name[n]}``, ``${name:-word}`` and its like, ``name[n]=``, ``name+=`` and
``name=(…)``. A value with anything else in it has no meaning, nor has one that is made of it; nor a variable that
code could have changed, until it is set anew.

A script is somebody else's: what its values grow to, and how often a character of it is looked at, have a limit.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foundry.formats.packages.shellcode import BACKTICKS, closing, reach, word_end

# Names of variables are ASCII, whatever the locale: in `$arché` bash reads $arch.
_ASSIGNMENT = re.compile(r"(?a)([A-Za-z_]\w*)(?:\[(0|[1-9]\d{0,2})\])?(\+?)=")
_EXPORT = re.compile(r"(?a)export[ \t]+(?=[A-Za-z_]\w*\+?=)")
_ELEMENT = re.compile(r"(?a)\[(0|[1-9]\d{0,2})\]=")
# Names in a piece of code, but those that are only looked at.
_NAMES = re.compile(r"(?a)(\$\{?)?([A-Za-z_]\w*)(:?=)?")
_VARIABLE = re.compile(r"(?a)\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:\[(0|[1-9]\d{0,2})\])?(?:(:?)([-=+])|\}))")
_SPECIAL = re.compile(r"\$[({0-9?@*#!$_-]")
_PLAIN = re.compile(r"""[^\s\\'"`$|&;()<>~*?\[\]{}#=:]+""")
_INDIRECT = re.compile(r"(?a)\$\{(?:!|\w+(?:\[[^\]]*\])?:?\?)")  # which variable is meant; or an end of the script
_LOADS = re.compile(r"(?:^|\s)(?:\.|source)\s")
_SPLIT = re.compile(r"[\s*?\[\\]")
# Of the shell itself and its surroundings: nobody knows them before it runs.
_SURROUNDINGS = re.compile(
    r"(BASH|COMP|LC|READLINE|CONFIG)_\w+|BASH|BASHPID|COLUMNS|DIRSTACK|E?UID|ENV|EPOCH\w+|FUNC\w+|GROUPS|HIST\w+|HOME|"
    r"HOSTNAME|HOSTTYPE|IFS|LANG|LANGUAGE|LINENO|LINES|LOGNAME|MACHTYPE|MAKEFLAGS|OLDPWD|OPT\w+|OSTYPE|PATH|PIPESTATUS|"
    r"P?PID|PPID|PS\d|PWD|RANDOM|REPLY|SECONDS|SHELL|SHELLOPTS|SHLVL|SRANDOM|SUDO_\w+|TERM|TMPDIR|TZ|USER|_"
)
_BLANKS = re.compile(r"(?:[ \t]|\\\n)+")
_SHOWN = 120
_DEEPEST = 20  # defaults within defaults
_MAX_VALUES = 1 << 20  # characters of all values together
_MAX_STEPS = 1 << 20  # characters that are looked at, one that is looked at twice counting twice


class TooMuch(ValueError):
    """The script grows, or takes steps, beyond all that a description of modules needs."""


@dataclass(frozen=True)
class Code:
    """A piece of shell that is not read: its line, and how that begins."""

    line: int
    text: str


@dataclass(frozen=True)
class Assignment:
    """One value; `unset` are variables in it that nobody set, `code` is what it has no meaning for, `text` its line."""

    name: str
    value: str
    line: int
    text: str
    code: Code | None = None
    unset: tuple[str, ...] = ()


@dataclass
class Script:
    """What was read: values by name and index, and code; `lost` is the piece from which on nothing is sure."""

    values: dict[str, dict[int, Assignment]] = field(default_factory=dict)
    code: list[Code] = field(default_factory=list)
    touched: dict[str, Code] = field(default_factory=dict)
    lost: Code | None = None

    def at(self, name: str, index: int = 0) -> Assignment | None:
        """The value at an index, of a plain variable at 0; with `code` where code could have changed it."""
        found = self.values.get(name, {}).get(index)
        code = self.lost or (self.touched.get(name) if found is None else None)
        return Assignment(name, "", code.line, code.text, code) if code is not None else found

    def array(self, name: str) -> Mapping[int, Assignment]:
        """The values of a variable by index; one of them has `code` where code could have added to them."""
        found = self.values.get(name, {})
        code = self.lost or self.touched.get(name)
        if code is None:
            return found
        return {**found, max(found, default=-1) + 1: Assignment(name, "", code.line, code.text, code)}


def read_script(text: str, known: Mapping[str, str]) -> Script:
    """Read a script; `known` are variables that are set before. Raises `TooMuch`."""
    return _Reader(text, known).read()


@dataclass
class _Value:
    """A value that is being read; `piece` is its line, an element of a list is `listed`."""

    piece: Code
    listed: bool
    parts: list[str] = field(default_factory=list)
    unset: tuple[str, ...] = ()
    code: Code | None = None

    def look(self, char: str) -> None:
        """Mark what bash replaces: a home folder; names of files and braces in a list."""
        if (self.listed and char in "*?[{") or (char == "~" and (not self.parts or self.parts[-1] in (":", "="))):
            self.code = self.code or self.piece


class _Reader:
    def __init__(self, text: str, known: Mapping[str, str]) -> None:
        self._text, self._at, self._known = text, 0, known
        self._script = Script()
        self._steps = self._size = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._depth = 0

    def read(self) -> Script:
        while self._at < len(self._text) and self._script.lost is None:
            char = self._text[self._at]
            if char in " \t\n":
                self._at += 1
            elif self._text.startswith("\\\n", self._at):
                self._at += 2
            elif char == "#":
                self._at = self._line_end(self._at)
            elif not self._assignments():
                self._code()
        return self._script

    # -- assignments -----------------------------------------------------------

    def _assignments(self) -> bool:
        """Those that a command consists of; False where it has more than them, or one can't be told."""
        start = at = self._at
        if export := _EXPORT.match(self._text, at):
            at = export.end()
        begins = []
        while (end := word_end(self._text, at) if _ASSIGNMENT.match(self._text, at) else None) is not None:
            begins.append(at)
            at = self._past_blanks(end)
        self._step(start, at)
        after = self._text[at:at + 2]
        if not begins or (export and len(begins) > 1) or after == ";;" or after[:1] not in ("", "\n", "#", ";"):
            return False  # a command with an environment of its own
        self._depth = 0
        told = all(map(self._assignment, begins))
        self._at = at + (after[:1] == ";") if told else start
        return told

    def _assignment(self, at: int) -> bool:
        match = _ASSIGNMENT.match(self._text, at)
        assert match is not None  # noqa: S101 - looked at before
        name, index, plus = match[1], match[2], match[3]
        empty = Assignment(name, "", self._line(at), self._shown(at))
        self._at = match.end()
        if self._text.startswith("(", self._at):
            return index is None and self._list(empty, more=bool(plus))
        one = self._value(empty)
        if one is None:
            return False
        place = int(index or 0)
        if plus:
            old, _ = self._lookup(name, place, Code(empty.line, empty.text))
            self._grow(len(old.value))
            one = replace(one, value=old.value + one.value, code=old.code or one.code)
        self._script.values.setdefault(name, {})[place] = one
        return True

    def _list(self, empty: Assignment, *, more: bool) -> bool:
        """The elements of ``(…)``; False where they can't be told."""
        old = self._script.array(empty.name) if more else {}
        values = dict(old)
        self._step(0, len(values))
        number = max(values, default=-1) + 1
        self._at += 1
        while (char := self._text[self._at:self._at + 1]) != ")":
            if char in (" ", "\t", "\n"):
                self._at += 1
            elif char == "#":
                self._at = self._line_end(self._at)
            else:
                if element := _ELEMENT.match(self._text, self._at):
                    number, self._at = int(element[1]), element.end()
                before = self._at
                one = self._value(empty, listed=element is None)
                if one is None or (self._at == before and element is None):
                    return False
                values[number] = one
                number += 1
        self._at += 1
        if self._text[self._at:self._at + 1] not in ("", " ", "\t", "\n", ";"):
            return False  # no list at all
        self._script.values[empty.name] = values
        if not more:
            self._script.touched.pop(empty.name, None)
        return True

    def _value(self, empty: Assignment, *, listed: bool = False) -> Assignment | None:
        """The word here as a value; in a list bash splits it and looks for files. None where its end is not sure."""
        value = _Value(Code(empty.line, empty.text), listed)
        while self._at < len(self._text) and self._text[self._at] not in " \t\n;&|()<>":
            if not self._piece(value, quoted=False):
                return None
        return replace(empty, value="".join(value.parts), code=value.code, unset=tuple(dict.fromkeys(value.unset)))

    def _piece(self, value: _Value, *, quoted: bool) -> bool:
        """One piece of a word; False where its end is not sure."""
        text, at = self._text, self._at
        char = text[at]
        if char in "'\"" and not quoted:
            return self._quoted(value, char)
        if char == "\\":
            after = text[at + 1:at + 2]
            value.parts.append("" if after == "\n" else after if not quoted or after in '$`"\\' else f"\\{after}")
            self._at += 2
            return bool(after)
        if char == "$":
            return self._variable(value, quoted=quoted)
        if char == "`":
            return self._unread(value, ticks.end() if (ticks := BACKTICKS.match(text, at)) else None)
        match = _PLAIN.match(text, at)
        self._at = match.end() if match else at + 1
        if not quoted:
            value.look(char)
        value.parts.append(text[at:self._at])
        return True

    def _quoted(self, value: _Value, char: str) -> bool:
        begin = self._at + 1
        if char == "'":
            self._at = self._text.find("'", begin) + 1
            value.parts.append(self._text[begin:self._at - 1])
            return self._at > 0
        self._at = begin
        while self._at < len(self._text) and self._text[self._at] != '"':
            if not self._piece(value, quoted=True):
                return False
        self._at += 1
        return self._at <= len(self._text)

    def _variable(self, value: _Value, *, quoted: bool) -> bool:
        text, at = self._text, self._at
        match = _VARIABLE.match(text, at)
        begin = match.end() if match else at + 1
        after = text[begin:begin + 2]
        if after == "\\\n" or (match is None and (after[:1] == "[" or (after[:1] in ("'", '"') and not quoted))):
            return False  # a name that goes on in the next line; arithmetic; a quote of another kind
        if match is None and _SPECIAL.match(text, at):
            return self._unread(value, closing(text, at) if after[0] in "({" else at + 2)
        self._at = begin
        if match is None:
            value.parts.append("$")
            return True
        found, known = self._lookup(match[1] or match[2], int(match[3] or 0), value.piece)
        if match[5] is None:
            return self._take(value, found, quoted=quoted)
        self._at = at
        there = known and (found.value != "" or not match[4])
        return self._either(value, match, found, there=there, quoted=quoted)

    def _either(
        self, value: _Value, match: re.Match[str], found: Assignment, *, there: bool, quoted: bool
    ) -> bool:
        """``${name:-word}`` and its like: the variable, or the word, of which only what counts is read."""
        end, operator = closing(self._text, match.start()), match[5]
        odd = quoted and end is not None and any(char in self._text[match.end():end] for char in "\"'\\")
        if end is None or odd or found.code or self._depth > _DEEPEST or (operator == "=" and not there):
            return self._unread(value, end)
        self._step(match.start(), end)
        if there and operator != "+":
            self._at = end
            return self._take(value, found, quoted=quoted)
        if there == (operator == "+"):
            self._at, self._depth = match.end(), self._depth + 1
            while self._at < end - 1:
                if not self._piece(value, quoted=quoted):
                    return False
            self._depth -= 1
        told = there != (operator == "+") or self._at == end - 1
        self._at = end
        return told

    def _take(self, value: _Value, found: Assignment, *, quoted: bool) -> bool:
        self._grow(len(found.value))
        value.parts.append(found.value)
        value.unset += found.unset
        value.code = value.code or found.code
        if value.listed and not quoted and (not found.value or _SPLIT.search(found.value)):
            value.code = value.code or value.piece
        return True

    def _unread(self, value: _Value, end: int | None) -> bool:
        """A piece up to `end` that only a shell understands."""
        if end is None:
            return False
        piece = self._text[self._at:end]
        self._step(self._at, end)
        if piece.startswith(("${", "$((")):  # others run in a shell of their own
            if _INDIRECT.search(piece):
                return False
            self._touch(piece, value.piece)
        value.code = value.code or value.piece
        self._at = end
        return True

    def _lookup(self, name: str, index: int, piece: Code) -> tuple[Assignment, bool]:
        """The value of a variable, and whether it is set."""
        found = self._script.at(name, index)
        if found is not None:
            return found, True
        empty = Assignment(name, "", piece.line, piece.text)
        if name in self._known:
            return replace(empty, value=self._known[name] if not index else ""), not index
        if _SURROUNDINGS.fullmatch(name):
            return replace(empty, code=piece), True
        return replace(empty, unset=(name,)), False

    # -- everything else -------------------------------------------------------

    def _code(self) -> None:
        """What is no assignment: to its end, where that and what it could change is sure, else all that follows."""
        start = self._at
        end = reach(self._text, start)
        piece = self._text[start:end]
        code = Code(self._line(start), self._shown(start))
        self._script.code.append(code)
        self._touch(piece, code)
        moved = _LOADS.search(piece) and self._known.keys() & self._script.values.keys()
        if end is None or moved or _INDIRECT.search(piece):
            self._script.lost = code
        else:
            self._at = end

    def _touch(self, piece: str, code: Code) -> None:
        for dollar, name, assigned in _NAMES.findall(piece.replace("\\\n", "")):
            if not dollar or (dollar == "${" and assigned):
                self._script.touched.setdefault(name, code)
                self._script.values.pop(name, None)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _MAX_VALUES:
            raise TooMuch(f"its values grow beyond {_MAX_VALUES} characters")

    def _step(self, start: int, end: int) -> None:
        self._steps += end - start
        if self._steps > _MAX_STEPS:
            raise TooMuch(f"reading it takes more than {_MAX_STEPS} steps")

    # -- places ----------------------------------------------------------------

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end

    def _past_blanks(self, at: int) -> int:
        match = _BLANKS.match(self._text, at)
        return match.end() if match else at

    def _line(self, at: int) -> int:
        return bisect_right(self._line_starts, at)

    def _shown(self, at: int) -> str:
        line = self._text[at:at + 4 * _SHOWN].partition("\n")[0]
        return " ".join(line.split())[:_SHOWN]
