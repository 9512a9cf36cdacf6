"""The command line as it was typed, looked at before doit reads it: what is wrong with it is one sentence."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from getopt import GetoptError, getopt, gnu_getopt
from typing import Any

from doit.cmdparse import CmdOption, CmdParse

from foundry.base.environment import VARIABLES, refuse_faulty
from foundry.base.errors import UsageError
from foundry.base.files import open_file
from foundry.base.names import near
from tasks.commands.pages import PAGES, TASK_OPTIONS, page_of, usage_of

HELP, VERSION = ("-h", "--help"), "--version"
_RUN = "run"
# Options of doit that are of no use here, by their long and short names, and what is instead.
_ALL_STATES = "`doit list` shows every task with its state"
_NO_DATABASE = "there is no database: the records below build/ are the state"
_ONE_FOLDER = "doit works in the checkout's folder"
_INSTEAD = {
    _RUN: {
        **dict.fromkeys(("a", "always-execute"), "FORCE_BUILD=true in the environment rebuilds what is selected"),
        **dict.fromkeys(("c", "continue", "no-continue"), "every task is tried, whatever fails"),
        **dict.fromkeys(("r", "reporter"), "programs read `doit status --json`"),
        **dict.fromkeys(("o", "output-file"), "write the output into a file with `>`"),
        **dict.fromkeys(("P", "parallel-type"), "cells run in threads, `-n` says how many"),
        "failure-verbosity": "a failure names its log; `-v 2` shows it",
    },
    "list": {
        **dict.fromkeys(("p", "private", "template"), _ALL_STATES),
        "sort": "what is pending comes first; `doit list -q | sort` sorts by name",
    },
    "clean": {**dict.fromkeys(("a", "clean-all"), "`doit clean` removes the files of all cells"),
              "forget": _NO_DATABASE},
    "tabcompletion": {"hardcode-tasks": "names are asked for when they are completed"},
}
_OF_EVERY = {
    **dict.fromkeys(("db-file", "backend", "check_file_uptodate"), _NO_DATABASE),
    **dict.fromkeys(("f", "file", "d", "dir", "k", "seek-file"), _ONE_FOLDER),
}


def number(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number; it raises ValueError with what is wrong."""
    def of(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"not a number from {least} to {most}")
        return int(text)

    return of


def look_at(words: Sequence[str]) -> str | None:
    """What to show help on, where the command line asks for it: a name, or an empty text for the front page.

    UsageError for options, numbers of arguments and environment variables that no command takes.
    """
    known = commands()
    if any(word in HELP for word in words):
        return _topic(words)
    if "" in words:
        raise UsageError("an argument is empty", hint="`doit list` shows all tasks, `doit help` all commands")
    name, rest = (words[0], words[1:]) if words and words[0] in known else (_RUN, words)
    if name != "help":
        refuse_faulty()
    if name not in PAGES:
        return None  # a command that does nothing, and says so
    options = options_of(known[name])
    rest = _without_options(rest, options, name)
    if name == _RUN:
        _look_at_tasks(rest, options, words, known)
    else:
        _look_at_arguments(rest, options, name, words)
    return None


class OptionsAnywhere:
    """Of a command whose page is `mixed`: its options may stand behind the arguments, too."""

    cmdparser: CmdParse

    def parse_execute(self, in_args: list[str]) -> Any:
        """As doit's own, with the options first."""
        options, rest = gnu_getopt(in_args, self.cmdparser.get_short(), self.cmdparser.get_long())
        said = [f"{name}={value}" if value and name[:2] == "--" else name + value for name, value in options]
        return super().parse_execute([*said, "--", *rest])  # type: ignore[misc]  # reason: doit has no types


def options_of(place: str) -> list[CmdOption]:
    """The options of the command at ``module:Class``."""
    module, _, name = place.partition(":")
    return [CmdOption(option) for option in getattr(importlib.import_module(module), name).cmd_options]


def task_options(name: str) -> list[CmdOption]:
    """The options that a task of this name takes after its name."""
    page = page_of(name)
    return [CmdOption(option) for option in TASK_OPTIONS.get(page.name if page is not None else name, ())]


def names_in(words: Sequence[str]) -> list[str]:
    """The names of tasks in what was typed, without the options that stand behind them; those are fit (`look_at`)."""
    names, rest = list[str](), list(words)
    while rest:
        name, *rest = rest
        names.append(name)
        if rest and rest[0][:1] == "-" != rest[0]:
            parser = CmdParse(task_options(name))
            _, rest = getopt(rest, parser.get_short(), parser.get_long())
    return names


def commands() -> Mapping[str, str]:
    """Command → where it is, as doit reads it; doit works in the checkout's folder."""
    found: dict[str, str] = pyproject()["tool"]["doit"]["plugins"]["command"]
    return found


def pyproject() -> dict[str, Any]:
    """The content of pyproject.toml."""
    with open_file("pyproject.toml") as file:
        return tomllib.load(file)


def _topic(words: Sequence[str]) -> str:
    names = [word for word in words if not word.startswith("-")]
    known = next((name for name in names if page_of(name) is not None), None)
    return known if known is not None else "" if words[0].startswith("-") else names[0]


