"""Commands whose streams are closed, and signals before a command is at work."""

from __future__ import annotations

import shlex
import signal
import subprocess

import pytest

from tests.harness.project import Project


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("args, code", [(("status",), 0), (("build",), 3), (("build", "nothing"), 2), (("help",), 0)])
def test_streams_that_the_caller_closed(project: Project, closed: str, args: tuple[str, ...], code: int) -> None:
    """They lead nowhere: the exit code is the command's, and no file of ours gets what is printed."""
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    line = f"{shlex.join(project.command(*args))} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=project.root, env=project.environment(KMOD_TEST_LONGEST_PAUSE="0.05"),
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not [path for path in (project.root / "build").rglob("*")
                if path.is_file() and path.read_bytes().startswith(b"profile local")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["tasks.commands.loader", "foundry.config.load", "tasks.release", "jsonschema"])
@pytest.mark.parametrize("args", [("build",), ("status",), ("verify", "--local")])
def test_a_signal_before_the_work(project: Project, number: int, module: str, args: tuple[str, ...]) -> None:
    """While modules are loaded and the configuration is read: it ends, without a traceback, and leaves nothing."""
    done = project.doit(*args, KMOD_TEST_SIGNAL=f"{module}:{number}")
    loaded = module != "tasks.release" or args[0] != "verify"  # which reads no declarations
    assert done.code in ((130, -number) if loaded else (0,))
    assert not list(project.root.rglob(".*.json.*"))
    assert project.doit("status").code == 0
