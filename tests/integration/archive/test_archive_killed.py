"""`kill -9` at any moment of `doit archive`: no half commit, and the next run ends the work with the same ids."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archives import VERSIONS, Archivist, git, offer, package, packages
from tests.harness.rpmtools import Key, Server, serve

MOMENTS = 12
FIRST = 1_600_000_000


@pytest.fixture(scope="module")
def server(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("www")
    with serve(folder) as running:
        offer(running, key, packages(folder.parent / "rpms", key))
        yield running


def killed(clone: Archivist, seconds: float) -> bool:
    """Start `doit archive` and kill it, with all that it started, after so long; whether it was still at work."""
    process = subprocess.Popen(clone.command("archive"), cwd=clone.root, env=clone.environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True,
                                  check=False).stdout.split()
        process.send_signal(signal.SIGKILL)
        for child in children:
            subprocess.run(["kill", "-9", child], check=False, capture_output=True)
        process.wait()
        return True
    return False


@pytest.mark.parametrize("tree", [False, True])
def test_killed(tree: bool, server: Server, key: Key, tmp_path: Path) -> None:
    whole = Archivist(tmp_path / "whole", f"{server.url}/", key)
    started = time.monotonic()
    whole.archived()
    took = time.monotonic() - started
    due = whole.refs()
    clone = Archivist(tmp_path / "killed", f"{server.url}/", key)
    place = tmp_path / "mine"
    if tree:
        clone.configure(path=str(place))
    where = place / ".git" if tree else clone.git_dir
    dice = random.Random(7)
    interrupted = 0
    for _ in range(MOMENTS):
        if dice.random() < 0.3:
            shutil.rmtree(place if tree else clone.git_dir, ignore_errors=True)
            (clone.build / "archive/neuron.json").unlink(missing_ok=True)
        interrupted += killed(clone, dice.uniform(0.3, 1.0) * took)
        if where.exists():
            git(where, "fsck", "--full", "--strict", "--no-dangling")
            assert {name: oid for name, oid in clone.refs(where).items() if "tags" in name}.items() <= due.items()
            for lock in where.rglob("*.lock"):
                if tree and lock.name != "kmod-foundry.lock":
                    lock.unlink()  # as the message says
    assert interrupted
    clone.archived()
    assert clone.refs(where) == due
    clone.proven()
    left = [path.name for path in (clone.build / "archive").glob(".*") if not path.name.startswith(".lock-")]
    assert left == []
    if tree:
        assert git(where, "--work-tree", str(place), "status", "--porcelain") == ""


def test_killed_before_the_work_tree_shows_it(server: Server, key: Key, tmp_path: Path) -> None:
    """The branch moved, the files are half the old and half the new ones: ours to mend. What a user changed is not."""
    place = tmp_path / "mine"
    clone = Archivist(tmp_path / "one", f"{server.url}/", key)
    clone.configure(path=str(place))
    clone.archived()
    old = git(place / ".git", "rev-parse", "main")
    before = tmp_path / "before"
    shutil.copytree(place, before, symlinks=True)
    offer(server, key, [package(tmp_path / "more", key, "3.0", FIRST + 10**6)])
    clone.archived()
    new = (place / "README.md").read_bytes()
    for name in ("src", "archive"):
        shutil.rmtree(place / name)
        shutil.copytree(before / name, place / name, symlinks=True)
    shutil.copyfile(before / ".git/index", place / ".git/index")
    (place / "archive/rpm").joinpath("aws-neuronx-dkms-3.0-1.noarch.rpm").write_bytes(b"half")
    (place / ".git/kmod-foundry-checkout").write_text(f"{old}\n")
    (clone.build / "archive/neuron.json").unlink()
    clone.archived()
    assert git(place / ".git", "--work-tree", str(place), "status", "--porcelain") == ""
    assert (place / "README.md").read_bytes() == new
    (place / "src/main.c").write_text("mine")
    (place / ".git/kmod-foundry-checkout").write_text(f"{old}\n")
    (clone.build / "archive/neuron.json").unlink()
    run = clone.doit("archive")
    assert run.code == 1 and "changes that nobody committed: src/main.c" in run.out, run.text
    assert (place / "src/main.c").read_text() == "mine"
    assert VERSIONS[0] in git(place / ".git", "tag")
