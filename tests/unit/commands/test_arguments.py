"""The command line before doit reads it: help where it is asked for, one sentence where it can't be meant."""

from __future__ import annotations

import itertools
import shlex

import pytest

from foundry.base.errors import UsageError
from tasks.commands.arguments import HELP, commands, look_at, options_of, task_options
from tasks.commands.help import lines
from tasks.commands.pages import GROUPS, PAGES, Page, page_of
from tests.harness.checkout import ROOT

ENOUGH = {"info": ["build"], "collect": ["build"], "new": ["driver", "1.0"]}  # arguments that a command must have
NO_NUMBERS = ("x", "-1", "1.5", "1e3", "0x1", "²", "10000000000", " 1", "1_0")


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("FORCE_BUILD", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        look_at(words)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert "CmdOption" not in caught.value.render()
    return caught.value.message


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES.values()])
@pytest.mark.parametrize("word", HELP)
def test_help_is_shown_wherever_it_is_asked_for(page: Page, word: str) -> None:
    assert look_at([page.name, word]) == page.name
    assert look_at([word, page.name]) == page.name
    assert look_at([page.name, "x", "--nope", word]) == page.name
    if page.is_task:
        assert page_of(look_at([f"{page.name}:x", word]) or "") is page


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES.values()])
def test_a_page_says_how_what_and_when(page: Page) -> None:
    text = list(lines(page.name))
    assert all(len(line) <= 80 for line in text)
    assert text[0].startswith("usage: doit ")
    for title in ("options", "environment", "exit codes", "examples"):
        assert title in text
    assert len(text) - text.index("examples") > 2, "two of them"
    shown = "\n".join(text)
    assert "KMOD_PROFILE" in shown and "--help" in shown
    for option in (*options_of(commands()["run" if page.is_task else page.name]), *task_options(page.name)):
        assert f"--{option.long}" in shown
        assert option.help


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES.values()])
def test_examples_are_accepted(page: Page) -> None:
    for example in page.examples:
        words = shlex.split(example.partition("<(")[2].rstrip(")") or example)
        assert look_at(words[words.index("doit") + 1:]) is None


def test_the_front_page_has_each_once_in_a_line() -> None:
    text = list(lines(""))
    assert all(len(line) <= 80 for line in text)
    for page in PAGES.values():
        assert [line for line in text if line.startswith(f"  {page.name} ")] == [f"  {page.name:<18}{page.purpose}"]
    assert [line for line in text if line in GROUPS] == list(GROUPS)
    assert not [word for word in ("dumpdb", "forget", "reset-dep", "database", "strace") if word in "\n".join(text)]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES.values()])
@pytest.mark.parametrize("option", ["--nope", "-Z", "--nope=1", "-Zx"])
def test_unknown_options(page: Page, option: str) -> None:
    """Before and behind the arguments."""
    for words in ([page.name, option], [page.name, *ENOUGH.get(page.name, ["x"]), option]):
        assert "has no option -" in refused(*words)
    if page.is_task:
        assert "has no option -" in refused(option, page.name)


@pytest.mark.parametrize("name", [page.name for page in PAGES.values() if not page.is_task])
def test_values_of_options(name: str) -> None:
    """Of every option that takes one: none, one of a wrong kind, an empty one."""
    extra = ENOUGH.get(name, [])
    for option in options_of(commands()[name]):
        if option.type is bool:
            continue
        long = f"--{option.long}"
        assert refused(name, long) == f"{long} needs a value"
        if option.choices:
            assert "not one of" in refused(name, f"{long}=nope", *extra)
        elif option.type not in (str, list):
            for value in NO_NUMBERS:
                assert "not a number from" in refused(name, f"{long}={value}", *extra)
                assert "not a number from" in refused(name, long, value, *extra)
        if option.long != "words":  # an empty line can be completed
            assert refused(name, f"{long}=", *extra).startswith(f"{long} ")


@pytest.mark.parametrize("line, sentence", [
    ("-n x build", "-n x: not a number from 0 to 1000"),
    ("-n -1 build", "-n -1: not a number"),
    ("-v 5 build", "-v 5: not a number from 0 to 2"),
    ("-v", "-v needs a value"),
    ("status --json=1", "--json takes no value"),
    ("toolkit --update-bse", "did you mean --update-base?"),
    ("verify --sampl", "--sample needs a value"),
    ("dtk:matrix --js --p x", "dtk:matrix takes no arguments, but got x"),
    ("build -n 2", "-n stands behind build: options of `doit run` go before the tasks' names"),
    ("build:2.22.2.0 -n2", "-n2 stands behind build:2.22.2.0"),
    ("toolkit --update-base --process=2", "--process stands behind toolkit"),
    ("toolkit build --update-base", "`doit build` has no option --update-base"),
    ("verify 2.22.2.0 --tags", "--tags stands behind 2.22.2.0: options of `doit verify` go before its arguments"),
    ("-n 2 status", "status is a command, no task"),
    ("build status", "status is a command, no task"),
    ("FORCE_BUILD=true build", "there is no task 'FORCE_BUILD=true'"),
    ("build a=b", "there is no task 'a=b'"),
    ("profile a=b", "there is no task 'a=b'"),
    ("export -o a=b", "-o a=b: doit takes a=b for a variable"),
    ("build ''", "an argument is empty"),
    ("''", "an argument is empty"),
    ("collect", "collect needs a DIR"),
    ("info", "info needs a TASK"),
    ("profile a b", "profile takes NAME alone, but got a b"),
    ("doctor x", "doctor takes no arguments, but got x"),
])
def test_what_is_wrong_is_said(line: str, sentence: str) -> None:
    assert sentence in refused(*shlex.split(line))


