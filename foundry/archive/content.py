"""What the archive's commits hold: made here to be written, and made here again to be compared with what is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foundry.archive import form
from foundry.archive.form import RPMS, Evr
from foundry.archive.git import Git, Ref
from foundry.archive.gittree import FILE, LINK, PROGRAM, Blob, Listing, changes, tree_sha256
from foundry.base.errors import FoundryError
from foundry.base.files import read_file, scratch, sha256_bytes
from foundry.base.git_ids import blob_id
from foundry.base.reasons import Reason
from foundry.formats.packages import rpmpayload
from foundry.formats.packages.rpm import Package
from foundry.formats.trees.links import Links
from foundry.packages.repository import rpm_version_key

TAGS = "refs/tags/"
File = tuple[str, bytes]  # mode and content
Wanted = Mapping[str, File | Blob]


@dataclass(frozen=True)
class Version:
    """A version in the archive: its commit, its package's build time in seconds since 1970, its tag's full name."""

    evr: Evr
    commit: str
    when: int
    tag: str


@dataclass(frozen=True)
class Assembled:
    """A tree that is to be: all of it by blob, what differs from the one before, and one digest over its content."""

    listing: dict[str, Blob]
    files: Mapping[str, File | Blob | None]
    changed: list[tuple[str, str]]
    sha256: str


@dataclass
class Store:
    """An archive's repository, and what was read of it."""

    git: Git
    listings: dict[str, Listing] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # hex SHA-256 of contents by blob id
    _algorithm: str = ""

    @property
    def algorithm(self) -> str:
        """What git's ids are in this repository."""
        self._algorithm = self._algorithm or self.git.algorithm()
        return self._algorithm

    def listing(self, commit: str) -> Listing:
        """The files of a commit; none without a commit."""
        if not commit:
            return {}
        if commit not in self.listings:
            self.listings[commit] = self.git.listing(commit)
        return self.listings[commit]

    def assemble(self, wanted: Wanted, base: Listing) -> Assembled:
        """The tree that `wanted` makes, by comparison with the one of the first parent."""
        listing: dict[str, Blob] = {}
        for path, one in wanted.items():
            blob = one if isinstance(one, Blob) else Blob(one[0], blob_id(one[1], self.algorithm))
            if not isinstance(one, Blob):
                self.digests[blob.oid] = sha256_bytes(one[1])
            listing[path] = blob
        changed = changes(base, listing)
        files = {path: wanted[path] if letter != "D" else None for letter, path in changed}
        return Assembled(listing, files, changed, self.digest(listing))

    def digest(self, listing: Listing) -> str:
        """The SHA-256 over all files of a tree. Of packages that are there already the checksum beside them counts."""
        sums = {
            listing[f"{path}.sha256"].oid: path for path, blob in listing.items()
            if path.startswith(RPMS) and blob.oid not in self.digests and f"{path}.sha256" in listing
        }
        vouched = {listing[path].oid for path in sums.values()}
        unread = (blob.oid for blob in listing.values() if blob.oid not in self.digests and blob.oid not in vouched)
        ids = list(dict.fromkeys([*sums, *unread]))
        for oid, (_, data) in zip(ids, self.git.objects(ids), strict=True):
            self.digests[oid] = sha256_bytes(data)
            if oid in sums:
                said = form.parse_checksum(data, sums[oid].removeprefix(RPMS))
                self.digests[listing[sums[oid]].oid] = said or ""
        return tree_sha256({path: (blob.mode, self.digests[blob.oid]) for path, blob in listing.items()})


def versions_of(refs: Mapping[str, Ref]) -> list[Version]:
    """The versions that the tags hold, oldest first; other people's tags are not ours."""
    found = []
    for name, ref in refs.items():
        evr = form.evr_of(ref.subject) if ref.kind == "commit" and name.startswith(TAGS) else None
        names = [TAGS + form.tag_name(evr, with_release=release) for release in (False, True)] if evr else []
        if evr is not None and name in names:
            found.append(Version(evr, ref.oid, ref.when, name))
    return sorted(found, key=lambda one: sort_key(one.evr))


def sort_key(evr: Evr) -> tuple[object, ...]:
    """Sorts as rpm does."""
    return (evr.epoch, rpm_version_key(evr.version), rpm_version_key(evr.release), evr.version)


def parent_of(evr: Evr, when: int, versions: Iterable[Version]) -> Version | None:
    """The commit before a version's: the highest of the lower versions that were built before it.

    What a vendor builds later changes nothing of it, be it a lower version: so it does not matter
    when an archive was made (docs/decisions/0013-the-archives-history.md).
    """
    mine = sort_key(evr)
    lower = [one for one in versions if sort_key(one.evr) < mine and one.when <= when]
    return max(lower, key=lambda one: sort_key(one.evr), default=None)


def payload_files(file: Path, package: Package, work: Path) -> dict[str, File]:
    """The package's payload by path: mode and content. Raises what `foundry.formats.packages.rpmpayload.unpack` raises.

    Folders that are empty are not in it, as git has none. No link leaves the folder that it goes to: a checkout of
    the archive has others beside it, and git's own.
    """
    found: dict[str, File] = {}
    with scratch(work, "unpack") as folder:
        root = folder / "root"
        rpmpayload.unpack(file, package, root)
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if form.is_unsafe(name):
                raise FoundryError(f"the package holds {name}, which git would take for its own",
                                   reason=Reason.PACKAGE_UNSAFE_PATH)
            if path.is_symlink():
                found[name] = (LINK, os.fsencode(os.readlink(path)))
            elif path.is_file():
                found[name] = (PROGRAM if path.stat().st_mode & 0o100 else FILE, read_file(path))
    _, places = form.placed(found)
    for top in (form.SOURCES, form.PAYLOAD):
        Links({
            places[name].removeprefix(top): os.fsdecode(data) for name, (mode, data) in found.items()
            if mode == LINK and places[name].startswith(top)
        }).require_inside("the package")
    return found


def version_files(
    payload: Mapping[str, File], name: str, data: bytes, parent: Listing
) -> tuple[str, dict[str, File | Blob]]:
    """Where the sources come from, and the version's files but for the licences: sources, package, older packages."""
    root, places = form.placed(payload)
    files: dict[str, File | Blob] = {path: blob for path, blob in parent.items() if path.startswith(RPMS)}
    files |= {places[path]: one for path, one in payload.items()}
    path = RPMS + name
    files[path] = (FILE, data)
    files[f"{path}.sha256"] = (FILE, form.checksum_line(sha256_bytes(data), name))
    return root, files


def branch_files(documents: Mapping[str, bytes], newest: Listing, others: Iterable[Listing]) -> dict[str, File | Blob]:
    """The branch's files but for licences and README: newest sources, all packages, the documents."""
    files: dict[str, File | Blob] = {
        path: blob for path, blob in newest.items() if path.startswith((form.SOURCES, form.PAYLOAD))
    }
    for listing in (*others, newest):
        files |= {path: blob for path, blob in listing.items() if path.startswith(RPMS)}
    for name, data in documents.items():
        files[f"archive/{name}"] = (FILE, data)
        files[f"archive/{name}.sha256"] = (FILE, form.checksum_line(sha256_bytes(data), name))
    return files


def is_document(path: str) -> bool:
    """Whether a path on the branch is that of a document or its checksum."""
    return path.startswith("archive/") and not path.startswith(RPMS)
