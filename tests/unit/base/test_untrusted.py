"""Folders that untrusted code wrote into: what is taken, what is taken away, and that all of it can be removed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from foundry.base import untrusted
from foundry.base.errors import FoundryError
from foundry.base.files import remove_tree

_NOBODY = 64998


def deep(folder: Path, levels: int) -> None:
    """Folders in folders, deeper than a path can name, the last with a file; all of them read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 50, dir_fd=handle)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=handle)
        os.chmod(handle, 0o555)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o400, dir_fd=handle))
    os.close(handle)


def test_walk_names_everything_once(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("x")
    (tmp_path / "z").symlink_to("a")
    assert [one.path for one in untrusted.walk(tmp_path)] == ["a", "a/b", "a/b/c", "z"]


def test_walk_ends(tmp_path: Path) -> None:
    deep(tmp_path / "top", 1500)
    with pytest.raises(FoundryError) as caught:
        list(untrusted.walk(tmp_path / "top"))
    assert caught.value.reason == "output-unsafe"
    remove_tree(tmp_path / "top")
    assert not (tmp_path / "top").exists()


@pytest.mark.parametrize("mode", [0o300, 0o600, 0o000])
@pytest.mark.parametrize("changing", [True, False])
def test_what_nobody_else_may_look_into_is_not_counted_as_nothing(mode: int, changing: bool, tmp_path: Path) -> None:
    """A build can write into a folder that it closed; where root looks, there is none that is closed."""
    (tmp_path / "top/closed").mkdir(parents=True)
    (tmp_path / "top/closed/file").write_bytes(bytes(1 << 20))
    (tmp_path / "top/closed").chmod(mode)
    handle = os.open(tmp_path / "top", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        code = 9
        try:
            os.fchdir(handle)
            if os.geteuid() == 0:
                os.chown("closed", _NOBODY, _NOBODY)
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
            list(untrusted.walk(Path("."), changing=changing))
        except FoundryError as error:
            code = 0 if error.reason == "output-unsafe" else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    (tmp_path / "top/closed").chmod(0o700)
    os.close(handle)


def test_walk_does_not_begin_at_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(OSError, match="link"):
        list(untrusted.walk(tmp_path / "link"))


def test_disarm(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    program = tmp_path / "in/program"
    program.write_text("x")
    program.chmod(0o6755)
    (tmp_path / "in").chmod(0o2755)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("in/program")
    untrusted.disarm(tmp_path)
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "in").stat().st_mode) == 0o755
    assert sorted(os.listdir(tmp_path)) == ["in", "link"]


@pytest.mark.parametrize("path", ["link", "folder", "inside/x", "twice", "pipe", "large", "x/y"])
def test_copy_out_refuses(path: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "folder").mkdir(parents=True)
    (top / "folder/x").write_text("x")
    (top / "x").write_text("x")
    (top / "link").symlink_to("x")
    (top / "inside").symlink_to("folder")
    (top / "twice").write_text("x")
    (top / "again").hardlink_to(top / "twice")
    os.mkfifo(top / "pipe")
    (top / "large").write_text("x" * 11)
    with pytest.raises(FoundryError) as caught:
        untrusted.copy_out(top, path, tmp_path / "dest", limit=10)
    assert caught.value.reason == "output-unsafe"
    assert sorted(os.listdir(tmp_path)) == ["top"]


def test_copy_out(tmp_path: Path) -> None:
    (tmp_path / "top/in").mkdir(parents=True)
    (tmp_path / "top/in/x").write_text("content")
    untrusted.copy_out(tmp_path / "top", "in/x", tmp_path / "dest", limit=7)
    assert (tmp_path / "dest").read_text() == "content"
    with pytest.raises(FileNotFoundError):
        untrusted.copy_out(tmp_path / "top", "in/y", tmp_path / "dest", limit=7)


def test_allocated_counts_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").write_bytes(b"x" * (1 << 20))
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert 1 << 20 <= untrusted.allocated(tmp_path) < 2 << 20
    assert untrusted.allocated(tmp_path / "nothing") == 0


@pytest.mark.parametrize("levels", [0, 1, 3, 1200])
def test_remove_tree(levels: int, tmp_path: Path) -> None:
    """Read-only parts, names of its own making, links to elsewhere, any depth."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    for name in ("one", "two"):
        deep(tmp_path / "top" / name, levels)
    (tmp_path / "top/link").symlink_to(kept)
    remove_tree(tmp_path / "top")
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert (kept / "file").exists()
    remove_tree(tmp_path / "top")


def test_remove_tree_of_a_link_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    remove_tree(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["kept"]
