"""The proof of single commits: what each must be, made again from what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundry.archive import content, form
from foundry.archive.content import Assembled, Store, Version, sort_key
from foundry.archive.form import RPMS, parse_fields
from foundry.archive.gittree import Blob, Listing, tree_id
from foundry.archive.key_time import creation_time
from foundry.archive.vendor_notes import section_of
from foundry.base.errors import FoundryError
from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.packages import repodata, rpm
from foundry.formats.packages.repodata import Checksum
from foundry.formats.packages.rpm import Package
from foundry.packages import gpg
from foundry.packages.gpg import SignatureFacts
from foundry.packages.repository import verify_signature

_KEYS = ("key.asc", "key.gpg")
_KEEPER = "Archived by"


class Broken(FoundryError):
    """Something is not as it must be."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.ARCHIVE_BROKEN)


@dataclass
class Proof:
    """What is known of an archive while it is proven; `commits` has the raw objects by id, oldest first."""

    store: Store
    versions: Sequence[Version]
    fingerprint: str
    folder: Path
    commits: Mapping[str, bytes]
    late: int = 0
    keys: dict[str, Path] = field(default_factory=dict)  # by the SHA-256 of what is in them
    listed: dict[str, set[Checksum]] = field(default_factory=dict)  # by place in the repository
    repositories: set[str] = field(default_factory=set)  # addresses, as the branch names them
    notes: list[str | None] = field(default_factory=list)  # whole documents; None: there was none
    reached: dict[str, frozenset[str]] = field(default_factory=dict)  # commits of versions, by commit of the branch

    def documents(self, oid: str) -> None:
        """Take in the documents of a commit of the branch. Raises Broken for one that is not what it must be."""
        listing = self.store.listing(oid)
        for text in self._read(listing, filter(listing.__contains__, [form.README])).values():
            self.repositories.update(form.repositories_of(text.decode("utf-8", "replace")))
        found = self._read(listing, filter(content.is_document, listing))
        names = {path.removeprefix("archive/"): data for path, data in found.items() if not path.endswith(".sha256")}
        if found.keys() != {f"archive/{name}{suffix}" for name in names for suffix in ("", ".sha256")}:
            raise Broken("there is a document without checksum, or a checksum without document")
        for name, data in names.items():
            if found[f"archive/{name}.sha256"] != form.checksum_line(sha256_bytes(data), name):
                raise Broken(f"archive/{name} has another checksum than archive/{name}.sha256 says")
        keys = [data for name, data in names.items() if name in _KEYS]
        notes = [data for name, data in names.items() if name.startswith(form.NOTES)]
        if len(keys) != 1 or len(notes) > 1:
            raise Broken("there must be one public key, and no more than one text of release notes")
        self._key(keys[0])
        self._add_notes(notes[0].decode("utf-8", "replace") if notes else None)
        others = names.keys() - {*_KEYS} - {name for name in names if name.startswith(form.NOTES)}
        self._lists({name: names[name] for name in others})

    def version(self, oid: str) -> None:
        """Prove one version. Raises FoundryError for the first thing that is wrong."""
        mine = next(one for one in self.versions if one.commit == oid)
        fields = parse_fields(self._message(oid))
        parent = self._parent(oid, mine)
        base = self.store.listing(parent)
        listing = self.store.listing(oid)
        name = self._package_name(listing, base)
        (data,) = self._read(listing, [RPMS + name]).values()
        listed = fields.get("SHA256 check") == form.OK
        location = fields.get(form.LOCATION, "") if listed else ""
        sha256 = sha256_bytes(data)
        if listed and (location.rpartition("/")[2] != name
                       or not any(one.fits(data) for one in self.listed.get(location, ()))):
            raise Broken(f"no list of the repository names {location} with the checksum {sha256}")
        repository = fields.get(form.REPOSITORY, "") if listed else ""
        if listed and repository not in self.repositories:
            raise Broken(f"no {form.README} of the branch names the repository {repository!r}")
        file = self.folder / "package.rpm"
        file.write_bytes(data)
        package = rpm.parse_package(data)
        key, signature = self._signature(data, package)
        payload = content.payload_files(file, package, self.folder)
        root, files = content.version_files(payload, name, data, base)
        made = self.store.assemble(files | self._furniture(listing, ()), base)
        if form.Evr(package.epoch or 0, package.version, package.release) != mine.evr:
            raise Broken(f"the package is {package.nevra}")
        uid, created = signature.uid, creation_time(gpg.keyring(key), signature.fingerprint)
        messages = [
            form.version_message(package, form.Said(
                name, location, sha256, signature.fingerprint, uid, created, listed, root, notes,
                fields.get(_KEEPER, ""), made.sha256, made.changed, repository,
            )) for notes in self._sections(package.version)
        ]
        self._compare(oid, listing, made, messages, [parent] if parent else [], package.build_time, fields)

    def update(self, oid: str) -> None:
        """Prove one commit of the branch."""
        parents = self._parents(oid)
        reached = self._reach(oid, parents)
        there = [one for one in self.versions if one.commit in reached]
        newest = max(there, key=lambda one: sort_key(one.evr), default=None)
        listing = self.store.listing(oid)
        fields = parse_fields(self._message(oid))
        found = self._read(listing, filter(content.is_document, listing))
        documents = {name.removeprefix("archive/"): data for name, data in found.items() if name[-7:] != ".sha256"}
        before = self.store.listing(parents[0] if parents else "")
        files = content.branch_files(
            documents, self.store.listing(newest.commit if newest else ""),
            [before, *(self.store.listing(parent) for parent in parents[1:])],
        )
        made = self.store.assemble(files | self._furniture(listing, (form.README,)), before)
        repomd = documents.get("repomd.xml")
        dated = next((when for when in self._times(oid) if form.time_of(when) == fields.get("Dated")), 0)
        message = form.update_message(form.Update(
            form.subjects(path for _, path in made.changed),
            repodata.parse_repomd(repomd).revision if repomd is not None else "",
            str(newest.evr) if newest else "", len(there), dated, fields.get(_KEEPER, ""), made.sha256, made.changed,
        ))
        self._compare(oid, listing, made, [message], parents, dated, fields)

    def _compare(
        self, oid: str, listing: Listing, made: Assembled, messages: Sequence[bytes], parents: Sequence[str], when: int,
        fields: Mapping[str, str],
    ) -> None:
        for path in sorted(listing.keys() | made.listing.keys()):
            if listing.get(path) != made.listing.get(path):
                raise Broken(f"{path} is not what it must be")
        keeper = fields.get(_KEEPER, "")
        head = "".join(f"{line}\n" for line in (
            f"tree {tree_id(made.listing, self.store.algorithm)}", *(f"parent {parent}" for parent in parents),
            f"author {keeper} {when} +0000", f"committer {keeper} {when} +0000",
        )).encode("utf-8", "surrogateescape")
        actual = self.commits[oid]
        if not actual.startswith(head + b"\n"):
            raise Broken("its tree, parents, author or dates are not what they must be")
        said = actual.removeprefix(head + b"\n")
        if said not in messages:
            pairs = zip(said.split(b"\n"), messages[0].split(b"\n"), strict=False)
            line = next((one for one, other in pairs if one != other), b"its end")
            raise Broken(f"its message is not true: {line.decode(errors='replace')[:120]!r}")

    def _parent(self, oid: str, mine: Version) -> str:
        """The one parent: a lower version that was built before; which one can depend on what was there then."""
        parents = self._parents(oid)
        others = [one for one in self.versions if one.commit in parents]
        lower = all(sort_key(one.evr) < sort_key(mine.evr) and one.when <= mine.when for one in others)
        if len(parents) > 1 or len(others) != len(parents) or not lower:
            raise Broken("the commit before it is not that of an older version")
        due = content.parent_of(mine.evr, mine.when, self.versions)
        self.late += (due.commit if due else "") != (parents[0] if parents else "")
        return parents[0] if parents else ""

    def _reach(self, oid: str, parents: Sequence[str]) -> frozenset[str]:
        """The versions that a commit of the branch has: those of the one before and what it joins."""
        if parents and parents[0] not in self.reached:
            raise Broken("the commit before it is not one of the branch")
        found = set(self.reached[parents[0]] if parents else ())
        known = {one.commit for one in self.versions}
        for one in parents[1:]:
            at = one
            while at and at not in found:
                if at not in known:
                    raise Broken("it joins a commit that is no version")
                found.add(at)
                at = next(iter(self._parents(at)), "")
        self.reached[oid] = frozenset(found)
        return self.reached[oid]

    def _package_name(self, listing: Listing, base: Listing) -> str:
        added = sorted(path.removeprefix(RPMS) for path in listing if path.startswith(RPMS) and path not in base)
        if len(added) != 2 or added[1] != f"{added[0]}.sha256":  # noqa: PLR2004 - the package and its checksum
            raise Broken("it does not add one package with its checksum")
        return added[0]

    def _signature(self, data: bytes, package: Package) -> tuple[Path, SignatureFacts]:
        """The key that proves the package, and what its signature says. Raises the last key's refusal."""
        refusal: FoundryError = Broken("there is no public key to prove it by")
        for key in self.keys.values():
            try:
                return key, verify_signature(data, package, key, self.fingerprint, later=True)
            except FoundryError as error:
                refusal = error
        raise refusal

    def _key(self, data: bytes) -> None:
        digest = sha256_bytes(data)
        if digest in self.keys:
            return
        file = self.folder / f"key-{digest[:16]}"
        file.write_bytes(data)
        if creation_time(gpg.keyring(file), self.fingerprint) is None:
            raise Broken(f"its public key is not the pinned one, {self.fingerprint}")
        self.keys[digest] = file

    def _lists(self, documents: Mapping[str, bytes]) -> None:
        """``repomd.xml`` and its lists, whose checksums are in it."""
        if not documents:
            return
        if "repomd.xml" not in documents:
            raise Broken("there are lists without repomd.xml")
        repomd = repodata.parse_repomd(documents["repomd.xml"], repodata.LISTS)
        there = {name.partition(".")[0]: data for name, data in documents.items() if name != "repomd.xml"}
        if len(there) != len(documents) - 1 or there.keys() != repomd.lists.keys() or not all(
            location.checksum.fits(there[kind]) for kind, location in repomd.lists.items()
        ):
            raise Broken("its lists are not those that repomd.xml names")
        for one in repodata.parse_primary(repodata.open_primary(there[repodata.PRIMARY], repomd.primary)):
            if not one.fault:
                self.listed.setdefault(one.href, set()).add(one.checksum)

    def _add_notes(self, text: str | None) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _sections(self, version: str) -> list[str | None]:
        """What the release notes that the archive ever had say of a version."""
        return list(dict.fromkeys(section_of(text, version) if text else None for text in self.notes or [None]))

    def _furniture(self, listing: Listing, more: Iterable[str]) -> dict[str, Blob]:
        """The licences and what goes with them, as they are: the digest over the tree tells when they were changed."""
        names = (".gitattributes", "REUSE.toml", *more)
        return {path: blob for path, blob in listing.items() if path in names or path.startswith("LICENSES/")}

    def _read(self, listing: Listing, paths: Iterable[str]) -> dict[str, bytes]:
        names = list(paths)
        blobs = self.store.git.objects([listing[name].oid for name in names])
        return {name: data for name, (_, data) in zip(names, blobs, strict=True)}

    def _parents(self, oid: str) -> list[str]:
        head = self.commits[oid].partition(b"\n\n")[0].decode(errors="replace").split("\n")
        return [line.removeprefix("parent ") for line in head if line.startswith("parent ")]

    def _times(self, oid: str) -> list[int]:
        head = self.commits[oid].partition(b"\n\n")[0].decode(errors="replace").split("\n")
        words = [line.split(" ")[-2] for line in head if line.startswith("author ")]
        return [int(word) for word in words if word.isdecimal()]

    def _message(self, oid: str) -> bytes:
        return self.commits[oid].partition(b"\n\n")[2]
