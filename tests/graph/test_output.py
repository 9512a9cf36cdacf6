"""What a run prints: each event once, a live view on a terminal, plain lines without one, failures and totals last."""

from __future__ import annotations

import os
import re
import signal

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.state import States
from tests.harness.checkout import LOCK, NEW, OLD
from tests.harness.leftovers import leave_built
from tests.harness.project import NOBODY, Project
from tests.harness.terminal import Terminal

SENTENCE = "GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB: the server can't be reached (Connection refused)"
LOG = "build/local/sources/2.22.2.0/fetch.log"
TOTAL = re.compile(r"0 done, 0 up to date, 1 failed, 5 blocked in [\d.]+ s")


@pytest.fixture
def failing(project: Project) -> Project:
    """A checkout whose run fails at its first task."""
    project.has_no_repository()
    return project


def on_terminal(project: Project, *args: str, **environ: str) -> Terminal:
    return Terminal(project.command(*args), project.root,
                    project.environment(KMOD_TEST_LONGEST_PAUSE="0.05", **environ))


def test_plain_lines(failing: Project) -> None:
    """Beginning and end of what was tried; what could not be tried is a number; the table has failures alone."""
    done = failing.doit("build", KMOD_TEST_LONGEST_PAUSE="0.05")
    lines = done.out.splitlines()
    assert lines[:4] == ["  fetching 2.22.2.0  (not fetched yet)",
                         f"  FAILED fetch:2.22.2.0: {NOBODY}{SENTENCE}", "  hint: check the network", f"  log: {LOG}"]
    assert lines[4] == "" and re.fullmatch(rf"  failed      fetch:2.22.2.0 +[\d.]+ s  {LOG}", lines[5])
    assert TOTAL.fullmatch(lines[6]) and len(lines) == 7
    assert "\x1b" not in done.out
    again = failing.doit("build", KMOD_TEST_LONGEST_PAUSE="0.05").out
    assert again.splitlines()[0] == "  fetching 2.22.2.0  (failed before)"


def test_failures_and_totals_alone(failing: Project) -> None:
    lines = failing.doit("run", "-v", "0", "build", KMOD_TEST_LONGEST_PAUSE="0.05").out.splitlines()
    assert [line.split()[0] for line in lines if line] == ["FAILED", "hint:", "log:", "failed", "0"]


def test_a_live_view(project: Project) -> None:
    """What is at work with its time, what is left, the time of all; then only what stays."""
    with project.silent_repository() as server, on_terminal(project, "build") as terminal:
        connection, _ = server.accept()
        terminal.until(r"^  1 running, 6 left, \d+ s$")
        assert any(re.fullmatch(r"  fetching 2\.22\.2\.0  \d+ s", line) for line in terminal.screen)
        server.close()
        connection.close()
        terminal.ended()
        lines = [line for line in terminal.screen if line]
    assert not any("running" in line or "fetching" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  FAILED fetch:2.22.2.0:") for line in lines) == 1 and f"  log: {LOG}" in lines
    assert TOTAL.fullmatch(lines[-1]), "\n".join(lines)


def test_paths_are_never_broken(failing: Project) -> None:
    """Also where the terminal is narrow: what is marked with the mouse is the path."""
    with Terminal(failing.command("build"), failing.root, failing.environment(KMOD_TEST_LONGEST_PAUSE="0.05"),
                  columns=50) as terminal:
        assert terminal.ended() == 3
    lines = [line.strip() for line in terminal.screen]
    assert lines.count(f"log: {LOG}") == 1 and lines.count(LOG) == 1
    assert max(map(len, terminal.screen)) <= 50


def test_more_at_work_than_the_terminal_has_rows(project: Project) -> None:
    """What stands above it stays where it is."""
    drivers = [f"2.22.{number}.0" for number in range(12)]
    project.write("config/locks/neuron.json", {**LOCK, "packages": {}})
    project.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16"]} for driver in drivers])
    with project.silent_repository(), Terminal(
        project.command("-n", "12", "fetch"), project.root, project.environment(), rows=8,
    ) as terminal:
        terminal.until("^  and 8 more$")
        terminal.until("12 running, 12 left")
        assert terminal.screen[0] == "profile local: KMOD_PROFILE is set"
        assert len(terminal.screen) == 8, "nothing has gone off its top"
        os.kill(terminal.process.pid, signal.SIGINT)
        os.kill(terminal.process.pid, signal.SIGINT)


@pytest.mark.parametrize("environ, coloured, moves", [
    ({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False),
])
def test_colour_where_it_is_allowed(failing: Project, environ: dict[str, str], coloured: bool, moves: bool) -> None:
    with on_terminal(failing, "build", **environ) as terminal:
        assert terminal.ended() == 3
        text = terminal.text.decode()
    assert bool(re.search(r"\x1b\[[\d;]*m", text.replace("\x1b[0m", ""))) is coloured
    assert ("\x1b" in text) is moves
    assert SENTENCE.rpartition(": ")[2] in " ".join(text.split())


def test_an_interruption_gives_the_terminal_back(project: Project) -> None:
    with project.silent_repository() as server, on_terminal(project, "build") as terminal:
        connection, _ = server.accept()
        terminal.until("^  1 running, 6 left")
        os.kill(terminal.process.pid, signal.SIGINT)
        server.close()
        connection.close()
        assert terminal.ended() == 130
    lines = [line for line in terminal.screen if line]
    assert lines[-2:] == [lines[-2], "interrupted; what was finished stays, run again to go on"]
    assert lines[-2].startswith("0 done, 0 up to date, 0 failed, 0 blocked, 1 interrupted in ")
    assert not any("running" in line for line in lines)
    assert terminal.text.decode().rindex("\x1b[?25h") > terminal.text.decode().rindex("\x1b[?25l")


def test_an_estimate_from_what_was_measured(project: Project) -> None:
    for kernel in (OLD, NEW):
        project.write(f"build/local/cells/2.22.2.0-{kernel}/times.json", {"module": 100.0, "image": 10.0})
    with project.silent_repository() as server, on_terminal(project, "-n", "2", "build") as terminal:
        connection, _ = server.accept()
        terminal.until(r"^  1 running, 6 left, \d+ s, about 1:50 min to go$")
        connection.close()
        server.close()
        terminal.ended()


def test_an_error_before_the_work_is_all_that_is_said(project: Project) -> None:
    done = project.doit("build", PATH="/nonexistent")
    assert (done.code, done.out) == (3, "")
    assert "podman is not installed" in done.err


def test_nothing_to_do_imports_no_live_view(project: Project) -> None:
    """It is no slower on a terminal."""
    for kernel in (OLD, NEW):
        leave_built(States(load_config(project.root, Profile("local", "test"))), f"2.22.2.0-{kernel}")
    with on_terminal(project, "build", PYTHONPROFILEIMPORTTIME="1") as terminal:
        assert terminal.ended() == 0
        text = terminal.text.decode()
    assert "nothing to do: 4 up to date" in text
    imported = set(re.findall(r"\| +([\w.]+)", text))
    assert "tasks.commands.reporter" in imported
    assert not imported & {"rich", "rich.live", "statistics", "tasks.commands.live"}
