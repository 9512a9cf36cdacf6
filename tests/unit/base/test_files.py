"""Temporary names: what an ended process left is removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from foundry.base.files import atomic, remove_abandoned, scratch

_LEAVE = """
import os, sys
from pathlib import Path
from foundry.base.files import atomic, scratch
with scratch(Path(sys.argv[1]), "busybox") as folder, atomic(Path(sys.argv[1], "images.json")) as stream:
    (folder / "tarball").write_bytes(b"half")
    os._exit(9)
"""


def test_what_an_ended_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", _LEAVE, str(tmp_path)], check=False).returncode == 9
    assert sorted(path.name.partition(".")[2].partition(".")[0] for path in tmp_path.iterdir()) == ["busybox", "images"]
    mine = [".run.lock", ".lock-neuron", ".ledger.lock", ".gitignore", ".image.backup", ".a.b.c", "kept.1.abcdefgh"]
    for name in mine:
        (tmp_path / name).touch()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    at_work = tmp_path / f".image.{other.pid}.abcdefgh"
    at_work.mkdir()
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, at_work.name])
    other.communicate(b"")
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


def test_of_one_name_alone(tmp_path: Path) -> None:
    """In a folder that is not ours: beside an archive elsewhere."""
    for name in (".mine.git", ".other"):
        (tmp_path / f"{name}.{os.getpid()}.abcdefgh").mkdir()
    remove_abandoned(tmp_path, "mine.git")
    assert [path.name.split(".")[1] for path in tmp_path.iterdir()] == ["other"]


def test_temporary_names_go_when_the_work_is_done(tmp_path: Path) -> None:
    with scratch(tmp_path, "x"), atomic(tmp_path / "file") as stream:
        stream.write(b"all")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
