"""`kill -9` in mid-run, at each stage: what was finished is not repeated, what was half-written is; nothing is left."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from foundry.base.process import with_word
from foundry.podman.engine import Engine
from tests.drill import litter
from tests.drill.world import below
from tests.harness.clone import Clone
from tests.harness.refusal import no_container

DRIVER = "2.22.2.0"


def when(clone: Clone, ready: Callable[[], bool], *args: str, number: int = signal.SIGKILL) -> int:
    """Start doit, send the signal as soon as `ready` holds; returns the exit code."""
    process = subprocess.Popen(
        clone.command(*args), cwd=clone.root, env=clone.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(60)


@pytest.mark.parametrize("stage", ["fetch", "source", "module", "image"])
def test_killed(stage: str, copied: Clone, built: Clone, kernels: list[str]) -> None:
    done, other = f"{DRIVER}-{kernels[0]}", f"{DRIVER}-{kernels[1]}"
    source = copied.build / "sources" / DRIVER
    for path in [source, *source.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    marks: dict[str, Callable[[], bool]] = {
        "fetch": lambda: (source / "fetch.log").exists() or (source / "package.rpm").exists(),
        "source": lambda: any(source.glob(".unpack.*")) or (source / "source.json").exists(),
        "module": lambda: "Kbuild" in names(copied.cell(other) / "work/build"),
        "image": lambda: any(copied.cell(other).glob(".image.*/context/licenses/*")),
    }
    if stage in ("fetch", "source"):
        shutil.rmtree(source)
    (copied.cell(other) / "neuron.ko").unlink()
    (copied.cell(other) / "image.json").unlink()
    before = copied.record(done, "image")
    assert when(copied, marks[stage], "build") == -signal.SIGKILL
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert set(run.compiled) <= {kernels[1]}
    assert run.imaged <= 1
    no_container(copied)
    if stage == "module":
        assert run.compiled == [kernels[1]]
    if stage == "image":
        assert (run.compiled, run.imaged) == ([], 1)
    assert copied.record(done, "image") == before
    for name in ("module", "image"):
        assert copied.record(other, name) == built.record(other, name)
    left = [path.name for path in [*copied.cell(other).iterdir(), *source.iterdir()]]
    assert not [name for name in left if name.startswith(".") or name == "work"]
    assert containers(copied) == []
    assert copied.doit("build").processes == []


def containers(clone: Clone) -> list[str]:
    """The containers of the clone, running or not."""
    mark = Engine(clone.build / "engine" / "engine.json").mark
    argv = ["podman", "ps", "--all", f"--filter=name=^{mark}-", "--format={{.Names}}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int, copied: Clone, kernels: list[str]) -> None:
    """No container and no temporary folder stays, the exit code is 130, the next run ends the work."""
    cell = f"{DRIVER}-{kernels[1]}"
    (copied.cell(cell) / "neuron.ko").unlink()
    compiling = copied.cell(cell) / "work/build"
    assert when(copied, lambda: "Kbuild" in names(compiling), "build", number=number) == 130
    assert containers(copied) == []
    assert not (copied.cell(cell) / "work").exists()
    run = copied.doit("build")
    assert (run.code, run.compiled) == (0, [kernels[1]])


def test_interrupted_while_an_image_is_built(copied: Clone, built: Clone, kernels: list[str]) -> None:
    """No working container and no half-made image stays in podman's store."""
    cell = f"{DRIVER}-{kernels[1]}"
    (copied.cell(cell) / "image.json").unlink()
    assert when(copied, lambda: any(copied.cell(cell).glob(".image.*/context/licenses/*")), "build",
                number=signal.SIGTERM) == 130
    argv = ["podman", "ps", "--all", "--external", "--format={{.Image}} {{.Status}}"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if "sandbox.internal/busybox" in line]
    argv = ["podman", "images", "--format={{.Repository}}"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "kmod-foundry-build" not in listed
    assert not [path for path in copied.cell(cell).iterdir() if path.name.startswith(".")]
    assert copied.doit("build").code == 0
    assert copied.record(cell, "image") == built.record(cell, "image")


def compiling(clone: Clone, cell: str) -> subprocess.Popen[bytes]:
    """A run that is in the middle of compiling the cell."""
    (clone.cell(cell) / "neuron.ko").unlink()
    run = subprocess.Popen(
        clone.command("build"), cwd=clone.root, env=clone.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while "Kbuild" not in names(clone.cell(cell) / "work/build"):
        assert run.poll() is None
        time.sleep(0.01)
    return run


def test_the_second_waits_until_an_interrupted_first_has_stopped(copied: Clone, kernels: list[str]) -> None:
    first = compiling(copied, f"{DRIVER}-{kernels[1]}")
    second = subprocess.Popen(
        copied.command("build"), cwd=copied.root, env=copied.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )
    time.sleep(1)
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130
    printed = second.communicate(timeout=120)[0]
    assert second.returncode == 0, printed
    assert copied.doit("build").processes == []


def test_two_runs_at_once(copied: Clone, kernels: list[str]) -> None:
    """The second says that it waits, and finds nothing left to do."""
    first = compiling(copied, f"{DRIVER}-{kernels[1]}")
    second = copied.doit("build")
    assert first.wait(60) == 0
    assert second.code == 0
    assert f"another run is at work here (process {first.pid}); waiting" in second.err
    assert second.processes == []


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a moment in a run."""
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("command", ["build", "prune"])
def test_what_a_killed_run_and_its_podman_left_is_removed(command: str, copied: Clone, kernels: list[str]) -> None:
    """By the next run, and by `prune`: working container, mount, processes, temporary files. Others' stay."""
    before = litter.on_machine()
    dead = kill_in_a_build(copied, kernels[1], whole=True)
    assert litter.on_machine() - before, "nothing was left that could be removed"
    folder = copied.build / "release" / DRIVER
    for name in (f".busybox.{dead}.abcdefgh", f".busybox.{os.getpid()}.abcdefgh"):
        (folder / name).mkdir(parents=True)
    assert copied.doit(command, *(["--dry-run"] if command == "prune" else [])).code == 0
    assert (len(list(folder.glob(".busybox.*"))) == 1) == (command == "build")
    run = copied.doit(command)
    assert run.code == 0, run.text
    assert litter.on_machine() - before == set()
    assert list(litter.processes(copied)) == []
    assert [path.name for path in folder.glob(".*")] == [f".busybox.{os.getpid()}.abcdefgh"]
    (folder / f".busybox.{os.getpid()}.abcdefgh").rmdir()
    assert list(litter.in_files(copied)) == []
    again = copied.doit(command)
    assert "killed or interrupted" not in again.err or command == "prune"


def kill_in_a_build(clone: Clone, kernel: str, *, whole: bool) -> int:
    """kill -9 of all that a run has started, in a step of an image's build; if `whole`, of the run, too: its number."""
    (clone.cell(f"{DRIVER}-{kernel}") / "image.json").unlink()
    recipe = clone.root / "container/Containerfile"
    good, before = recipe.read_text(), sleepers()
    recipe.write_text(good + 'RUN ["sleep", "1235"]\n')
    process = subprocess.Popen(clone.command(f"image:{DRIVER}-{kernel}"), cwd=clone.root, env=clone.environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: bool(sleepers() - before), process)
    for pid in (*([process.pid] if whole else []), *below(process.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert process.wait(120) in ((-signal.SIGKILL,) if whole else (1, 3))
    recipe.write_text(good)
    return process.pid


def sleepers() -> set[int]:
    """The processes of such steps."""
    return set(with_word("1235\0"))


def test_what_a_killed_podman_left_is_removed(copied: Clone, kernels: list[str]) -> None:
    """The run itself goes on and ends; the next one clears up."""
    before = litter.on_machine()
    kill_in_a_build(copied, kernels[1], whole=False)
    assert litter.on_machine() - before, "nothing was left that could be removed"
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert litter.on_machine() - before == set()
    assert "killed or interrupted" not in copied.doit("build").err


def test_a_terminal_that_is_closed(copied: Clone, kernels: list[str]) -> None:
    """The run stops and clears up, though nothing can be shown any more."""
    cell = copied.cell(f"{DRIVER}-{kernels[1]}")
    (cell / "image.json").unlink()
    shown, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *copied.command("build")], cwd=copied.root, env=copied.environment(), stdin=terminal,
        stdout=terminal, stderr=terminal,
    )
    os.close(terminal)
    until(lambda: any(cell.glob(".image.*")), process)
    os.close(shown)
    assert process.wait(60) == 130
    assert [name for name in names(cell) if name.startswith(".")] == []
    assert list(litter.processes(copied)) == []
