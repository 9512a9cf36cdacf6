"""The archive's repository before and after a run: whether it is ours to write, its work tree, its remote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.archive.content import TAGS, Version, sort_key, versions_of
from foundry.archive.settings import Settings
from foundry.base.errors import FoundryError
from foundry.base.files import read_file, write_atomic
from foundry.base.reasons import Reason

if TYPE_CHECKING:
    from foundry.archive.git import Git, Ref
    from foundry.archive.remote import Remote

OURS = "Archive: "
_CHECKOUT = "kmod-foundry-checkout"  # names the commit that the work tree had when a run began
_FETCHED = "refs/kmod-foundry/remote/"


@dataclass
class Place:
    """One archive's repository; `tip` is the commit of its branch, empty where it has none yet."""

    settings: Settings
    git: Git
    tip: str = ""
    tree: bool = False  # whether the work tree shows the branch

    def refs(self) -> dict[str, Ref]:
        """The branch and all tags, as they are now."""
        return self.git.refs(self.settings.ref, TAGS)

    def prepare(self) -> None:
        """Look whether the repository can be written. Raises FoundryError ``archive-locked``, ``archive-dirty``."""
        self._unlock()
        self.tree = self.git.work_tree is not None and self.git.head() == self.settings.ref
        self._look()
        if self.tree:
            self._settle()
            write_atomic(self.git.folder / _CHECKOUT, f"{self.tip}\n".encode())

    def look(self) -> None:
        """Find the tip of the branch; FoundryError ``archive-diverged`` when it is not of our making."""
        self._look()
        found = self.git.refs(self.settings.ref).get(self.settings.ref)
        if found is not None and not found.subject.startswith(OURS):
            raise FoundryError(
                f"the branch {self.settings.branch} of {self.git.place} ends in a commit that is not the archive's:"
                f" {found.subject[:80]!r}", reason=Reason.ARCHIVE_DIVERGED,
                hint="archive into a branch or a repository of its own (`archive.branch`, `archive.path`)",
            )

    def moved(self, oid: str) -> None:
        """The branch is at another commit."""
        self.tip = oid

    def finish(self) -> None:
        """Show the branch in the work tree, if it does."""
        if not self.tree:
            return
        journal = self.git.folder / _CHECKOUT
        self._show(read_file(journal).decode(errors="replace").strip())
        journal.unlink()

    def unmerged(self, versions: Sequence[Version]) -> list[str]:
        """The last commits of the lines of versions that the branch does not have, the newest version first."""
        missing = self.outside_of_branch(versions)
        if len(missing) > 1:
            missing = self.git.run("merge-base", "--independent", *missing).output.decode().split()
        by_commit = {one.commit: one for one in versions}
        return sorted(missing, key=lambda oid: sort_key(by_commit[oid].evr), reverse=True)

    def outside_of_branch(self, versions: Iterable[Version]) -> list[str]:
        """The commits of versions that the branch does not have."""
        known = {one.commit for one in versions}
        if not self.tip:
            return sorted(known)
        raw = self.git.run("for-each-ref", "--format=%(objectname)", f"--no-merged={self.tip}", TAGS).output
        return [oid for oid in raw.decode().split() if oid in known]

    def _look(self) -> None:
        found = self.git.refs(self.settings.ref).get(self.settings.ref)
        self.tip = found.oid if found else ""

    def _unlock(self) -> None:
        for path in self.git.locks():
            if not self.settings.shared:  # below build/ nobody works but runs that hold our lock
                path.unlink(missing_ok=True)
                continue
            raise FoundryError(
                f"{path} says that a git is at work, or was killed", reason=Reason.ARCHIVE_LOCKED,
                hint=f"when no git works there: rm {path}",
            )

    def _settle(self) -> None:
        """Have a clean work tree, also where a run was killed while it wrote it. FoundryError ``archive-dirty``."""
        dirty = self._differing("HEAD") if self.tip else set()
        if not dirty and not (self.git.folder / _CHECKOUT).exists():
            return
        try:
            before = read_file(self.git.folder / _CHECKOUT).decode(errors="replace").strip()
        except FileNotFoundError:
            before = None
        if before is None or dirty & self._differing(before or self._nothing()):
            raise FoundryError(
                f"the work tree of {self.git.place} has changes that nobody committed: {', '.join(sorted(dirty)[:3])}",
                reason=Reason.ARCHIVE_DIRTY, hint=f"`git -C {self.git.place} stash`, or archive into a bare repository",
            )
        self.git.run("read-tree", "--reset", "-u", "HEAD" if self.tip else self._nothing())

    def _differing(self, commit: str) -> set[str]:
        """The files of the work tree that are not as in a commit."""
        self.git.run("update-index", "-q", "--refresh", check=False)
        raw = self.git.run("diff-index", "--name-only", "-z", commit).output
        return set(raw.decode(errors="replace").split("\0")) - {""}

    def _show(self, before: str) -> None:
        if before == self.tip:
            return
        done = self.git.run("read-tree", "-m", "-u", before or self._nothing(), self.tip, check=False)
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if line.strip()), "")
            raise FoundryError(
                f"the work tree of {self.git.place} can't show what was archived: {said[:200]}",
                reason=Reason.ARCHIVE_DIRTY,
                hint="the archive itself is up to date; move your file away and run `doit archive` again",
            )

    def _nothing(self) -> str:
        return self.git.run("hash-object", "-t", "tree", "-w", "--stdin").output.decode().strip()