@pytest.mark.parametrize("line, right", [
    ("build -n 2", "`doit -n 2 build`"), ("run build -v 2 fetch", "`doit run -v 2 build fetch`"),
    ("verify 2.22.2.0 --sample=3", "`doit verify --sample 3 2.22.2.0`"), ("list build -q", "`doit list -q build`"),
    ("FORCE_BUILD=1 build", "`FORCE_BUILD=1 doit …`"), ("export -o a=b", "write -oa=b"),
    ("export --output a=b", "write --output=a=b"),
])
def test_the_hint_is_the_right_line(line: str, right: str) -> None:
    with pytest.raises(UsageError) as caught:
        look_at(shlex.split(line))
    assert right in caught.value.hint


@pytest.mark.parametrize("line, word", [
    ("-a build", "FORCE_BUILD"), ("--always-execute", "FORCE_BUILD"), ("-r json", "status --json"), ("-o x", "`>`"),
    ("-c", "every task is tried"), ("--no-continue build", "every task is tried"), ("-P thread", "threads"),
    ("--failure-verbosity=1", "-v 2"), ("--db-file=x", "no database"), ("status --backend x", "no database"),
    ("-f x", "checkout's folder"), ("list --dir=x", "checkout's folder"), ("list --template x", "every task"),
    ("list -p", "every task"), ("list --sort name", "sort"), ("clean -a", "doit clean"), ("clean --forget", "database"),
    ("tabcompletion --hardcode-tasks", "names are asked for"),
])
def test_of_doits_options_it_says_what_is_instead(line: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        look_at(shlex.split(line))
    assert word in caught.value.hint


@pytest.mark.parametrize("line", [
    "", "build", "-n 2 build", "-n2 -v0 build:2.22.2.0@4.18 image", "run --no-build release", "--single 'module:*'",
    "toolkit --update-base --allow-shrink build", "toolkit --update --allow", "list --all -s --deps -q build",
    "verify --sample=1 2.22.2.0", "verify -- 2.22.2.0", "export -o x.csv --json", "export -oa=b", "clean -nc build",
    "shards --jobs 256", "profile", "profile ecr", "status --json", "build/local/cells/x/module.json", "help build",
])
def test_what_is_right_passes(line: str) -> None:
    assert look_at(shlex.split(line)) is None


@pytest.mark.parametrize("name, value", [
    ("FORCE_BUILD", "maybe"), ("FORCE_BUILD", "2"), ("GITHUB_ACTIONS", "perhaps"), ("KMOD_SANDBOX", "/etc/passwd"),
    ("KMOD_SANDBOX", "/etc/passwd/below"), ("GIT_CONFIG_COUNT", "many"), ("GIT_CONFIG_COUNT", "-1"),
    ("GITHUB_REPOSITORY", "name"), ("GITHUB_API_URL", "api.github.com"), ("KMOD_ECR_REPOSITORY_NAME", "a b"),
    ("DTK_ECR_REPOSITORY_NAME", "/x"),
])
def test_variables_with_values_that_cant_be_meant(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """For every command but help."""
    monkeypatch.setenv(name, value)
    for page in PAGES.values():
        words = [page.name, *ENOUGH.get(page.name, [])]
        if page.name != "help":
            assert refused(*words).startswith(f"{name}={value}: ")
    assert look_at(["help"]) is None
    assert look_at(["build", "-h"]) == "build"


def test_all_faulty_variables_are_named_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_BUILD", "maybe")
    monkeypatch.setenv("GITHUB_API_URL", f"ftp://user:{'canary'}@host")
    said = refused("build")
    assert "FORCE_BUILD" in said and "GITHUB_API_URL" in said and "canary" not in said


@pytest.mark.parametrize("name, value", itertools.chain(
    (("FORCE_BUILD", text) for text in ("", "true", "FALSE", "0", " yes ")),
    (("GITHUB_ACTIONS", text) for text in ("", "true", "false")),
    [("KMOD_SANDBOX", "/nonexistent/yet"), ("GITHUB_REPOSITORY", "a-b/c.d_e"), ("GITHUB_REPOSITORY", ""),
     ("GITHUB_API_URL", "http://127.0.0.1:80/api/v3"), ("KMOD_ECR_REPOSITORY_NAME", "{family}-operator/kmod"),
     ("GIT_CONFIG_COUNT", "2")],
))
def test_values_that_can(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert look_at(["build"]) is None
