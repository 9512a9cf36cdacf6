"""The files of an image's layers, put on top of each other, in memory; for images that are small.

Format: OCI image layer specification, version 1: a layer is a tar, ``.wh.NAME``
removes a file or folder of the layers below, ``.wh..wh..opq`` all of a folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foundry.base.reasons import Reason
from foundry.formats.images.layers import OPAQUE, WHITEOUT, parts_of
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tarstream import Kind, Member, TarStream

MAX_UNPACKED = 1 << 30  # bytes of all layers
_DEEPEST = 100  # folders in folders
_KINDS = {Kind.FOLDER: "folder", Kind.SYMLINK: "link", Kind.FILE: "file"}


@dataclass(frozen=True)
class Entry:
    """A file, folder or link: `kind` is ``file``, ``folder`` or ``link``; `target` is a link's, as it stands there."""

    kind: str
    content: bytes = field(default=b"", repr=False)
    target: str = ""


@dataclass
class _Node:
    """A name in a folder; `entry` is None for a folder that no layer describes."""

    entry: Entry | None = None
    inside: dict[bytes, _Node] = field(default_factory=dict)

    def find(self, parts: Sequence[bytes]) -> _Node | None:
        """What is there under a path."""
        node: _Node | None = self
        for part in parts:
            node = node.inside.get(part) if node is not None else None
        return node


def unpack(layers: Iterable[bytes], *, limit: int = MAX_UNPACKED) -> Mapping[str, Entry]:
    """Path without leading slash → entry, of the whole image; layers as stored, the lowest first.

    Hard links become what they lead to. Takes as many steps as the names of all members have parts: a layer's members
    and whiteouts are looked up in the tree of folders, never searched for.

    Raises FoundryError ``layer-malformed``, and ``layer-too-large`` for more than `limit` bytes in all layers.
    """
    budget = Budget("the image's layers", Reason.LAYER_MALFORMED, Reason.LAYER_TOO_LARGE, limit)
    root = _Node()
    for layer in layers:
        _merge(root, _layer(root, layer, budget))
    return {b"/".join(parts).decode(errors="surrogateescape"): entry for parts, entry in _entries(root)}


def _layer(root: _Node, data: bytes, budget: Budget) -> _Node:
    """What a layer adds; what its whiteouts name is taken out of `root`."""
    added = _Node()
    tar = TarStream(decompress.stream(iter([data]), budget), budget)
    for member in tar:
        parts = parts_of(member.name)
        if len(parts) > _DEEPEST:
            raise budget.fault(f"have a file in {len(parts)} folders")
        if not parts:
            continue
        *folder, last = parts
        if last.startswith(WHITEOUT):
            below = root.find(folder)
            if below is not None and last == OPAQUE:
                below.inside.clear()
            elif below is not None:
                below.inside.pop(last.removeprefix(WHITEOUT), None)
            continue
        node = added
        for part in parts:
            if part not in node.inside:
                budget.entry()
                node.inside[part] = _Node()
            node = node.inside[part]
        node.entry = _entry(member, tar, (added, root), budget)
    return added


def _entry(member: Member, tar: TarStream, known: Sequence[_Node], budget: Budget) -> Entry:
    if member.kind is Kind.HARDLINK:
        target = parts_of(member.link)
        found = [node.entry for tree in known if (node := tree.find(target)) is not None and node.entry is not None]
        if not found:
            name, link = (one[:200].decode(errors="replace") for one in (member.name, member.link))
            raise budget.fault(f"have a hard link {name!r} to {link!r}, which is not there")
        return found[0]
    content = b""
    if member.kind is Kind.FILE:
        budget.keep(member.size)
        content = tar.read()
    target_text = member.link.decode(errors="surrogateescape") if member.kind is Kind.SYMLINK else ""
    return Entry(_KINDS.get(member.kind, "other"), content, target_text)


def _merge(below: _Node, above: _Node) -> None:
    """Put what a layer adds on top; what is no folder takes the place of a folder with all in it."""
    waiting = [(below, above)]
    while waiting:
        old, new = waiting.pop()
        if new.entry is not None:
            old.entry = new.entry
            if new.entry.kind != "folder":
                old.inside.clear()
        for name, node in new.inside.items():
            if name in old.inside:
                waiting.append((old.inside[name], node))
            else:
                old.inside[name] = node


def _entries(root: _Node) -> Iterable[tuple[tuple[bytes, ...], Entry]]:
    waiting: list[tuple[tuple[bytes, ...], _Node]] = [((), root)]
    while waiting:
        parts, node = waiting.pop()
        if node.entry is not None:
            yield parts, node.entry
        waiting += [((*parts, name), one) for name, one in node.inside.items()]
