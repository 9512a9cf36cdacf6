"""A bare git repository for the stand-in for GitHub: its shas are the real ones."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHA = re.compile(r"[0-9a-f]{40}")
_PERSON = re.compile(r"(?P<name>.*) <(?P<email>.*)> (?P<seconds>\d+) (?P<zone>[+-]\d{4})")


class GitError(Exception):
    """git refused; its words."""


@dataclass(frozen=True)
class Commit:
    """A commit; `author` and `committer` have name, email and seconds since 1970."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Mapping[str, Any]
    committer: Mapping[str, Any]
    message: str


@dataclass(frozen=True)
class Entry:
    """An entry of a tree; `size` -1 where it has none."""

    mode: str
    kind: str
    sha: str
    size: int
    path: str


@dataclass(frozen=True)
class Changed:
    """A file that differs; `additions` and `deletions` are lines. A renamed file is one removed and one added."""

    status: str
    path: str
    sha: str
    additions: int
    deletions: int


class _Reader:
    """One ``git cat-file --batch-command`` for all objects that are looked up: a process each takes most of a test."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(["git", "cat-file", "--batch-command"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, env=env)

    def info(self, name: str) -> tuple[str, str]:
        """Sha and type of an object, both empty if there is none."""
        with self._lock:
            words = self._asked("info", name)
            return (words[0], words[1]) if len(words) == 3 and words[2].isdigit() else ("", "")

    def contents(self, name: str) -> bytes | None:
        """An object's bytes, None if there is none."""
        with self._lock:
            words = self._asked("contents", name)
            if len(words) != 3 or not words[2].isdigit():
                return None
            assert self._process.stdout is not None
            data = self._process.stdout.read(int(words[2]) + 1)
            return data[:-1]

    def _asked(self, command: str, name: str) -> list[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command} {name}\n".encode())
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().split()

    def close(self) -> None:
        self._process.communicate()


