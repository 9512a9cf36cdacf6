"""A layer with other contents in some of its files: all else of the tar stays as it is, byte by byte.

Names, modes, owners, times, extended headers and the order of members are those of the layer: nothing is packed anew.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from foundry.base.reasons import Reason
from foundry.formats.images.layers import parts_of
from foundry.formats.images.rootfs import MAX_UNPACKED
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tarstream import Kind, Member, TarStream

_BLOCK = 512
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)  # of a header


@dataclass(frozen=True)
class Change:
    """What a file has, and what it shall have instead."""

    old: bytes
    new: bytes


@dataclass(frozen=True)
class Rewritten:
    """A layer as a plain tar; `paths` are the files whose contents are new, `mtime` (seconds) is that of the last."""

    plain: bytes = field(repr=False)
    end: int  # of the last member, in bytes
    paths: frozenset[str]
    mtime: int = 0

    def with_file(self, path: str, content: bytes, folders: Iterable[str]) -> Rewritten:
        """The layer with these folders and one more file at its end."""
        entries = [*((name, tarfile.DIRTYPE, b"") for name in folders), (path, tarfile.REGTYPE, content)]
        added = b"".join(map(self._member, *zip(*entries, strict=True)))
        return Rewritten(self.plain[:self.end] + added + self.plain[self.end:], self.end + len(added),
                         self.paths | {path}, self.mtime)

    def _member(self, name: str, kind: bytes, content: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mtime, info.mode = kind, len(content), self.mtime, 0o644
        if kind == tarfile.DIRTYPE:
            info.mode = 0o755
        return info.tobuf(tarfile.USTAR_FORMAT) + _padded(content)


def rewrite(layer: bytes, changes: Mapping[str, Change]) -> Rewritten:
    """The layer, as stored, with the changes of those files that are in it and have the old content.

    FoundryError (``layer-malformed``, ``layer-too-large``); the first also for a file whose size stands elsewhere than
    in its header.
    """
    budget = _budget()
    plain = b"".join(decompress.stream(iter([layer]), budget))
    parts: list[bytes] = []
    paths: set[str] = set()
    done = end = mtime = 0
    for member, path, content in _members(plain, changes, budget):
        end = _end(member)
        if content is None or content != changes[path].old:
            continue
        change, header = changes[path], bytearray(plain[member.at - _BLOCK:member.at])
        if header[_SIZE].rstrip(b" \0").lstrip(b" 0") != f"{member.size:o}".encode():
            raise budget.fault(f"has {path} with its size in a further header")
        header[_SIZE] = f"{len(change.new):011o}\0".encode()
        header[_CHECKSUM] = b" " * 8
        header[_CHECKSUM] = f"{sum(header):06o}\0 ".encode()
        parts += [plain[done:member.at - _BLOCK], bytes(header), _padded(change.new)]
        done, mtime = end, member.mtime
        paths.add(path)
    grown = sum(map(len, parts)) - done
    return Rewritten(b"".join([*parts, plain[done:]]), end + grown, frozenset(paths), mtime)


def outline(layer: bytes, paths: Collection[str]) -> tuple[bytes, bytes]:
    """The layer as a plain tar without the contents of these files and what their headers say of it.

    In two parts: what stands before the end of the last member, and what stands behind it. FoundryError as `rewrite`.
    """
    budget = _budget()
    plain = b"".join(decompress.stream(iter([layer]), budget))
    parts: list[bytes] = []
    done = end = 0
    for member, _, content in _members(plain, paths, budget):
        end = _end(member)
        if content is not None:
            header = bytearray(plain[member.at - _BLOCK:member.at])
            header[_CHECKSUM] = header[_SIZE] = b""
            parts += [plain[done:member.at - _BLOCK], bytes(header)]
            done = end
    return b"".join([*parts, plain[done:end]]), plain[end:]


def _members(plain: bytes, paths: Collection[str], budget: Budget) -> Iterator[tuple[Member, str, bytes | None]]:
    """The members with their paths; of files with one of these paths also the content."""
    tar = TarStream(iter([plain]), budget)
    for member in tar:
        path = b"/".join(parts_of(member.name)).decode(errors="surrogateescape")
        yield member, path, tar.read() if member.kind is Kind.FILE and path in paths else None


def _end(member: Member) -> int:
    return member.at + member.size + -member.size % _BLOCK


def _budget() -> Budget:
    return Budget("the layer", Reason.LAYER_MALFORMED, Reason.LAYER_TOO_LARGE, MAX_UNPACKED)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)
