"""Archives for tests: a vendor with a repository on loopback, clones that archive it, and git as the witness."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.harness import rpmtools
from tests.harness.clone import Clone, Run
from tests.harness.rpmtools import Key, Server
from tests.harness.vendor import PACKAGE, LocalClone

VERSIONS = ("1.9.0.0", "2.0.386.0", "2.10.1.0")  # 10 comes after 9
NOTES = """Driver notes
============

Release [2.10.1.0]
------------------

* Faster.

Release [2.0.386.0]
-------------------

* First.
"""
FAMILY = "config/drivers/neuron.yaml"
TASK = "archive:neuron"
_FAILED = re.compile(r"^  FAILED archive\S*: (?P<sentence>.+(?:\n  (?:hint|log|replay): .+)*)$", re.MULTILINE)


class Archivist(LocalClone):
    """A clone in the profile `local` that archives what a test's server has."""

    def __init__(self, folder: Path, url: str, key: Key) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, url, key)
        text = (self.root / FAMILY).read_text(encoding="utf-8")
        notes = re.search(r"^  release_notes:\n(?:    .*\n)+", text, re.MULTILINE)
        assert notes, "the vendor's notes are elsewhere"
        self.edit(FAMILY, notes.group(), "")

    @property
    def git_dir(self) -> Path:
        """The archive where nothing else is configured."""
        return self.build / "archive" / "neuron.git"

    def configure(self, **settings: str) -> None:
        """Add settings to the family's section `archive`."""
        lines = "".join(f"  {name.replace('-', '_')}: {value}\n" for name, value in settings.items())
        self.edit(FAMILY, "archive:\n", f"archive:\n{lines}")

    def archived(self, **changes: str) -> Run:
        """``doit archive``, which works."""
        run = self.doit("archive", **changes)
        assert run.code == 0, run.text
        return run

    def proven(self) -> Run:
        """``doit archive:verify``, which finds nothing, and makes no network request."""
        run = self.doit("archive:verify")
        assert run.code == 0, run.text
        assert run.connections == []
        return run

    def refs(self, git_dir: Path | None = None) -> dict[str, str]:
        """The branch and all tags."""
        lines = git(git_dir or self.git_dir, "for-each-ref", "--format=%(refname) %(objectname)",
                    "refs/heads", "refs/tags").splitlines()
        return dict(line.split(" ") for line in lines)

    def tags(self) -> dict[str, str]:
        """The tags alone."""
        return {name.removeprefix("refs/tags/"): oid for name, oid in self.refs().items() if "tags" in name}


def git(git_dir: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """What a git command prints."""
    done = subprocess.run(
        ["git", "--git-dir", str(git_dir), *arguments], input=stdin, capture_output=True, check=False,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "replace").strip()


def packages(folder: Path, key: Key, versions: Iterable[str] = VERSIONS, *, first: int = 1_600_000_000) -> list[Path]:
    """Signed packages, each a day younger than the one before."""
    found = []
    for number, version in enumerate(versions):
        found.append(package(folder, key, version, first + number * 86_400))
    return found


def package(folder: Path, key: Key, version: str, when: int, *, release: str = "1", text: str = "") -> Path:
    """One signed package that says it was built at `when`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = rpmtools.build_rpm(folder, name=PACKAGE, version=version, release=release, text=text, when=when)
    rpmtools.sign_rpm(path, key)
    return path


def offer(server: Server, key: Key, files: Sequence[Path] = ()) -> None:
    """The repository with these packages more, indexed anew."""
    server.folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copyfile(path, server.folder / path.name)
    shutil.copyfile(key.file, server.folder / "key.pub")
    rpmtools.index(server.folder)


def fails(clone: Clone, run: Run, code: int, *words: str, hint: str = "") -> str:
    """One sentence with `words` and a hint, no traceback, and nothing temporary is left; the sentence."""
    assert "Traceback" not in run.text, run.text
    assert run.code == code, run.text
    match = _FAILED.search(run.out)
    assert match, run.text
    sentence, *rest = match["sentence"].split("\n")
    for word in words:
        assert word in sentence, sentence
    assert any(line.startswith("  hint: ") and hint in line for line in rest), rest
    assert len(sentence) < 600
    assert [path for path in (clone.build / "archive").glob(".*") if not path.name.startswith(".lock-")] == []
    return sentence
