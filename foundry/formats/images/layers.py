"""One file out of one image layer that arrives as a stream, without reading more of it than is needed.

A layer is a tar of what changed against the layers below; a whiteout ``.wh.NAME``
hides NAME of the layers below, ``.wh..wh..opq`` hides all that they have in its folder
(OCI image specification, layer.md). Media types lie about the compression, so the first
bytes decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tarstream import Kind, Member, TarStream

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

_Parts = tuple[bytes, ...]


class State(Enum):
    """What a layer says of a file."""

    FILE = "file"  # it is in this layer
    HIDDEN = "hidden"  # not in this layer, and layers below can't show it
    ABSENT = "absent"  # nothing: look in the layer below


FILE, HIDDEN, ABSENT = State.FILE, State.HIDDEN, State.ABSENT


@dataclass(frozen=True)
class Found:
    """The answer of one layer; `content` is there for FILE alone."""

    kind: State
    content: bytes | None = None


def look(
    chunks: Iterator[bytes], path: str, *, max_file: int = 1 << 20, max_unpacked: int = 16 << 30
) -> Found:
    """The file `path` (relative to the image's root) as this layer has it.

    `chunks` is the layer's blob, in pieces of any size: gzip, zstd or plain. Not one more is
    taken than holds the file's last byte. For HIDDEN and ABSENT all are taken, so that the
    caller can check the blob's digest; for FILE the caller can't, and has to check the content.
    Should the tar hold the file twice, the first one is taken, although unpacking would keep the
    last: the stream is cut off before that. `max_file` bounds the file, `max_unpacked` the
    layer, in bytes.

    Raises FoundryError: ``layer-malformed`` (no layer, damaged, cut off), ``layer-too-large``,
    ``layer-file-too-large``, ``layer-not-a-file`` (a link, folder or device is there instead);
    and what `chunks` raises.
    """
    wanted = parts_of(path.encode())
    if not wanted:
        raise ValueError(f"{path!r} names no file")
    hidden = False
    for member, tar in members(chunks, max_unpacked):
        name = parts_of(member.name)
        if name == wanted:
            return Found(FILE, _content(member, tar, path, max_file))
        hidden = hidden or hides(name, member.kind, wanted)
    return Found(HIDDEN if hidden else ABSENT)


def members(chunks: Iterator[bytes], limit: int) -> Iterator[tuple[Member, TarStream]]:
    """The members of a layer's blob as `look` reads it; of each, the stream that `read` takes its data from."""
    budget = Budget("the layer", Reason.LAYER_MALFORMED, Reason.LAYER_TOO_LARGE, limit)
    tar = TarStream(decompress.stream(_some(chunks), budget), budget)
    for member in tar:
        yield member, tar


def _some(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks; a blob of no bytes is a blob that did not arrive."""
    empty = True
    for chunk in chunks:
        empty = empty and not chunk
        yield chunk
    if empty:
        raise FoundryError("the layer is empty: it has not even a compressor's header", reason=Reason.LAYER_MALFORMED)


def _content(member: Member, tar: TarStream, path: str, max_file: int) -> bytes:
    if member.kind is Kind.HARDLINK:
        where = member.link[:200].decode(errors="replace")
        raise FoundryError(
            f"{path} is a hard link to {where!r} in the layer: its content stands elsewhere",
            reason=Reason.LAYER_NOT_A_FILE,
        )
    if member.kind is not Kind.FILE:
        raise FoundryError(f"{path} is {member.kind.value} in the layer, not a plain file",
                           reason=Reason.LAYER_NOT_A_FILE)
    if member.size > max_file:
        raise FoundryError(
            f"{path} has {member.size} bytes in the layer, {max_file} are the limit", reason=Reason.LAYER_FILE_TOO_LARGE
        )
    return tar.read()


def hides(name: _Parts, kind: Kind, wanted: _Parts) -> bool:
    """Whether a member keeps the layers below from showing the file."""
    if not name:
        return False
    *folder, last = name
    depth = len(folder)
    if tuple(folder) != wanted[:depth]:
        return False
    if last == OPAQUE:
        return depth < len(wanted)
    if last.startswith(WHITEOUT):
        return depth < len(wanted) and last == WHITEOUT + wanted[depth]
    # what is no folder takes the place of the folder below, with all in it
    return name == wanted[: len(name)] and kind is not Kind.FOLDER


def parts_of(name: bytes) -> _Parts:
    """A path from the root without ``.`` and ``..``, as engines clean it before they unpack."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)
