"""Commands whose streams are closed, full or have no reader, terminals that close, signals before the work."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time

import pytest

from tests.harness.project import Project
from tests.harness.terminal import Terminal

VIEWERS = [("list",), ("status",), ("status", "--json"), ("info", "build"), ("help",), ("help", "run"), ("profile",),
           ("list", "-q")]


def _without_reader(project: Project, *args: str, stream: str = "stdout") -> subprocess.CompletedProcess[str]:
    """The command with a pipe that nobody reads as this stream."""
    out, into = os.pipe()
    os.close(out)
    try:
        return _with(project, into, *args, stream=stream)
    finally:
        os.close(into)


def _with(project: Project, into: int, *args: str, stream: str = "stdout") -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: into}
    return subprocess.run(project.command(*args), cwd=project.root, env=project.environment(), text=True, check=False,
                          timeout=120, stdout=streams["stdout"], stderr=streams["stderr"])


@pytest.mark.parametrize("args", VIEWERS)
def test_a_viewer_ends_with_its_reader(project: Project, args: tuple[str, ...]) -> None:
    """``doit list | head -1``: without a word, and with the code that shells show of SIGPIPE."""
    done = _without_reader(project, *args)
    assert done.returncode == 141
    assert [line for line in done.stderr.splitlines() if not line.startswith("profile local")] == []


@pytest.mark.parametrize("args", VIEWERS)
def test_a_viewer_whose_output_can_not_be_kept(project: Project, args: tuple[str, ...]) -> None:
    """``doit status --json > file`` on a full disk: half a list must not look like a whole one."""
    with open("/dev/full", "wb") as full:
        done = _with(project, full.fileno(), *args)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "error: what this command prints is lost: No space left on device"
    assert done.stderr.count("error") == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("args, code", [(("build", "nothing"), 2), (("build",), 3)])
def test_work_outlives_its_reader(project: Project, full: bool, args: tuple[str, ...], code: int) -> None:
    """``doit build | head -1``: it is done to its end, and the exit code is that of the work."""
    project.has_no_repository()
    if full:
        with open("/dev/full", "wb") as device:
            done = _with(project, device.fileno(), *args)
        assert done.stderr.count("warning: what this command prints is lost: No space left on device") == (code == 3)
    else:
        done = _without_reader(project, *args)
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Broken pipe" not in done.stderr
    assert (project.root / "build/local/sources/2.22.2.0/failure.json").exists() is (code == 3)


@pytest.mark.parametrize("args, code", [(("status",), 0), (("build",), 3), (("build", "nothing"), 2)])
def test_diagnostics_that_nobody_reads(project: Project, args: tuple[str, ...], code: int) -> None:
    """Standard error without a reader, or on a full disk, changes neither the output nor the exit code."""
    project.has_no_repository()
    expected = project.doit(*args)
    with open("/dev/full", "wb") as full:
        for done in (_without_reader(project, *args, stream="stderr"),
                     _with(project, full.fileno(), *args, stream="stderr")):
            assert (done.returncode, len(done.stdout.splitlines())) == (code, len(expected.out.splitlines()))


def _left(project: Project) -> list[str]:
    folder = project.root / "build/local/sources/2.22.2.0"
    return sorted(path.name for path in folder.iterdir() if path.name not in ("fetch.log", "failure.json"))


def test_a_terminal_that_closes(project: Project) -> None:
    """In mid-run: the work ends as after Ctrl-C, and leaves nothing."""
    with project.silent_repository() as server, Terminal(
        project.command("fetch:2.22.2.0"), project.root, project.environment(KMOD_TEST_LONGEST_PAUSE="0.05"),
    ) as terminal:
        connection, _ = server.accept()
        terminal.until("fetching 2.22.2.0")
        terminal.close()
        server.close()
        connection.close()
        assert terminal.process.wait(60) == 130
    assert _left(project) == []
    assert "Traceback" not in terminal.text.decode()
    assert project.doit("status").code == 0


def test_a_terminal_that_closes_with_nohup(project: Project) -> None:
    """It was asked to go on: it does, with nobody to tell, and its exit code is that of the work."""
    with project.silent_repository() as server, Terminal(
        ["nohup", *project.command("fetch:2.22.2.0")], project.root,
        project.environment(KMOD_TEST_LONGEST_PAUSE="0.05"),
    ) as terminal:
        connection, _ = server.accept()
        terminal.close()
        time.sleep(0.5)
        assert terminal.process.poll() is None
        server.close()
        connection.close()
        assert terminal.process.wait(60) == 3
    assert "fetching 2.22.2.0" in (project.root / "nohup.out").read_text()
    assert "Traceback" not in (project.root / "nohup.out").read_text()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("args, code", [(("status",), 0), (("build",), 3), (("build", "nothing"), 2), (("help",), 0)])
def test_streams_that_the_caller_closed(project: Project, closed: str, args: tuple[str, ...], code: int) -> None:
    """They lead nowhere: the exit code is the command's, and no file of ours gets what is printed."""
    project.has_no_repository()
    line = f"{shlex.join(project.command(*args))} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=project.root, env=project.environment(KMOD_TEST_LONGEST_PAUSE="0.05"),
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not [path for path in (project.root / "build").rglob("*")
                if path.is_file() and path.read_bytes().startswith(b"profile local")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["tasks.commands.loader", "foundry.config.load", "tasks.release", "jsonschema"])
@pytest.mark.parametrize("args", [("build",), ("status",), ("verify", "--local")])
def test_a_signal_before_the_work(project: Project, number: int, module: str, args: tuple[str, ...]) -> None:
    """While modules are loaded and the configuration is read: it ends, without a traceback, and leaves nothing."""
    done = project.doit(*args, KMOD_TEST_SIGNAL=f"{module}:{number}")
    loaded = module != "tasks.release" or args[0] != "verify"  # which reads no declarations
    assert done.code in ((130, -number) if loaded else (0,))
    assert not list(project.root.rglob(".*.json.*"))
    assert project.doit("status").code == 0
