"""git, as a store of trees and commits: plumbing alone, in settled surroundings.

Nobody's configuration, hooks or variables have a say in what is written, so that the same
content gives the same ids everywhere. A commit and the one ref that names it come into being
together: what is written goes through one ``git fast-import`` each, which moves its ref last
and, cut off, moves none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foundry.archive.gittree import Blob, parse_listing
from foundry.base.errors import FoundryError, no_space, says_no_space
from foundry.base.files import canonical_json, read_file, remove_abandoned, scratch, sha256_bytes
from foundry.base.process import Completed, run, shell_line
from foundry.base.reasons import Reason

_PACKED = "packed-refs"
SECONDS = 1800.0  # for one command
_SETTLED = {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "TZ": "UTC",
}
CALLERS = (  # the caller's variables that lead git elsewhere: `git rev-parse --local-env-vars`, and more
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_INTERNAL_SUPER_PREFIX", "GIT_IMPLICIT_WORK_TREE", "GIT_DEFAULT_HASH",
    "GIT_QUARANTINE_PATH", "GIT_LITERAL_PATHSPECS", "GIT_TRACE",
)
_CONFIGURATION = ("GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT")
OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "-c", "core.fsmonitor=false",
    "-c", "core.attributesFile=", "-c", "safe.directory=*", "-c", "fastimport.unpackLimit=0", "-c", "gc.auto=0",
)


class Ref(NamedTuple):
    """What a ref names: the object's id and kind; a commit's author date in seconds since 1970, and its subject."""

    oid: str
    kind: str
    when: int
    subject: str


@dataclass(frozen=True)
class Identity:
    """Who wrote a commit, and when: seconds since 1970, UTC."""

    name: str
    email: str
    when: int

    def line(self) -> str:
        """As in a commit."""
        return f"{self.name} <{self.email}> {self.when} +0000"


@dataclass(frozen=True)
class Commit:
    """A commit to be made: what it changes of the tree of its first parent. None deletes a path, bytes are new."""

    identity: Identity
    message: bytes
    parents: tuple[str, ...]
    changed: Mapping[str, tuple[str, bytes] | Blob | None]


@dataclass(frozen=True)
class Git:
    """One repository by its git folder; `work_tree` is None for a bare one."""

    folder: Path
    work_tree: Path | None = None

    @property
    def place(self) -> Path:
        """What a user calls the repository."""
        return self.work_tree or self.folder

    def run(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> Completed:
        """A command that asks for no password; `Completed.output` is what it prints.

        Raises FoundryError ``git-failed``.
        """
        argv = [*self.command(), *arguments]
        done = run(argv, stdin=stdin, timeout=SECONDS, env=_SETTLED, unset=(*CALLERS, *_CONFIGURATION), check=False,
                   binary=True)
        if check and done.returncode != 0:
            raise failed(arguments[0], self.place, done, shell_line(argv))
        return done

    def command(self) -> list[str]:
        """How every argument list begins."""
        tree = ["--work-tree", str(self.work_tree)] if self.work_tree else []
        return ["git", "--git-dir", str(self.folder), *tree, *OPTIONS]

    def algorithm(self) -> str:
        """``sha1`` or ``sha256``: what the repository's ids are."""
        return self.run("rev-parse", "--show-object-format").output.decode().strip()

    def refs(self, *patterns: str) -> dict[str, Ref]:
        """All refs that begin so, by name."""
        form = "--format=%(refname)%00%(objectname)%00%(objecttype)%00%(authordate:raw)%00%(contents:subject)"
        found = {}
        for line in self.run("for-each-ref", form, *patterns).output.splitlines():
            name, oid, kind, date, subject = line.decode("utf-8", "surrogateescape").split("\0")
            found[name] = Ref(oid, kind, int(date.split(" ")[0] or "0"), subject)
        return found

    def head(self) -> str:
        """The ref that HEAD stands for, such as ``refs/heads/main``; empty when it names a commit."""
        return self.run("symbolic-ref", "--quiet", "HEAD", check=False).output.decode().strip()

    def listing(self, commit: str) -> dict[str, Blob]:
        """All files of a commit, by path."""
        try:
            return parse_listing(self.run("ls-tree", "-r", "-z", "--full-tree", commit).output)
        except ValueError as error:
            raise FoundryError(f"{self.place}: {error} in {commit}", reason=Reason.ARCHIVE_DIVERGED) from error

    def objects(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Kind and content of each object, in the order of `ids`; FoundryError ``git-failed`` where one is missing."""
        if not ids:
            return
        raw = memoryview(self.run("cat-file", "--batch", stdin="".join(f"{one}\n" for one in ids).encode()).output)
        at = 0
        for one in ids:
            end = bytes(raw[at : at + 300]).find(b"\n")
            head = bytes(raw[at : at + end]).decode(errors="replace").split(" ")
            if len(head) != 3:  # noqa: PLR2004 - id, kind, size
                raise FoundryError(f"{self.place} lacks {one}", reason=Reason.GIT_FAILED,
                                   hint="it is damaged: `git fsck` says more; restore it from a copy")
            begin, size = at + end + 1, int(head[2])
            yield head[1], bytes(raw[begin : begin + size])
            at = begin + size + 1

    def blob(self, name: str) -> bytes:
        """The content of one file, named ``<commit>:<path>``; FoundryError ``git-failed`` when it is not there."""
        return self.run("cat-file", "blob", name).output

    def commit(self, ref: str, commit: Commit) -> str:
        """Make the commit and have `ref`, its full name, name it; its id.

        Raises FoundryError ``git-failed``, also where the ref is not where the first parent is.
        """
        stream = b"".join(_stream(ref, commit))
        try:
            output = self.run("fast-import", "--done", "--quiet", "--date-format=raw", stdin=stream).output
        except FoundryError:
            for report in self.folder.glob("fast_import_crash_*"):
                report.unlink(missing_ok=True)
            raise
        return output.decode().strip()

    def move(self, updates: Sequence[tuple[str, str, str]]) -> None:
        """Move refs in one transaction: name, new id, the id that it must have now (zeros: none)."""
        lines = [f"update {name} {new} {old}\n" for name, new, old in updates]
        self.run("update-ref", "--stdin", stdin="".join(["start\n", *lines, "prepare\n", "commit\n"]).encode())

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has `old` in its history."""
        return self.run("merge-base", "--is-ancestor", old, new, check=False).returncode == 0

    def tidy(self) -> None:
        """Join packs where there are many; nothing depends on it."""
        self.run("-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet", check=False)

    def locks(self) -> list[Path]:
        """Lock files of a git that is at work, or that was killed."""
        names = ("HEAD.lock", "index.lock", "packed-refs.lock", "config.lock")
        return sorted([
            *(self.folder / name for name in names if (self.folder / name).exists()),
            *(self.folder / "refs").rglob("*.lock"),
        ])


def opened(place: Path) -> Git | None:
    """The repository at a path, bare or with a work tree; None when there is nothing yet.

    Raises FoundryError ``archive-unusable`` for anything else that is there.
    """
    inner = place / ".git"
    if inner.is_file() and (text := read_file(inner).decode(errors="replace")).startswith("gitdir: "):
        return Git((place / text.removeprefix("gitdir: ").strip()).absolute(), place)
    if (inner / "HEAD").is_file():
        return Git(inner, place)
    if (place / "HEAD").is_file() and (place / "objects").is_dir():
        return Git(place)
    if not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir())):
        return None
    raise FoundryError(f"{place} is there and is no git repository", reason=Reason.ARCHIVE_UNUSABLE,
                       hint="name another place in `archive.path`, or empty it")


