"""Tar archives of packages, unpacked where nothing can leave the folder; see `foundry.formats.trees.tree`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees.decompress import Blame, kind_of, opened
from foundry.formats.trees.tree import Tree, safe_name

MAX_UNPACKED = 2 << 30  # bytes of an archive, decompressed
_CHUNK = 1 << 18
_LAST_TIME = (1 << 32) - 1


def unpack_tar(data: bytes, root: Path, *, what: str, limit: int = MAX_UNPACKED) -> list[str]:
    """Write the archive's files below the new folder `root`; the paths written, in the archive's order.

    Files get mode 0644 or 0755 and their time, links must stay inside.
    Raises FoundryError: ``tar-damaged``, ``tar-too-large``, ``package-unsafe-path`` and
    ``package-unsafe-link`` as for RPMs, ``package-unsafe-type`` for devices and pipes.
    """
    tree = Tree(root)
    written: list[str] = []
    for tar, member in _members(data, what, limit):
        name = _name(member.name)
        if not name:
            continue
        if member.isdir():
            tree.folder(name)
        elif member.issym():
            tree.symlink(name, member.linkname)
        elif member.islnk():
            tree.hardlink(name, _existing(_name(member.linkname), written, what))
        elif member.isfile():
            source = tar.extractfile(member)
            with tree.file(name, bool(member.mode & 0o111), max(0, int(member.mtime))) as sink:
                while source is not None and (chunk := source.read(_CHUNK)):
                    sink.write(chunk)
        else:
            raise FoundryError(f"{what} holds {name}, which is no file, folder or link",
                               reason=Reason.PACKAGE_UNSAFE_TYPE)
        written.append(name)
    tree.close()
    return written


def read_small(data: bytes, *, limit: int, what: str) -> dict[str, bytes]:
    """The plain files of a small archive by name."""
    found = {}
    for tar, member in _members(data, what, limit):
        source = tar.extractfile(member) if member.isfile() else None
        if source is not None and (name := _name(member.name)):
            found[name] = source.read()
    return found


def _members(data: bytes, what: str, limit: int) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    stream = opened(data, kind_of(data), limit=limit, blame=Blame(what, Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE))
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                yield tar, member
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:  # headers upon headers
        raise FoundryError(f"{what} is no whole tar archive: {error}", reason=Reason.TAR_DAMAGED) from error


def _name(name: str) -> str:
    """The member's path; empty for the archive's own folder."""
    plain = name.removeprefix("./").removesuffix("/")
    return safe_name(plain) if plain not in ("", ".") else ""


def _existing(target: str, written: list[str], what: str) -> str:
    if target not in written:
        raise FoundryError(f"{what} has a hard link to {target}, which it does not hold", reason=Reason.TAR_DAMAGED)
    return target


def newest(data: bytes, *, what: str, limit: int = MAX_UNPACKED) -> int:
    """The time of the newest file in the archive, in seconds since 1970; 0 where it holds none."""
    times = (member.mtime for _, member in _members(data, what, limit) if member.isfile())
    return min(max(0, int(max(times, default=0))), _LAST_TIME)
