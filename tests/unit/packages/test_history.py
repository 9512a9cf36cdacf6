"""What version control keeps beside sources is taken out before anything is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.driver.source import remove_history


@pytest.mark.parametrize("name", [".git", ".svn", ".hg", ".bzr", "CVS", "_darcs"])
@pytest.mark.parametrize("below", ["", "src/deep"])
def test_history_goes(tmp_path: Path, name: str, below: str) -> None:
    folder = tmp_path / below
    (folder / name / "objects").mkdir(parents=True)
    (folder / name / "config").write_text("token = x\n")
    for kept in (".gitignore", ".gitattributes", "main.c"):
        (folder / kept).write_text("x\n")
    remove_history(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [".gitattributes", ".gitignore", "main.c"]


def test_a_file_or_a_link_is_history_too(tmp_path: Path) -> None:
    """A work tree has a file `.git`, which names a folder of its maker's; what a link leads to stays."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/main.c").write_text("x\n")
    (tmp_path / ".git").write_text("gitdir: /home/someone/x\n")
    (tmp_path / "other/.hg").symlink_to("..")
    remove_history(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["other", "other/main.c"]
