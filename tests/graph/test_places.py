"""Files and folders that are something else or can't be written: a sentence, or it works."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.checkout import OLD
from tests.harness.ledgers import ledger_document, ledger_row
from tests.harness.project import Project

CACHES = ("validation.json", "parsed.json")
PLACES = (
    *(f"build/local/{name}" for name in (
        *CACHES, ".run.lock", "release/2.22.2.0/images.json", "times.json",
    )),
    "build/local", ".kmod-profile", "config/locks/neuron.json", "build-matrix.json", "config/families/neuron.yaml",
    "driver-toolkit/driver-toolkit.json", "config/defaults.yaml", "config/profiles/local.yaml",
)
COMMANDS = (("status",), ("build", "fetch:2.22.2.0"), ("export",), ("prune", "--dry-run"), ("collect", "elsewhere"))


def _is_said(project: Project, *args: str) -> None:
    done = project.doit(*args)
    assert done.code in (0, 1, 2, 3), args
    if done.code in (2, 3):
        assert "error: " in done.err or " failed" in done.out, args


@pytest.mark.parametrize("place", PLACES)
def test_something_else_in_the_place(place: str, project: Project) -> None:
    """A folder with a file, a file that is no text, a pipe: every command says so in a sentence, or does without."""
    path = project.root / place
    project.doit("status")
    for what in ("folder", "junk", "pipe"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "folder":
            (path / "inside").mkdir(parents=True)
        elif what == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"\xff\xfe\0junk")
        for args in COMMANDS if what == "folder" else COMMANDS[:2]:
            _is_said(project, *args)
        if place.rpartition("/")[2] in CACHES:
            assert project.doit("status").code == 0


@pytest.fixture
def read_only(project: Project) -> Project:
    """A checkout on a file system that can't be written to."""
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(ledger_row(OLD)))
    project.doit("status")
    return project


@pytest.mark.parametrize("args", [("status",), ("status", "--json"), ("list",), ("info", "build"), ("profile",)])
def test_what_only_shows_needs_no_place_to_write(args: tuple[str, ...], read_only: Project) -> None:
    """Also where nothing is kept yet."""
    expected = read_only.doit(*args)
    for name in CACHES:
        (read_only.root / "build/local" / name).unlink(missing_ok=True)
    before = _all(read_only.root)
    inside = f"mount --bind {read_only.root} {read_only.root} && mount -o remount,ro,bind {read_only.root} && exec "
    argv = ["unshare", "--mount", "sh", "-c", inside + '"$@"', "sh", *read_only.command(*args)]
    done = subprocess.run(argv, cwd=read_only.root, env=read_only.environment(), capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout) == (expected.code, expected.out), done.stderr
    assert _all(read_only.root) == before


def _all(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))