def _without_options(words: Sequence[str], options: Sequence[Any], owner: str) -> list[str]:
    """What follows the options that come first, which are fit."""
    parser = CmdParse(options)
    try:
        read = gnu_getopt if owner in PAGES and PAGES[owner].mixed else getopt
        given, rest = read(list(words), parser.get_short(), parser.get_long())
    except GetoptError as error:
        word = error.msg.split()[1]
        if "not recognized" in error.msg:
            raise _unknown(word, options, owner) from None
        what = "needs a value" if "requires" in error.msg else "takes no value" if "must not" in error.msg else (
            "may mean several options")
        raise UsageError(f"{word} {what}", hint=_usage(owner)) from None
    for text, value in given:
        option, _ = parser.get_option(text)
        if option.type is not bool and not value and option.default is not None:
            raise UsageError(f"{text} needs a value", hint=_usage(owner))
        try:
            fit = option.type is bool or option.type(value) is not None
        except ValueError as fault:
            raise UsageError(f"{text} {value}: {fault}", hint=_usage(owner)) from None
        if fit and option.choices and value not in option.choices:
            raise UsageError(f"{text} {value}: not one of {', '.join(option.choices)}", hint=_usage(owner))
        if "=" in value and value in words:
            whole = f"{text}={value}" if text.startswith("--") else f"{text}{value}"
            raise UsageError(f"{text} {value}: doit takes {value} for a variable", hint=f"write {whole}")
    return rest


def _look_at_tasks(names: list[str], options: Sequence[Any], line: Sequence[str], known: Mapping[str, str]) -> None:
    """Names of tasks, each with options of its own behind it."""
    rest = names
    while rest:
        name, *rest = rest
        _refuse_variable(name)
        if name in known:
            raise UsageError(f"{name} is a command, no task: it comes first", hint=_usage(name))
        if rest and rest[0].startswith("-"):
            first = rest[0]
            try:
                rest = _without_options(rest, task_options(name), name)
            except UsageError as error:
                late = (_misplaced(word, options, _RUN, line, name) for word in rest if word.startswith("-"))
                raise next(filter(None, late), error) from None
            if name in TASK_OPTIONS and PAGES[name].usage:
                raise UsageError(f"options of {name} go with one driver", hint=f"`doit {name}:DRIVER {first}`")


def _look_at_arguments(rest: Sequence[str], options: Sequence[Any], owner: str, line: Sequence[str]) -> None:
    """Arguments of a command: as many as its usage says, and none that looks like an option."""
    for place, word in enumerate(rest):
        _refuse_variable(word)
        if word.startswith("-") and word != "-":
            raise _misplaced(word, options, owner, line, rest[place - 1] if place else "--") or _unknown(
                word.partition("=")[0], options, owner)
    usage = PAGES[owner].usage
    least = len([word for word in usage.split() if not word.startswith("[") and not word.endswith("]")])
    if len(rest) < least:
        raise UsageError(f"{owner} needs a {usage.split()[0]}", hint=_usage(owner))
    most = len(rest) if "..." in usage else len(usage.split())
    if len(rest) > most:
        takes = f"{usage.strip('[]')} alone" if most else "no arguments"
        raise UsageError(f"{owner} takes {takes}, but got {' '.join(rest)}", hint=_usage(owner))


def _unknown(word: str, options: Sequence[Any], owner: str) -> UsageError:
    page = page_of(owner)
    known = _INSTEAD.get(_RUN if page is None or page.is_task else owner, {}) | _OF_EVERY
    names = ["--help", *(f"--{option.long}" for option in options)]
    return UsageError(f"`doit {owner}` has no option {word}{near(word, names)}",
                      hint=known.get(word.lstrip("-"), _usage(owner)))


def _misplaced(word: str, options: Sequence[Any], owner: str, line: Sequence[str], after: str) -> UsageError | None:
    """The error of an option that the command has, and that stands behind its arguments; else None."""
    name = word.partition("=")[0]
    if not any(name == f"--{option.long}" or (option.short and name[:2] == f"-{option.short}") for option in options):
        return None
    names = "the tasks' names" if owner == _RUN else "its arguments"
    return UsageError(f"{name} stands behind {after}: options of `doit {owner}` go before {names}",
                      hint=_ordered(options, owner, line))


def _ordered(options: Sequence[Any], owner: str, line: Sequence[str]) -> str:
    """The command line with its options where they belong, or how it is used where that can't be said."""
    parser, own = CmdParse(options), [owner] if line[0] == owner else []
    try:
        given, rest = gnu_getopt(list(line[len(own):]), parser.get_short(), parser.get_long())
    except GetoptError:
        return _usage(owner)
    return f"`{shlex.join(['doit', *own, *(part for pair in given for part in pair if part), *rest])}`"


def _refuse_variable(word: str) -> None:
    """Doit takes NAME=VALUE out of the command line as its variables, which nothing here reads."""
    name, is_variable, _ = word.partition("=")
    if is_variable and not word.startswith("-"):
        known = any(name in variable.names for variable in VARIABLES)
        raise UsageError(f"there is no task {word!r}", hint=(
            f"environment variables stand before doit: `{word} doit …`" if known else "`doit list` shows all"))


def _usage(owner: str) -> str:
    """The line on how a command is used."""
    page = page_of(owner) or PAGES[_RUN]
    return f"usage: {usage_of(page)}; `doit help {page.name}` says more"
