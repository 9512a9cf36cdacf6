"""`doit archive:verify`: an archive proven from its own content and the pinned key; no network, nothing believed.

Every commit is made again from the package that it holds and compared with the one that is there,
byte by byte. What no package says, such as who keeps the archive, stands in two places that must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foundry.archive.content import TAGS, Store, versions_of
from foundry.archive.git import Git, Ref, opened
from foundry.archive.place import OURS
from foundry.archive.proof import Broken, Proof
from foundry.archive.settings import branch_of, pinned, place_of
from foundry.base.errors import FoundryError
from foundry.base.filelock import locked
from foundry.base.files import remove_tree, scratch
from foundry.base.reasons import Reason
from foundry.config.family import Family
from foundry.run.context import Foundry

_SHOWN = 20  # faults that are printed


def verify(foundry: Foundry, family: Family) -> None:
    """Prove the family's archive.

    Raises FoundryError ``archive-missing`` where there is none, ``archive-broken`` with the first of all faults.
    """
    place = place_of(foundry, family)
    git = opened(place)
    ref = f"refs/heads/{branch_of(family)}"
    if git is None:
        raise _missing(place, family)
    work = foundry.root / foundry.config.build / "archive"
    with locked(work / f".lock-{family.name}"):
        for stale in work.glob(f".verify-{family.name}.*"):
            remove_tree(stale)
        with scratch(work, f"verify-{family.name}") as folder:
            run = _Run(git, ref, pinned(foundry, family), folder)
            count = run.all()
            if count is None:
                raise _missing(place, family)
    if run.faults:
        for fault in run.faults[:_SHOWN]:
            print(f"  {fault}")
        more = f" (and {len(run.faults) - 1} more faults)" if run.faults[1:] else ""
        raise FoundryError(f"the archive {git.place} is not what it says: {run.faults[0]}{more}",
                           reason=Reason.ARCHIVE_BROKEN,
                           hint="restore it from a copy that `doit archive:verify` proves, or make it anew")
    if foundry.verbosity:
        late = f"; {run.late} came later than their build time says" if run.late else ""
        print(f"  {git.place}: {count} versions proven{late}")


def _missing(place: Path, family: Family) -> FoundryError:
    return FoundryError(f"there is no archive at {place}", reason=Reason.ARCHIVE_MISSING,
                        hint=f"run `doit archive:{family.name}`, or name another place in `archive.path`")


@dataclass
class _Run:
    git: Git
    ref: str
    fingerprint: str
    folder: Path
    faults: list[str] = field(default_factory=list)
    late: int = 0

    def all(self) -> int | None:
        """Look at everything; the number of versions that are proven, None where there is no archive yet."""
        with self._noted("the repository"):
            done = self.git.run("fsck", "--full", "--strict", "--no-dangling", "--no-progress", check=False)
            if done.returncode != 0:
                lines = (done.stderr or done.output.decode(errors="replace")).strip().splitlines() or ["git fsck fails"]
                raise Broken(f"git fsck: {lines[0][:200]}")
        if self.faults:
            return 0
        refs = self.git.refs(self.ref, TAGS)
        if self.ref not in refs:
            return None
        raw = self.git.run("rev-list", "--topo-order", "--reverse", self.ref, "--tags").output.decode().split()
        commits = dict(zip(raw, (data for _, data in self.git.objects(raw)), strict=True))
        updates = [oid for oid in raw if _subject(commits[oid]).startswith(OURS)]
        proof = Proof(Store(self.git), versions_of(refs), self.fingerprint, self.folder, commits)
        for oid in updates:
            with self._noted(f"the branch's commit {oid[:12]}"):
                proof.documents(oid)
        self._tags(refs, proof, updates)
        tags = {one.commit: one.tag.removeprefix(TAGS) for one in proof.versions}
        proven = 0
        for oid in raw:
            before = len(self.faults)
            what = f"the branch's commit {oid[:12]}" if oid in updates else f"the tag {tags.get(oid, oid[:12])}"
            with self._noted(what):
                if oid in updates:
                    proof.update(oid)
                elif oid in tags:
                    proof.version(oid)
                else:
                    raise Broken("it is neither a version with its tag nor the archive's")
            proven += oid in tags and len(self.faults) == before
        self.late = proof.late
        return proven

    def _tags(self, refs: Mapping[str, Ref], proof: Proof, updates: Sequence[str]) -> None:
        """Every tag names its version; others may name a commit of the branch."""
        known = {one.tag: one.commit for one in proof.versions}
        for name, ref in refs.items():
            with self._noted(f"the tag {name.removeprefix(TAGS)}"):
                if name.startswith(TAGS) and name not in known and ref.oid not in updates:
                    raise Broken("it is not that of the version that its commit holds")
        tip = refs[self.ref].oid
        with self._noted(f"the branch {self.ref.removeprefix('refs/heads/')}"):
            if tip not in updates:
                raise Broken("it ends in a commit that is not the archive's")

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except FoundryError as error:
            if error.reason in (Reason.NO_SPACE, Reason.DISK, Reason.TOOL_MISSING, Reason.TIMEOUT):
                raise
            self.faults.append(f"{what}: {error.sentence}")


def _subject(commit: bytes) -> str:
    return commit.partition(b"\n\n")[2].split(b"\n")[0].decode(errors="replace")
