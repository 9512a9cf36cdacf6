"""`doit help`: the front page, the page of a command or task, the environment variables."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from doit.cmd_base import Command

from foundry.base.environment import ALWAYS, VARIABLES
from foundry.base.errors import EXIT_CODES, EXIT_NO_READER, EXIT_TASK_FAILED, UsageError
from foundry.base.names import near
from tasks.commands.arguments import HELP, VERSION, commands, options_of, pyproject, task_options
from tasks.commands.pages import GROUPS, PAGES, Page, page_of, usage_of
from tasks.commands.told import told
from tasks.commands.unused import NAMES, NO_DATABASE

ENVIRONMENT = "environment"
_WIDTH = 80  # columns
_NAMES = 18


class Help(Command):  # type: ignore[misc]  # reason: doit has no types
    """Explain commands, tasks and the environment."""

    name = "help"
    cmd_options = ()

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 2 for what nothing is called."""
        show(args[0] if args else "")
        return 0


def show(topic: str) -> None:
    """Print the page of a topic; an empty one is the front page, VERSION a line. UsageError where there is none."""
    sys.stdout.writelines(f"{line}\n" for line in lines(topic))


def lines(topic: str) -> Iterator[str]:
    """The lines of a topic's page. UsageError where there is none."""
    page = page_of(topic)
    if page is not None:
        return _page(page)
    if topic == VERSION:
        return iter((_version(),))
    if topic == ENVIRONMENT:
        return _variables({variable.subject for variable in VARIABLES})
    if topic in NAMES:
        raise UsageError(NO_DATABASE[0], hint=NO_DATABASE[1])
    if topic:
        raise UsageError(f"there is no command or task {topic!r}{near(topic, (*PAGES, ENVIRONMENT))}",
                         hint="`doit help` shows all")
    return _front()


def _version() -> str:
    """Ours, and doit's."""
    return f"kmod-foundry {pyproject()['project']['version']} (doit {version('doit')})"


def _front() -> Iterator[str]:
    yield "kmod-foundry builds libraries of kernel-module images for OpenShift nodes."
    yield ""
    yield "usage: doit [OPTION ...] [TASK ...]   without names: doit build"
    yield "       doit COMMAND [OPTION ...] [ARGUMENT ...]"
    for group in GROUPS:
        yield from ("", group)
        for page in PAGES.values():
            if page.group == group:
                yield f"  {page.name:<{_NAMES}}{page.purpose}"
    yield ""
    yield "`doit help NAME` says more: options, environment, exit codes, examples;"
    yield "`doit help environment` has all environment variables."
    yield "First steps: README.md; if something does not work: `doit doctor`."


def _page(page: Page) -> Iterator[str]:
    yield f"usage: {usage_of(page)}"
    yield ""
    yield f"{page.purpose[0].upper()}{page.purpose[1:]}."
    if page.about:
        yield from ("", *textwrap.wrap(page.about, _WIDTH))
    yield from ("", "options")
    own = task_options(page.name)
    if own:
        yield f"  behind {page.name}:"
        yield from _options(own)
        yield "  before it:"
    yield from _options(options_of(commands()["run" if page.is_task else page.name]))
    yield from _row(", ".join(HELP), "this page")
    yield from ("", "environment")
    yield from _variables({*page.subjects, ALWAYS})
    yield from ("", "exit codes")
    for code, meaning in EXIT_CODES.items():
        works = page.is_task or page.name == "run"
        if (code != EXIT_TASK_FAILED or page.failed) and not (code == EXIT_NO_READER and works):
            yield from _row(str(code), page.failed if code == EXIT_TASK_FAILED else meaning, 5)
    yield from ("", "examples", *(f"  {example}" for example in page.examples))


def _options(options: Iterable[Any]) -> Iterator[str]:
    for option in options:
        value = "" if option.type is bool else option.metavar if option.metavar != "ARG" else "N"
        names = [f"-{option.short}" + (f" {value}" if value else "")] if option.short else []
        names += [f"--{option.long}" + (f"={value}" if value else "")]
        yield from _row(", ".join(names), option.help)


def _variables(subjects: Iterable[str]) -> Iterator[str]:
    for variable in VARIABLES:
        if variable.subject in subjects:
            yield from _row(", ".join(variable.names), variable.meaning)


def _row(name: str, text: str, width: int = 24) -> Iterator[str]:
    """A name and its text in two columns; a name that is too long has lines of its own."""
    wrapped = textwrap.wrap(text, _WIDTH - width - 2)
    heads = textwrap.wrap(name, _WIDTH - 2) if len(name) > width - 2 else [name]
    if len(name) > width - 2:
        yield from (f"  {head}" for head in heads)
        heads = [""]
    yield f"  {heads[0]:<{width}}{wrapped[0]}"
    yield from (f"  {'':<{width}}{line}" for line in wrapped[1:])
