"""Help, and command lines that can't be meant, as users type them: exit code 2, one sentence, nothing done."""

from __future__ import annotations

import pytest

from tasks.commands.pages import PAGES, page_of
from tasks.commands.unused import NAMES
from tests.harness.project import Project

WRONG = (
    "help nope", "help buidl", "nope --help", "run --nope", "-n x", "-n -1", "-v 5", "build --nope", "build -n 2",
    "build -", "-", "--version=1", "build nope", "toolkit --update-base nope", "info build nope", "clean nope",
    "list nope", "staus", "build:2.22.2.0@", "module:", "*x", "forget", "reset-dep build", "dumpdb", "ignore",
    "strace build", "tabcompletion -s fish", "tabcompletion x", "sandbox:upp", "dtk:matrix x", "profile nope",
    "run list",
)


@pytest.mark.parametrize("args", [(), ("-h",), ("--help",)])
def test_the_front_page(project: Project, args: tuple[str, ...]) -> None:
    done = project.doit(*(args or ("help",)), FORCE_BUILD="maybe")
    assert (done.code, done.err) == (0, "")
    assert "  status            coverage" in done.out


@pytest.mark.parametrize("args", [("help", "build"), ("build", "--help"), ("build:2.22.2.0", "-n", "2", "-h")])
def test_a_page_needs_no_configuration(project: Project, args: tuple[str, ...]) -> None:
    project.write("build-matrix.json", "no JSON")
    done = project.doit(*args)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("usage: doit [OPTION ...] build[:DRIVER[@RELEASE]] [TASK ...]\n")


@pytest.mark.parametrize("name", PAGES)
def test_wrong_options_of_every_command_and_task(project: Project, name: str) -> None:
    done = project.doit(name, "--nope")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"error: `doit {name}` has no option --nope")
    assert second.startswith("  hint: usage: doit ")
    assert not (project.root / "build").exists(), "nothing was begun"


@pytest.mark.parametrize("line", WRONG)
def test_what_cant_be_meant(project: Project, line: str) -> None:
    done = project.doit(*line.split())
    assert done.code == 2
    said = [text for text in done.err.splitlines() if not text.startswith("profile local")]
    assert said[0].startswith("error: ")
    assert len(said) == 2 and said[1].startswith("  hint: ")
    assert not [word for word in ("CmdOption", "nothing to do", "ERROR", "getopt") if word in done.out + done.err]


def test_an_environment_that_cant_be_meant(project: Project) -> None:
    for args in (("build",), ("status",), ("doctor",)):
        done = project.doit(*args, FORCE_BUILD="maybe")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: FORCE_BUILD=maybe: ")
    assert project.doit("status", GITHUB_ACTIONS="false", KMOD_PROFILE="").err.startswith("profile local: ")


@pytest.mark.parametrize("line, near", [
    ("staus", "status"), ("buidl", "build"), ("build:2.22.2", "2.22.2.0"), ("help tolkit", "toolkit"),
    ("list --stauts", "--status"),
])
def test_what_may_have_been_meant(project: Project, line: str, near: str) -> None:
    done = project.doit(*line.split())
    assert done.code == 2
    assert near in done.err.splitlines()[-2]


def test_the_version_is_ours(project: Project) -> None:
    done = project.doit("--version")
    assert done.code == 0
    assert done.out.startswith("kmod-foundry ")


def test_every_task_has_a_page_and_every_page_its_task(project: Project) -> None:
    project.publishes("kmod")
    project.edit("config/profiles/local.yaml", '"image_repository"', '"github_repository": "a/b", "image_repository"')
    names = project.doit("list", "-q").out.split()
    pages = {name: page_of(name) for name in names}
    assert not [name for name, page in pages.items() if page is None or not page.is_task]
    assert {page.name for page in pages.values() if page} == {page.name for page in PAGES.values() if page.is_task}


def test_commands_are_those_that_doit_knows(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    from doit.doit_cmd import DoitConfig, DoitMain

    config = DoitConfig()
    config.loads(["pyproject.toml"])
    known = {*config.as_dict()["COMMAND"]}
    assert known == {page.name for page in PAGES.values() if not page.is_task} | set(NAMES)
    assert {command.get_name() for command in DoitMain.DOIT_CMDS} <= known, "none of doit's own is left"


def test_an_error_is_not_preceded_by_nothing_to_do(project: Project) -> None:
    """Where a run ends before its work: a tool that is missing."""
    project.write("tools/sh", "")
    done = project.doit("build", PATH=str(project.root / "tools"))
    assert done.code == 3
    assert "nothing to do" not in done.out + done.err


def test_habits_of_doit(project: Project) -> None:
    plain = project.doit("list")
    for option in ("--all", "-s", "--status"):
        assert project.doit("list", option).out == plain.out
    deps = project.doit("list", "--deps", "image")
    assert "          - container/Containerfile\n" in deps.out
    assert "container/Containerfile" not in plain.out
    both = project.doit("info", "module:*", "fetch").out
    assert both.count("  key       ") == 2 and "\nfetch\n" in both
    named = [line for line in project.doit("info", "image:*").out.splitlines() if line.endswith("image.oci.tar")]
    file = named[0].split()[-1]
    assert "image:2.22.2.0-" in project.doit("info", file).out
    assert len(project.doit("list", file).out.splitlines()) == 1
