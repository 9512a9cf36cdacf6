"""The changelog's form, and `make release` played on clones. The linters themselves are run by others."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lint.test_lint import ROOT

NEEDED = ("Makefile", ".ci/release.py", "pyproject.toml", "CHANGELOG.md", ".gitignore")
BEFORE = "# Changelog\n\nWords.\n\n"
NEWS = "### Added\n\n- One thing,\n  in two lines.\n\n### Fixed\n\n- Another.\n"
OLDER = "## [7.0.0] - 2026-01-31\n\n### Added\n\n- The first.\n"


class Repository:
    """A clone with the version 7.1.0 to come, whose linters say what the file ``.lint`` says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        for name in NEEDED:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.root / name)
        self.edit("pyproject.toml", r'(?m)^version = ".*"$', 'version = "7.1.0"')
        self.edit("CHANGELOG.md", r"(?s).*", f"{BEFORE}## [Unreleased]\n\n{NEWS}\n{OLDER}", count=1)
        self.edit("Makefile", r"(?m)^(lint|setup|system):.*$", r"old-\1:")
        self.edit("Makefile", r"\Z", "\nsetup:\nlint:\n\t@cat .lint && touch build/linted\n")
        (self.root / ".lint").write_text("all well\n")
        (self.root / "build").mkdir()
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "A Maintainer")
        self.git("config", "user.email", "maintainer@example.org")
        (self.root / ".git" / "info" / "exclude").write_text("/.venv\n")
        self.commit("begin")

    def edit(self, name: str, old: str, new: str, count: int = 0) -> None:
        path = self.root / name
        text, found = re.subn(old, new, path.read_text(encoding="utf-8"), count=count)
        assert found, f"{name} has no {old}"
        path.write_text(text, encoding="utf-8")

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", *args], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.rstrip("\n")

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def release(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", "release", *args], cwd=self.root, capture_output=True, text=True, check=False)

    def state(self) -> tuple[str, str, str, str]:
        return (self.git("rev-parse", "HEAD"), self.git("tag"), self.git("status", "--porcelain"),
                (self.root / "CHANGELOG.md").read_text())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_release_is_a_section_a_commit_and_a_tag(repository: Repository) -> None:
    begun = repository.git("rev-parse", "HEAD")
    days = {f"{datetime.now(UTC):%Y-%m-%d}"}
    done = repository.release("VERSION=7.1.0")
    assert done.returncode == 0, done.stderr
    [day] = (days | {f"{datetime.now(UTC):%Y-%m-%d}"}) & set(re.findall(r"\[7.1.0\] - (.*)", repository.state()[3]))
    assert (repository.root / "build" / "linted").exists()
    assert repository.state()[3] == f"{BEFORE}## [Unreleased]\n\n## [7.1.0] - {day}\n\n{NEWS}\n{OLDER}"
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("rev-parse", "HEAD~1") == begun
    assert repository.git("show", "--format=%s", "--name-only").split("\n") == ["Release 7.1.0", "", "CHANGELOG.md"]
    assert repository.git("cat-file", "-t", "v7.1.0") == "tag", "an annotated one"
    assert repository.git("rev-parse", "v7.1.0^{commit}") == repository.git("rev-parse", "HEAD")
    assert repository.git("tag", "--list", "--format=%(contents)") == f"kmod-foundry 7.1.0\n\n{NEWS.strip()}"
    assert "git push --atomic origin HEAD v7.1.0" in done.stdout


def test_the_first_release(repository: Repository) -> None:
    repository.edit("CHANGELOG.md", re.escape(f"\n{OLDER}"), "")
    repository.commit("nothing before")
    assert repository.release("VERSION=7.1.0").returncode == 0
    assert repository.state()[3].endswith(f"\n\n{NEWS}")


@pytest.mark.parametrize("version, said", [
    ("", "nothing is no version"),
    ("7.1", "7.1 is no version"),
    ("v7.1.0", "v7.1.0 is no version"),
    ("7.2.0", "pyproject.toml has version 7.1.0, not 7.2.0"),
])
def test_what_is_no_version_to_release(repository: Repository, version: str, said: str) -> None:
    refused(repository, said, version)


def test_a_tree_that_is_not_clean(repository: Repository) -> None:
    (repository.root / "forgotten.txt").touch()
    refused(repository, "the tree is not clean:\n?? forgotten.txt")


def test_linters_that_fail(repository: Repository) -> None:
    (repository.root / ".lint").unlink()
    repository.commit("linters fail")
    refused(repository, "make lint fails")


def test_nothing_to_release(repository: Repository) -> None:
    repository.edit("CHANGELOG.md", re.escape(NEWS), "")
    repository.commit("no news")
    refused(repository, "CHANGELOG.md has nothing under Unreleased")


def test_a_version_that_is_there(repository: Repository) -> None:
    repository.git("tag", "v7.1.0")
    refused(repository, "there is a tag v7.1.0 already")
    repository.git("tag", "--delete", "v7.1.0")
    repository.edit("CHANGELOG.md", r"\[7.0.0\]", "[7.1.0]")
    repository.commit("by hand")
    refused(repository, "CHANGELOG.md has a section 7.1.0 already")


def refused(repository: Repository, said: str, version: str = "7.1.0") -> None:
    before = repository.state()
    done = repository.release(f"VERSION={version}")
    assert done.returncode != 0
    assert f"release: {said}" in done.stderr
    assert repository.state() == before


def test_the_changelog_is_by_version() -> None:
    """Unreleased first, then versions with their days, the newest first; none is newer than pyproject.toml's."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *others = re.findall(r"(?m)^## (.*)$", text)
    assert first == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (.+)", one) for one in others]
    assert all(found), others
    versions = [(int(one[1]), int(one[2]), int(one[3]), date.fromisoformat(one[4])) for one in found if one]
    named = re.search(r'(?m)^version = "(\d+)\.(\d+)\.(\d+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert named
    newest = (int(named[1]), int(named[2]), int(named[3]), date.max)
    assert all(newer[:3] > older[:3] and newer[3] >= older[3] for newer, older in pairwise(versions))
    assert all(one <= newest for one in versions)
