"""How far a piece of shell reaches that is not read, and whether it is sure which variables it could change.

Source of the rules: bash(1), "SHELL GRAMMAR", "QUOTING", "SHELL BUILTIN COMMANDS". What is not sure has no end
here: here-documents, functions, arithmetic commands, and whatever could load code, end the script, or name a variable
by a text that only bash can make.
"""

from __future__ import annotations

import re

BACKTICKS = re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL)
_PIECE = re.compile(r"""[^\s\\'"`$|&;()<>]+""")
_NESTED = re.compile(r"""\\.|\$\(|\$\{|<<|[()'"`}#;&|<>]|\bcase\b""", re.DOTALL)
_OPERATOR = re.compile(r";;&|;&|;;|&&|\|\||\|&|&>>|&>|<<<|<<|>>|<&|>&|<>|>\||[<>]\(|[;&|()<>]")
_ASSIGNED = re.compile(r"(?a)[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=")
_FOLLOWED = ("&&", "||", "|", "|&")  # the command goes on in the next line
_PROGRAM = re.compile(r"[a-z0-9./][a-z0-9./-]*|\[|:|\r")
_PLAIN = re.compile(r"[\w=+.,:/@%-]+")
# The kernel's own configuration, which has variables of its own alone.
_KERNEL_CONFIG = re.compile(
    r'"?(?:\$\{?kernel_source_dir\}?/(?:\.config|include/config/auto\.conf)|/boot/config-\$\{?kernelver\}?)"?')
_ENDED = ""  # stands for a conditional, loop or group that was closed
_OPENS = {"if": "if", "while": "loop", "until": "loop", "for": "loop", "select": "loop", "case": "case", "{": "{",
          "[[": "[["}
_CLOSES = {"fi": "if", "done": "loop", "esac": "clause", "}": "{"}
_WITHIN = {"then": "if", "elif": "if", "else": "if", "do": "loop"}
# They change the variables that they name.
_SETTERS = ("export", "getopts", "let", "mapfile", "read", "readarray", "unset")
# Builtins of bash, and functions of dkms, that can do anything, or end the script.
_ANYTHING = frozenset((
    ".", "alias", "autoinstall", "bind", "builtin", "caller", "command", "compgen", "complete", "compopt",
    "coproc", "declare", "deprecated", "die", "diewarn", "enable", "error", "eval", "exec", "exit", "fc",
    "function", "hash", "history", "local", "logout", "readonly", "return", "set", "shift", "shopt", "source",
    "suspend", "time", "times", "trap", "typeset", "unalias", "wait", "warn",
))


def closing(text: str, at: int) -> int | None:
    """Where ends what is opened at `at`, a double quote, ``(``, ``$(`` or ``${``; None where that is not sure."""
    listed = text[at] == "("
    opened = ['"' if text[at] == '"' else "}" if text.startswith("${", at) else ")"]
    end: int | None = at + 2 if text[at] == "$" else at + 1
    while end is not None and (match := _NESTED.search(text, end)):
        end = match.end()
        if match.group() != opened[-1]:
            end = _past(text, match, opened, listed=listed)
        elif len(opened) == 1:
            return end
        else:
            opened.pop()
    return None


def _past(text: str, match: re.Match[str], opened: list[str], *, listed: bool) -> int | None:
    """Where one goes on after something within what is opened; None where its end is not sure."""
    piece, top = match.group(), opened[-1]
    if piece == "`":
        ticks = BACKTICKS.match(text, match.start())
        return ticks.end() if ticks else None
    if piece in ("$(", "${") or (piece == '"' and top != '"'):
        opened.append({"$(": ")", "${": "}"}.get(piece, piece))
    elif top != '"' and piece[0] != "\\":
        return _past_unquoted(text, match, opened, listed=listed)
    return match.end()


def _past_unquoted(text: str, match: re.Match[str], opened: list[str], *, listed: bool) -> int | None:
    piece, at, command = match.group(), match.end(), opened[-1] == ")"
    if piece == "'":
        return text.find("'", at) + 1 or None if command else None
    if not command or piece == "}" or (piece in ";&|<>" and not (listed and len(opened) == 1)):
        return at
    if piece == "(" and not (listed and len(opened) == 1):
        opened.append(")")
        return at
    if piece == "#" and text[match.start() - 1] not in " \t\n;&|()":
        return at
    # a comment ends with its line in a list; in `$((` it would be none
    return end if piece == "#" and listed and (end := text.find("\n", at)) >= 0 else None


def word_end(text: str, at: int) -> int | None:
    """Where a word ends; None where that is not sure."""
    begin = at
    while at < len(text):
        char = text[at]
        end: int | None
        if char in " \t\n;&|)<>" or (char == "(" and not _ASSIGNED.fullmatch(text, begin, at)):
            break
        if char == "\\":
            end = at + 2
        elif char == "'":
            end = text.find("'", at + 1) + 1 or None
        elif char == "`":
            end = ticks.end() if (ticks := BACKTICKS.match(text, at)) else None
        elif char in '("' or text[at:at + 2] in ("$(", "${"):
            end = closing(text, at)
        elif char == "$":
            end = at + 1 if text[at + 1:at + 2] != "'" else None
        elif match := _PIECE.match(text, at):
            end = match.end()
        else:
            end = at + 1
        if end is None:
            return None
        at = end
    return at