def ready(settings: Settings) -> Place:
    """The archive's repository, made where there is none. Raises ``archive-unusable``, ``git-failed``."""
    from foundry.archive.git import created, opened

    return Place(settings, opened(settings.place) or created(settings.place, settings.branch))


def pull(settings: Settings, place: Place, log: Path) -> None:
    """Take over what the remote has more than we; then look whether branch and tags are ours.

    Raises FoundryError ``archive-diverged`` where both have something that the other has not.
    """
    if settings.remote:
        _pull(settings, place, _remote(settings, place, log))
    place.look()


def push(settings: Settings, place: Place, log: Path, say: Callable[[str], None]) -> None:
    """Give the remote what it lacks, all or nothing."""
    remote = _remote(settings, place, log)
    there = remote.refs(settings.ref, f"{TAGS}*")
    refs = place.refs()
    mine = {settings.ref: refs[settings.ref].oid, **{one.tag: one.commit for one in versions_of(refs)}}
    names = [name for name, oid in mine.items() if there.get(name) != oid]
    if names:
        remote.push(names)
        say(f"pushed to {remote.shown}: {len(names)} refs")


def _remote(settings: Settings, place: Place, log: Path) -> Remote:
    from foundry.archive.remote import Remote

    return Remote(place.git, settings.remote, log)


def _pull(settings: Settings, place: Place, remote: Remote) -> None:
    there = remote.refs(settings.ref, f"{TAGS}*")
    mine = {name: ref.oid for name, ref in place.refs().items()}
    wrong = sorted(name for name in there if name.startswith(TAGS) and mine.get(name, there[name]) != there[name])
    if wrong:
        raise _diverged(remote, place, f"the tag {wrong[0].removeprefix(TAGS)} is another commit")
    missing = [name for name in there if mine.get(name) != there[name]]
    if not missing:
        return
    remote.fetch([f"+{name}:{_FETCHED}{name.removeprefix('refs/')}" for name in missing])
    updates = []
    for name in missing:
        old = mine.get(name, "")
        if old and place.git.is_ancestor(there[name], old):
            continue
        if old and not place.git.is_ancestor(old, there[name]):
            raise _diverged(remote, place, f"each has commits in {settings.branch} that the other lacks")
        updates.append((name, there[name], old or "0" * len(there[name])))
    if updates:
        place.git.move(updates)


def _diverged(remote: Remote, place: Place, why: str) -> FoundryError:
    return FoundryError(
        f"{place.git.place} and {remote.shown} have gone different ways: {why}", reason=Reason.ARCHIVE_DIVERGED,
        hint="`doit archive:verify` in both tells which one to keep; nothing was changed in either",
    )
