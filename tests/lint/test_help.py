"""Help, documentation and code name the same commands, options, environment variables and exit codes."""

from __future__ import annotations

import ast
import re
import shlex

import pytest

from foundry.base.environment import VARIABLES
from foundry.base.errors import EXIT_CODES
from tasks.commands.arguments import commands, look_at, options_of, task_options
from tasks.commands.pages import PAGES, page_of
from tests.lint.test_lint import ROOT, tracked

PAGES_OF_DOCS = ("README.md", *tracked("docs/*.md"))
# Variables that are set for a command that is started, or that only tests know.
FOR_OTHERS = {"GIT_TERMINAL_PROMPT", "GIT_ASKPASS", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_", "LC_ALL", "REGISTRY_",
              "KMOD_FOUNDRY_RUN"}


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def commands_page() -> str:
    return (ROOT / "docs/commands.md").read_text(encoding="utf-8")


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table behind a heading, cell by cell."""
    rows = text.partition(heading)[2].partition("\n|---")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip().replace("\\|", "|") for cell in row.strip("|").split(" | ")] for row in rows]


def test_each_is_documented() -> None:
    """Each command and task, and each option of a command."""
    longest_first = "|".join(map(re.escape, sorted(PAGES, key=len, reverse=True)))
    named = rf"(?:`(?:doit )?|(?:## |, )doit )({longest_first})(?=[][`:, \n])"
    assert set(re.findall(named, commands_page())) == set(PAGES)
    texts = "".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES_OF_DOCS)
    assert not [option for option in options() if not re.search(rf"{option}\b", texts)]


def options() -> set[str]:
    places = commands()
    found = {option.long for name, place in places.items() if name in PAGES for option in options_of(place)}
    return {f"--{long}" for long in (*found, *(option.long for name in PAGES for option in task_options(name)))}


def test_headings_are_of_commands_that_there_are() -> None:
    headings = re.findall(r"^## doit ([a-z0-9:-]+)", commands_page(), re.MULTILINE)
    assert headings
    assert not [name for name in headings if page_of(name) is None]
    assert not set(re.findall(r"`(--[a-z][a-z-]+)", commands_page())) - options() - {"--help", "--version"}


@pytest.mark.parametrize("name", PAGES_OF_DOCS)
def test_commands_of_the_documentation_are_accepted(name: str) -> None:
    """Those that stand in blocks for a shell; a word in capital letters is for the reader to fill in."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^ *```(?:sh|console)?\n(.*?)```", text, re.MULTILINE | re.DOTALL)
             for line in block.splitlines()]
    for line in lines:
        match = re.match(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )*doit\b([^|>&#]*)", line)
        if match is not None and "[" not in line:  # which is no command, but how one is written
            look_at([word for word in shlex.split(match[1]) if word != "…"])


def test_environment_variables() -> None:
    rows = table((ROOT / "docs/configuration.md").read_text(encoding="utf-8"), "## Environment variables")
    assert rows == [[", ".join(f"`{name}`" for name in variable.names), variable.meaning] for variable in VARIABLES]


def test_no_other_variable_is_read() -> None:
    """Of modules that read the environment: whatever text looks like a variable's name."""
    known = {name for variable in VARIABLES for name in variable.names}
    found: dict[str, set[str]] = {}
    for name in tracked("foundry/*.py", "tasks/*.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        if re.search(r"\benviron\b", text) and name != "foundry/base/environment.py":
            texts = {node.value for node in ast.walk(ast.parse(text))
                     if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            found[name] = {one for one in texts if re.fullmatch(r"[A-Z]{2,}(_[A-Z]*)+", one)} - known - FOR_OTHERS
    assert not {name: texts for name, texts in found.items() if texts}


def test_exit_codes() -> None:
    assert table(commands_page(), "## Exit codes") == [[str(code), meaning] for code, meaning in EXIT_CODES.items()]
    readme = table((ROOT / "README.md").read_text(encoding="utf-8"), "| exit code | meaning |")
    assert {int(row[0]) for row in readme} <= set(EXIT_CODES)
    assert len(readme) > 4
