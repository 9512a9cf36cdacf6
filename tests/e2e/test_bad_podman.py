"""podman is missing, or starts no container: said before any work, with exit code and hint, and nothing is left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.harness.clone import Clone, Run
from tests.harness.refusal import no_container, refused

DRIVER = "2.22.2.0"
SAID = "cgroups in hybrid mode not supported"


def path_without(folder: Path, name: str) -> str:
    """A PATH with all programs of this one but `name`."""
    folder.mkdir()
    for place in reversed(os.get_exec_path()):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            link.unlink(missing_ok=True)
            if program.name != name:
                link.symlink_to(program)
    return str(folder)


def path_with_refusing_podman(folder: Path, when: Path) -> str:
    """A PATH whose podman starts and creates no container while the file `when` is there."""
    folder.mkdir()
    wrapper = folder / "podman"
    wrapper.write_text(
        f'#!/bin/sh\nif [ -e "{when}" ]; then\n  for word do\n'
        f'    case "$word" in run|create|build) echo "Error: {SAID}" >&2; exit 125 ;; esac\n  done\nfi\n'
        f'exec {shutil.which("podman")} "$@"\n', encoding="utf-8"
    )
    wrapper.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def cells(copied: Clone, kernels: list[str]) -> tuple[str, str]:
    """Two cells of the driver: of the first the module is to be made, of the second the image."""
    module, image = (f"{DRIVER}-{kernel}" for kernel in kernels[:2])
    (copied.cell(module) / "neuron.ko").unlink()
    (copied.cell(image) / "image.json").unlink()
    return module, image


def before_work(clone: Clone, run: Run, *words: str) -> None:
    """The run ended before any cell was touched, in one sentence with a hint."""
    assert run.code == 3, run.text
    assert "Traceback" not in run.text
    for word in words:
        assert word in run.err
    assert "hint: " in run.err
    assert "FAILED" not in run.out
    assert not list(clone.build.glob("cells/*/failure.json"))
    assert run.podman("build") == []


def test_podman_is_missing(copied: Clone, cells: tuple[str, str], tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", "podman")
    run = copied.doit("build", PATH=path)
    before_work(copied, run, "error: podman is not installed\n", "hint: apt-get install")
    doctor = copied.doit("doctor", PATH=path)
    assert doctor.code == 3
    assert "Traceback" not in doctor.text
    assert copied.doit(f"image:{cells[1]}").code == 0


def test_podman_starts_no_container(copied: Clone, cells: tuple[str, str], tmp_path: Path) -> None:
    flag = tmp_path / "refuse"
    flag.touch()
    path = path_with_refusing_podman(tmp_path / "bin", flag)
    run = copied.doit("build", PATH=path)
    before_work(copied, run, SAID, "runc")
    no_container(copied)
    flag.unlink()
    assert copied.doit(f"image:{cells[1]}", PATH=path).code == 0


def test_podman_stops_starting_containers(copied: Clone, cells: tuple[str, str], tmp_path: Path) -> None:
    """What it needs was found out before, so that it is the work itself that fails."""
    flag = tmp_path / "refuse"
    path = path_with_refusing_podman(tmp_path / "bin", flag)
    assert copied.doit("doctor", PATH=path).code in (0, 3)
    flag.touch()
    run = copied.doit("build", PATH=path)
    module, image = cells
    refused(copied, run, f"module:{module}", 1, "podman-failed", SAID, hint="doit doctor")
    refused(copied, run, f"image:{image}", 1, "image-build-failed", SAID)
    assert run.podman("run"), "it was tried"
    no_container(copied)
    flag.unlink()
    assert copied.doit(f"image:{image}", PATH=path).code == 0
