"""The files of an image's layers, put on top of each other, in memory; for images that are small.

Format: OCI image layer specification, version 1: a layer is a tar, ``.wh.NAME``
removes a file or folder of the layers below, ``.wh..wh..opq`` all of a folder.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees.decompress import Blame, stream

MAX_UNPACKED = 1 << 30  # bytes of one layer
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_BLAME = Blame("the image's layer", Reason.LAYER_MALFORMED, Reason.LAYER_TOO_LARGE)


@dataclass(frozen=True)
class Entry:
    """A file, folder or link: `kind` is ``file``, ``folder`` or ``link``; `target` is a link's, as it stands there."""

    kind: str
    content: bytes = field(default=b"", repr=False)
    target: str = ""
    mode: int = 0


def unpack(layers: Iterable[bytes]) -> Mapping[str, Entry]:
    """Path without leading slash → entry, of the whole image; layers as stored, the lowest first.

    Hard links become what they lead to. Raises FoundryError ``layer-malformed``, ``layer-too-large``.
    """
    files: dict[str, Entry] = {}
    for layer in layers:
        _apply(files, b"".join(stream(iter([layer]), limit=MAX_UNPACKED, blame=_BLAME)))
    return files


def _apply(files: dict[str, Entry], data: bytes) -> None:
    fresh: dict[str, Entry] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name.lstrip("/"))
                name = str(path)
                if path.name == _OPAQUE:
                    _remove(files, str(path.parent), itself=False)
                elif path.name.startswith(_WHITEOUT):
                    _remove(files, str(path.with_name(path.name.removeprefix(_WHITEOUT))), itself=True)
                else:
                    fresh[name] = _entry(tar, member, {**files, **fresh})
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:  # headers upon headers
        raise FoundryError(f"a layer of the image is no tar: {error}", reason=Reason.LAYER_MALFORMED) from error
    files |= fresh


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, known: Mapping[str, Entry]) -> Entry:
    if member.isdir():
        return Entry("folder", mode=member.mode)
    if member.issym():
        return Entry("link", target=member.linkname, mode=member.mode)
    if member.islnk():
        target = known.get(str(PurePosixPath(member.linkname.lstrip("/"))))
        if target is None:
            raise FoundryError(f"{member.name} is a hard link to nothing", reason=Reason.LAYER_MALFORMED)
        return target
    opened = tar.extractfile(member) if member.isfile() else None
    if opened is None:
        return Entry("other", mode=member.mode)
    return Entry("file", opened.read(), mode=member.mode)


def _remove(files: dict[str, Entry], name: str, *, itself: bool) -> None:
    prefix = "" if name == "." else f"{name}/"
    for path in [path for path in files if path.startswith(prefix) or (itself and path == name)]:
        del files[path]
