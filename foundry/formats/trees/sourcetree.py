"""Tar archives of packages, unpacked where nothing can leave the folder; see `foundry.formats.trees.tree`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tarstream import Kind, Member, TarStream
from foundry.formats.trees.tree import Tree, safe_name

MAX_UNPACKED = 2 << 30  # bytes of an archive, decompressed and written
Data = bytes | memoryview


def unpack_tar(data: Data, root: Path, *, what: str, limit: int = MAX_UNPACKED) -> list[str]:
    """Write the archive's files below the new folder `root`; the paths written, in the archive's order.

    Files get mode 0644 or 0755 and their time, links must stay inside.
    Raises FoundryError: ``tar-damaged``, ``tar-too-large``, ``package-unsafe-path`` and
    ``package-unsafe-link`` as for RPMs, ``package-unsafe-type`` for devices, pipes and sparse files.
    """
    budget = _budget(what, limit)
    tree = Tree(root, budget)
    written: list[str] = []
    for member, tar in _members(data, budget):
        name = _name(member.name)
        if not name and member.kind is Kind.FOLDER:  # the archive's own
            continue
        safe_name(name)
        if member.kind is Kind.FOLDER:
            tree.folder(name)
        elif member.kind is Kind.SYMLINK:
            tree.symlink(name, _text(member.link))
        elif member.kind is Kind.HARDLINK:
            tree.hardlink(name, safe_name(_name(member.link)))
        elif member.kind is Kind.FILE:
            tree.file(name, tar.chunks(), executable=member.executable, mtime=member.mtime)
        else:
            raise FoundryError(f"{what} holds {name}, which is {member.kind.value}: that is never unpacked",
                               reason=Reason.PACKAGE_UNSAFE_TYPE)
        written.append(name)
    tree.close()
    return written


def read_small(data: Data, *, limit: int, what: str) -> dict[str, bytes]:
    """The plain files of a small archive by name."""
    found: dict[str, bytes] = {}
    for member, tar in _members(data, _budget(what, limit)):
        if member.kind is Kind.FILE:
            found[safe_name(_name(member.name))] = tar.read()
    return found


def newest(data: Data, *, what: str, limit: int = MAX_UNPACKED) -> int:
    """The time of the newest file in the archive, in seconds since 1970; 0 where it holds none."""
    members = _members(data, _budget(what, limit))
    return max((member.mtime for member, _ in members if member.kind is Kind.FILE), default=0)


def _budget(what: str, limit: int) -> Budget:
    return Budget(what, Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE, limit)


def _members(data: Data, budget: Budget) -> Iterator[tuple[Member, TarStream]]:
    tar = TarStream(decompress.pieces(iter([data]), decompress.kind_of(bytes(data[:8])), budget), budget)
    for member in tar:
        yield member, tar
    if not budget.unpacked:
        raise budget.fault("is no tar archive: it is empty")


def _name(name: bytes) -> str:
    """The member's path; empty for the archive's own folder."""
    plain = _text(name).removeprefix("./").removesuffix("/")
    return "" if plain == "." else plain


def _text(raw: bytes) -> str:
    """As text; what is not UTF-8 becomes what no name may have."""
    return raw.decode(errors="surrogateescape")
