"""Tab completion, typed into real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.checkout import OLD
from tests.harness.project import Project

SHELLS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "source <(doit tabcompletion)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source <(doit tabcompletion --shell=zsh)"),
}
SECONDS = 60
CELL = f"2.22.2.0-{OLD}"


class Terminal:
    """What a shell shows, and keys for it."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.seen = ""

    def type(self, keys: str) -> None:
        self.seen = ""
        os.write(self.end, keys.encode())

    def wait(self, text: str) -> None:
        """Until it shows a text."""
        until = time.monotonic() + SECONDS
        while text not in self.plain():
            assert time.monotonic() < until, self.plain()
            if select.select([self.end], [], [], 0.2)[0]:
                self.seen += os.read(self.end, 1 << 16).decode(errors="replace")

    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\a\r]", "", self.seen)


@contextmanager
def shell(project: Project, name: str) -> Iterator[Terminal]:
    """A shell in the checkout, with the completion as README says."""
    argv, setup = SHELLS[name]
    programs = project.root / "programs"
    programs.mkdir()
    (programs / "doit").write_text(f'#!/bin/sh\nexec {sys.executable} -m doit "$@"\n')
    (programs / "doit").chmod(0o755)
    environment = project.environment(PATH=f"{programs}:{os.environ['PATH']}", TERM="dumb", HISTFILE="", PS1="% ",
                                      HOME=str(project.root))
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, cwd=project.root, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
                          start_new_session=True) as process:
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            terminal.type(f"{setup}; echo comp''lete\n")
            terminal.wait("complete\n")
            yield terminal
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.parametrize("name", SHELLS)
def test_in_a_shell(project: Project, name: str) -> None:
    """Every line is typed up to a key, completed, and taken back."""
    with shell(project, name) as terminal:
        for typed, completed in (
            ("doit build:2", "doit build:2.22.2.0 "),
            ("doit stat", "doit status "),
            ("doit status --j", "doit status --json "),
            ("doit info image:2.22.2.0-5.14.0-4", f"doit info image:{CELL} "),
            ("doit -n 2 build:2.22.2.0@4.18.", "doit -n 2 build:2.22.2.0@4.18.15 "),
            ("doit help toolkit:", "doit help toolkit:pr "),
            ("doit tabcompletion --shell=z", "doit tabcompletion --shell=zsh "),
            ("doit verify 2", "doit verify 2.22.2.0 "),
            ("doit bui", "doit build"),
        ):
            terminal.type(f"{typed}\t")
            terminal.wait(completed)
            terminal.type("\x15\n")  # the line is given up, the next prompt comes
            terminal.wait("% " if name == "bash" else "\n")


@pytest.mark.parametrize("line, found, missing", [
    ("", {"build", "build:", "status", "run", "toolkit:pr"}, {"forget", "build:2.22.2.0"}),
    ("build ", {"build", "module:"}, {"status"}),
    ("build:", {"build:2.22.2.0"}, {"build:", "build"}),
    ("info module:2.22.2.0-", {f"module:{CELL}"}, {f"image:{CELL}"}),
    ("build:2.22.2.0@", {"build:2.22.2.0@4.16", "build:2.22.2.0@4.16.30"}, {"build:2.22.2.0"}),
    ("profile ", {"ecr", "local", "sandbox"}, {"build"}),
    ("help ", {"build", "status", "environment"}, {"build:"}),
    ("export --", {"--json", "--output=", "--help"}, {"--sample="}),
    ("-", {"-n", "-v", "--no-build", "-h"}, {"--json"}),
    ("toolkit --", {"--update-base"}, set()),
    ("adopt ", {"2.22.2.0"}, {"build"}),
    ("status ", set(), {"build"}),
    ("forget ", set(), {"build"}),
])
def test_what_may_stand_there(project: Project, line: str, found: set[str], missing: set[str]) -> None:
    done = project.doit("tabcompletion", f"--words={line}")
    names = set(done.out.splitlines())
    assert done.code == 0
    assert found <= names and not missing & names
    assert all(name.startswith(re.split(r"\s", line)[-1]) for name in names)


def test_a_faulty_configuration_completes_nothing(project: Project) -> None:
    project.write("build-matrix.json", "no JSON")
    assert (project.doit("tabcompletion", "--words=build:").code, project.doit("tabcompletion", "--words=st").out) == (
        2, "status\n")


def test_scripts_pass_the_shells_own_look(project: Project, tmp_path: Path) -> None:
    for name in SHELLS:
        script = tmp_path / name
        script.write_text(project.doit("tabcompletion", "-s", name).out)
        assert subprocess.run([name, "-n", str(script)], check=False).returncode == 0