def created(place: Path, branch: str) -> Git:
    """A new repository, bare where its name ends in ``.git``; it appears whole or not at all."""
    bare = place.suffix == ".git"
    remove_abandoned(place.parent, place.name)
    with scratch(place.parent, place.name) as folder:
        made = folder / "made"
        options = ["--quiet", "--template=", f"--initial-branch={branch}", "--object-format=sha1"]
        argv = ["git", *OPTIONS, "init", *options, *(["--bare"] if bare else []), str(made)]
        done = run(argv, env=_SETTLED, unset=(*CALLERS, *_CONFIGURATION), check=False, timeout=SECONDS)
        if done.returncode != 0:
            raise failed("init", place, done, shell_line(argv))
        os.replace(made, place)
    found = opened(place)
    if found is None:
        raise FoundryError(f"git made no repository at {place}", reason=Reason.GIT_FAILED)
    info = found.folder / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* -text -ident -filter -working-tree-encoding\n", encoding="utf-8")
    return found


def failed(verb: str, place: Path, done: Completed, replay: str) -> FoundryError:
    """The error of a git command that failed: its last fatal line."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    sentence = f"git {verb} in {place} failed (exit code {done.returncode})" + (f": {said[:300]}" if said else "")
    if says_no_space(done.stderr):
        return no_space(sentence)
    return FoundryError(sentence, reason=Reason.GIT_FAILED, replay=replay,
                        hint="what was archived before stays; `git fsck` there says whether the repository is whole")


def _stream(ref: str, commit: Commit) -> Iterator[bytes]:
    """The commands of git-fast-import(1) for one commit; without the last line nothing is written."""
    yield f"commit {ref}\nmark :1\nauthor {commit.identity.line()}\ncommitter {commit.identity.line()}\n".encode()
    yield b"data %d\n%s\n" % (len(commit.message), commit.message)
    for number, parent in enumerate(commit.parents):
        yield f"{'merge' if number else 'from'} {parent}\n".encode()
    for path, change in sorted(commit.changed.items(), key=lambda item: (item[1] is not None, item[0])):
        name = _quoted(path)
        if change is None:
            yield b"D " + name + b"\n"
        elif isinstance(change, Blob):
            yield f"M {change.mode} {change.oid} ".encode() + name + b"\n"
        else:
            mode, data = change
            yield b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), name, len(data), data)
    yield b"\nget-mark :1\ndone\n"


def _quoted(path: str) -> bytes:
    return b'"' + path.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def refs_state(folder: Path, branch: str) -> str:
    """One hash over the branch and all tags; empty where this can't be told (gitrepository-layout(5))."""
    found: dict[str, str] = {}
    try:
        if (folder / _PACKED).exists():
            for line in read_file(folder / _PACKED).decode(errors="replace").splitlines():
                oid, _, name = line.partition(" ")
                if name.startswith("refs/"):
                    found[name] = oid
        for path in (folder / branch, *(folder / "refs/tags").rglob("*")):
            if path.is_file() and not path.name.endswith(".lock"):
                found[path.relative_to(folder).as_posix()] = read_file(path).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""
    ours = {name: oid for name, oid in found.items() if name == branch or name.startswith("refs/tags/")}
    return sha256_bytes(canonical_json(ours)) if branch in ours else ""
