"""The payload of an RPM, written out as files; by `unpack`.

The header is the truth (it is what the signature vouches for): the archive must
hold exactly the files that the header names, with the same kind and content.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from foundry.base.errors import FoundryError, from_os
from foundry.base.files import scratch
from foundry.base.reasons import Reason
from foundry.formats.packages.cpio import Archive, Member
from foundry.formats.packages.rpm import MAX_UNPACKED, FileEntry, Package, content_sha256, read_bytes
from foundry.formats.packages.rpmheader import damaged
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tree import Tree, safe_name

_LINK_LIMIT = 4096  # bytes, PATH_MAX


def extract(payload: bytes, package: Package, root: Path, max_bytes: int) -> list[str]:
    """Write the payload below `root`, which this creates; the paths written, relative, in archive order."""
    if package.payload_format != "cpio":
        raise FoundryError(f"the RPM's payload is {package.payload_format!r}, not cpio", reason=Reason.RPM_UNSUPPORTED)
    wanted = _wanted(package)
    budget = Budget("the RPM's payload", Reason.RPM_DAMAGED, Reason.RPM_TOO_LARGE, max_bytes)
    stream = decompress.opened(payload, package.payload_compressor, budget)
    writer = _Writer(package, wanted, Tree(root, budget))
    for member, chunks in Archive(stream, [entry.size for entry in package.files]):
        writer.add(member, chunks)
    return writer.finish()


def _wanted(package: Package) -> dict[str, FileEntry]:
    """The files that the payload must hold, by relative path; refuses what must never be written."""
    wanted: dict[str, FileEntry] = {}
    for entry in package.files:
        name = safe_name(entry.path.removeprefix("/"))
        if entry.ghost:
            continue
        if not (stat.S_ISREG(entry.mode) or stat.S_ISDIR(entry.mode) or stat.S_ISLNK(entry.mode)):
            raise FoundryError(
                f"the RPM holds {entry.path}, which is no file, folder or link (mode {entry.mode:o})",
                reason=Reason.PACKAGE_UNSAFE_TYPE,
            )
        if name in wanted:
            raise damaged(f"it names {name} twice")
        wanted[name] = entry
    return wanted


class _Writer:
    def __init__(self, package: Package, wanted: dict[str, FileEntry], tree: Tree) -> None:
        self._package, self._wanted, self._tree = package, wanted, tree
        self._names = Counter(entry.inode for entry in package.files)
        self._written: list[str] = []
        self._seen: set[str] = set()
        self._waiting: dict[tuple[int, int, int], list[str]] = {}  # hard links before the one with the data

    def add(self, member: Member, chunks: Iterator[bytes]) -> None:
        name, entry = self._find(member)
        if name in self._seen:
            raise damaged(f"its payload holds {name} twice")
        self._seen.add(name)
        if stat.S_ISDIR(entry.mode):
            self._need(member.size == 0, name)
            self._tree.folder(name)
        elif stat.S_ISLNK(entry.mode):
            self._need(0 < member.size <= _LINK_LIMIT and entry.linkto.encode() == b"".join(chunks), name)
            self._tree.symlink(name, entry.linkto)
        elif member.nlink > 1 and member.size == 0 and entry.size:
            self._waiting.setdefault(member.inode, []).append(name)
            return
        else:
            self._file(name, entry, member, chunks)
        self._written.append(name)

    def finish(self) -> list[str]:
        if missing := sorted(self._wanted.keys() - self._seen):
            raise damaged(f"its payload lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
        if self._waiting:
            raise damaged(f"its payload has no data for {next(iter(self._waiting.values()))[0]}")
        self._tree.close()
        return self._written

    def _find(self, member: Member) -> tuple[str, FileEntry]:
        if member.index is not None:
            entry = self._package.files[member.index]
            name = safe_name(entry.path.removeprefix("/"))
            if self._names[entry.inode] > 1:
                raise FoundryError(f"{name} is a hard link in a stripped payload", reason=Reason.RPM_UNSUPPORTED)
        else:
            name = safe_name(os.fsdecode(member.name).removeprefix("./"))
        if name not in self._wanted:
            raise damaged(f"its payload holds {name!r}, which its header does not name")
        entry = self._wanted[name]
        self._need(member.index is not None or stat.S_IFMT(member.mode) == stat.S_IFMT(entry.mode), name)
        return name, entry

    def _file(self, name: str, entry: FileEntry, member: Member, chunks: Iterator[bytes]) -> None:
        self._need(member.size == entry.size, name)
        check = hashlib.new(self._package.digest_algorithm, usedforsecurity=False)

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                check.update(chunk)
                yield chunk

        self._tree.file(name, hashed(), executable=bool(entry.mode & 0o111), mtime=entry.mtime)
        links = self._waiting.pop(member.inode, []) if member.nlink > 1 else []
        for alias in (name, *links):
            self._need(self._wanted[alias].digest == check.hexdigest(), alias)
        for alias in links:
            self._tree.hardlink(alias, name)
            self._written.append(alias)

    @staticmethod
    def _need(fits: bool, name: str) -> None:
        if not fits:
            raise damaged(f"{name} in its payload is not what its header says")


def unpack(path: Path, package: Package, dest: Path, *, max_bytes: int = MAX_UNPACKED) -> list[Path]:
    """Extract the whole payload below `dest`, which must be absent or empty; returns what was written, in order.

    Every regular file is checked against its digest in the header. Files get mode 0644 or
    0755 and the header's mtime, folders 0755. `dest` appears whole or not at all.

    Raises FoundryError: ``rpm-damaged``, ``rpm-too-large``, ``package-unsafe-path``,
    ``package-unsafe-link``, ``package-unsafe-type``, ``rpm-unsupported``, ``target-exists``;
    OutsideError when the disk can't take it.
    """
    data = read_bytes(path)
    if content_sha256(data) != package.content_sha256:
        raise damaged(f"{path.name} changed since it was read")
    try:
        if os.path.lexists(dest) and (dest.is_symlink() or not dest.is_dir() or any(dest.iterdir())):
            raise FoundryError(f"{dest} is not an empty folder", reason=Reason.TARGET_EXISTS, hint="remove it first")
        with scratch(dest.parent, dest.name) as folder:
            root = folder / "root"
            written = extract(data[package.header_range[1]:], package, root, max_bytes)
            os.replace(root, dest)
    except OSError as error:
        raise from_os(error, doing=f"can't unpack below {dest}") from error
    return [dest / name for name in written]