@dataclass
class Repository:
    """A bare repository, empty at first."""

    folder: Path

    def __post_init__(self) -> None:
        self.git("init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(self.folder))
        self._reader = _Reader(self._environment())

    def close(self) -> None:
        """End the process that reads."""
        self._reader.close()

    def _environment(self) -> dict[str, str]:
        return {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", "TZ": "UTC",
                "GIT_DIR": str(self.folder), "PATH": os.environ["PATH"]}

    def git(self, *argv: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """git's output without the last line's end; raises `GitError`."""
        return self.raw(*argv, given=given, env=env).decode().rstrip("\n")

    def raw(self, *argv: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """git's output."""
        own = {**self._environment(), **(env or {})}
        done = subprocess.run(["git", *argv], input=given, env=own, capture_output=True, check=False)
        if done.returncode:
            raise GitError(done.stderr.decode().strip())
        return done.stdout

    # -- reading -----------------------------------------------------------------

    def sha(self, name: str, kind: str = "") -> str:
        """The object that a full ref or a sha means, empty if there is none; `kind` commit looks through tags."""
        if not (name.startswith("refs/") or _SHA.fullmatch(name)) or not name.isprintable() or " " in name:
            return ""
        return self._reader.info(f"{name}^{{{kind}}}")[0]

    def commitish(self, name: str) -> str:
        """The commit that a branch, tag, ref or sha means, as GitHub reads it; empty if there is none."""
        tried = (f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}", name)
        return next((sha for sha in (self.sha(one, "commit") for one in tried) if sha), "")

    def kind(self, sha: str) -> str:
        """The type of an object, empty if there is none."""
        return self._reader.info(sha)[1] if _SHA.fullmatch(sha) else ""

    def blob(self, sha: str) -> bytes:
        """The content of a file."""
        return self._object(sha, "blob")

    def _object(self, sha: str, kind: str) -> bytes:
        data = self._reader.contents(f"{sha}^{{{kind}}}")
        if data is None:
            raise GitError(f"{sha} is no {kind}")
        return data

    def commit(self, sha: str) -> Commit:
        """A commit, taken apart."""
        head, _, message = self._object(sha, "commit").decode().partition("\n\n")
        lines = [line.partition(" ")[::2] for line in head.splitlines()]
        one = dict(lines)
        parents = tuple(value for name, value in lines if name == "parent")
        author, committer = _person(one["author"]), _person(one["committer"])
        return Commit(sha, one["tree"], parents, author, committer, message.rstrip("\n"))

    def entries(self, tree: str, *, recursive: bool = False, path: str = "") -> list[Entry]:
        """What is in a tree, or, with `path`, that entry alone (followed by / for what is in it)."""
        more = [*(["-r", "-t"] if recursive else []), tree, *(["--", path] if path else [])]
        found = []
        for line in self.raw("ls-tree", "-z", "-l", *more).decode().split("\0")[:-1]:
            facts, _, name = line.partition("\t")
            mode, kind, sha, size = facts.split()
            found.append(Entry(mode, kind, sha, int(size) if size.isdigit() else -1, name))
        return found

    def between(self, base: str, head: str) -> list[str]:
        """The commits that are in head and not in base, oldest first."""
        return self.git("rev-list", "--reverse", "--topo-order", f"{base}..{head}").split()

    def merge_base(self, one: str, other: str) -> str:
        """Where two histories part, empty if they have nothing in common."""
        try:
            return self.git("merge-base", one, other)
        except GitError:
            return ""

    def refs(self, prefix: str) -> list[str]:
        """The full refs that begin with `prefix`, sorted."""
        names = self.git("for-each-ref", "--format=%(refname)").split()
        return sorted(name for name in names if name.startswith(prefix))

    def changed(self, before: str, after: str) -> list[Changed]:
        """What differs between two commits; without the first, between nothing and the second."""
        argv = ["diff-tree", "-r", "-z", "--no-renames", "--no-commit-id"]
        pair = [before, after] if before else ["--root", after]
        words = self.raw(*argv, "--raw", *pair).decode().split("\0")[:-1]
        raw = {path: head.split() for head, path in zip(words[::2], words[1::2], strict=True)}
        found = []
        for line in self.raw(*argv, "--numstat", *pair).decode().split("\0")[:-1]:
            added, deleted, path = line.split("\t")
            _, _, old, new, status = raw[path]
            said = {"A": "added", "D": "removed"}.get(status, "modified")
            lines = [int(count) if count.isdigit() else 0 for count in (added, deleted)]  # - for what is no text
            found.append(Changed(said, path, old if status == "D" else new, *lines))
        return found

    def conflicts(self, one: str, other: str) -> bool:
        """Whether two commits can't be merged."""
        try:
            self.git("merge-tree", "--write-tree", one, other)
        except GitError:
            return True
        return False

    def allows(self, name: str) -> bool:
        """Whether a full ref may have that name."""
        try:
            return bool(self.git("check-ref-format", "--normalize", name))
        except GitError:
            return False

    # -- writing -----------------------------------------------------------------

    def set_ref(self, name: str, sha: str) -> None:
        """Create or move a full ref."""
        self.git("update-ref", name, sha)

    def delete_ref(self, name: str) -> None:
        """Remove a full ref."""
        self.git("update-ref", "-d", name)

    def write_blob(self, content: bytes) -> str:
        """Store a file, and its sha."""
        return self.git("hash-object", "-w", "--stdin", given=content)

    def write_tree(self, base: str, entries: list[tuple[str, str, str]]) -> str:
        """Store a tree: `base` (or nothing) with entries of mode, sha (empty removes) and path; its sha.

        Raises `GitError` if there is nothing to remove.
        """
        index = {"GIT_INDEX_FILE": str(self.folder / "standin-index"), "GIT_WORK_TREE": str(self.folder)}
        self.git("read-tree", *([base] if base else ["--empty"]), env=index)
        plain = "".join(f"{mode} {sha}\t{path}\0" for mode, sha, path in entries if sha and mode != "040000")
        for mode, sha, path in entries:
            if not sha or mode == "040000":
                some = ["--ignore-unmatch"] if sha else []
                self.git("rm", "-r", "--cached", "--quiet", *some, "--", path, env=index)
            if sha and mode == "040000":
                self.git("read-tree", f"--prefix={path}/", sha, env=index)
        if plain:
            self.git("update-index", "--add", "--replace", "-z", "--index-info", given=plain.encode(), env=index)
        return self.git("write-tree", env=index)

    def write_commit(
        self, tree: str, parents: list[str], message: str, author: Mapping[str, str], committer: Mapping[str, str],
    ) -> str:
        """Store a commit; the people have name, email and date."""
        people = {f"GIT_{who}_{part.upper()}": one[part] for who, one in (("AUTHOR", author), ("COMMITTER", committer))
                  for part in ("name", "email", "date")}
        argv = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *argv, given=message.encode(), env=people)

    def seed(self, branch: str, files: Mapping[str, bytes | None], message: str = "A change", start: str = "") -> str:
        """Commit files (None removes one) to a branch, which begins at `start` if it is new; the commit's sha."""
        ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
        parent = self.sha(ref) or (self.commitish(start) if start else "")
        entries = [("100644", "" if content is None else self.write_blob(content), path)
                   for path, content in files.items()]
        tree = self.write_tree(parent, entries)
        person = {"name": "A Person", "email": "person@example.org", "date": "2025-01-02T03:04:05Z"}
        sha = self.write_commit(tree, [parent] if parent else [], message, person, person)
        self.set_ref(ref, sha)
        return sha

    def merge(self, base: str, head: str, message: str) -> str:
        """Merge a commit into a branch; the merge's sha. Raises `GitError` on a conflict."""
        ref = f"refs/heads/{base}"
        person = {"name": "A Person", "email": "person@example.org", "date": "2025-01-02T03:04:06Z"}
        tree = self.git("merge-tree", "--write-tree", self.sha(ref), head)
        sha = self.write_commit(tree, [self.sha(ref), head], message, person, person)
        self.set_ref(ref, sha)
        return sha


def _person(line: str) -> dict[str, Any]:
    found = _PERSON.fullmatch(line)
    assert found is not None, line
    return {"name": found["name"], "email": found["email"], "seconds": int(found["seconds"])}