def reach(text: str, at: int) -> int | None:
    """Where the commands end that begin at `at`: at the end of a line, or of the text.

    None where their end, or which variables they could change, is not sure. Those that they name they may change.
    """
    return _Commands(text, at).end()


class _Commands:
    def __init__(self, text: str, at: int) -> None:
        self._text, self._at = text, at
        self._open: list[str] = []  # conditionals, loops, groups
        self._words: list[str] = []  # of the command that is being read
        self._operator = ""  # the last one, until a word follows

    def end(self) -> int | None:
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in " \t":
                self._at += 1
            elif self._text.startswith("\\\n", self._at):
                self._at += 2
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char == "\n":
                if not self._line():
                    return None
                if not self._open and self._operator not in _FOLLOWED:
                    return self._at
                self._at += 1
            elif not (self._sign() if char in ";&|()<>" else self._word()):
                return None
        return self._at if not self._open and self._operator not in _FOLLOWED and self._command() else None

    def _top(self) -> str:
        return self._open[-1] if self._open else ""

    def _line(self) -> bool:
        return self._top() in ("[[", "case", "pattern") or self._command()

    def _sign(self) -> bool:
        match = _OPERATOR.match(self._text, self._at)
        sign, top = match.group() if match else "", self._top()
        self._at += len(sign)
        if "<" in sign or ">" in sign:
            return top == "[[" or self._redirection(sign)
        if sign == "(" and not self._words and top not in ("[[", "pattern"):
            self._open.append("(")
            return not self._text.startswith("(", self._at)
        if sign == ")" and top == "pattern":
            self._open[-1] = "clause"
        elif top not in ("[[", "pattern"):
            return self._between(sign, top)
        return top == "[[" or sign in ("(", "|", ")")

    def _between(self, sign: str, top: str) -> bool:
        """A sign that ends a command."""
        some = bool(self._words)
        if not self._command():
            return False
        if sign == ")" and top == "(":
            self._close()
        elif sign in (";;", ";&", ";;&") and top == "clause":
            self._open[-1] = "pattern"
        else:
            self._operator = sign
            return some and sign in (";", "&", *_FOLLOWED)
        return True

    def _redirection(self, sign: str) -> bool:
        if sign in ("<<", "<(", ">(") or not self._words or self._words[0].isdecimal():
            return False
        while self._text[self._at:self._at + 1] in (" ", "\t"):
            self._at += 1
        end = word_end(self._text, self._at)
        if end is None or end == self._at:
            return False
        self._at = end
        return True

    def _word(self) -> bool:
        end = word_end(self._text, self._at)
        if end is None or end == self._at:
            return False
        word = self._text[self._at:end].replace("\\\n", "")
        self._at, self._operator = end, ""
        top = self._top()
        if top in ("[[", "pattern"):
            if word == ("]]" if top == "[[" else "esac"):
                self._close()
        elif top == "case":
            self._words.append(word)
            if len(self._words) > 2:  # noqa: PLR2004 - case WORD in
                self._open[-1], self._words = "pattern", []
                return word == "in"
        elif self._words:
            self._words.append(word)
            return self._words[0] != _ENDED
        else:
            return self._first(word, top)
        return True

    def _close(self) -> None:
        self._open.pop()
        self._words = [_ENDED]

    def _first(self, word: str, top: str) -> bool:
        """The first word of a command, where the shell's own words count."""
        if word in _CLOSES or word in _WITHIN:
            if top != (_CLOSES.get(word) or _WITHIN[word]):
                return False
            if word in _CLOSES:
                self._close()
        elif word in _OPENS:
            self._open.append(_OPENS[word])
            self._words = [word] if word in ("for", "select", "case") else []
        elif word != "!":
            self._words.append(word)
        return True

    def _command(self) -> bool:
        """Whether the command that ends here changes variables that it names at most; it is left behind."""
        words, self._words = self._words, []
        while words and _ASSIGNED.match(words[0]):
            del words[0]
        if not words or words[0] == _ENDED:
            return True
        name, arguments = words[0], words[1:]
        if name in ("for", "select"):
            return len(arguments) == 1 or arguments[1:2] == ["in"]
        if name in (".", "source") and len(arguments) == 1 and _KERNEL_CONFIG.fullmatch(arguments[0]):
            return True
        if name in _ANYTHING or not _PROGRAM.fullmatch(name):
            return False
        if name == "printf":
            first = (*arguments, "")[0].lstrip("\"'")
            return not first.startswith(("-", "$", "`")) or all(map(_PLAIN.fullmatch, arguments[:2]))
        return name not in _SETTERS or all(
            _PLAIN.fullmatch(word) or (name == "export" and _ASSIGNED.match(word)) for word in arguments)
