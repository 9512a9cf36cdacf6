"""What a guest begins with: the toolkit's programs, the image's ``/opt``, and the plan of what it is to try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.boot.initramfs import Entry, archive, console, file, folder, link
from foundry.boot.verdict import Wanted

if TYPE_CHECKING:
    from foundry.formats.images.rootfs import Entry as Found

_OPT = "opt/"
_FOLDERS = ("proc", "sys", "dev", "tmp")
_BUSYBOX = ("bin/busybox", "usr/bin/busybox")


def contents(
    image: Mapping[str, Found], wanted: Wanted, init: bytes, refused: Mapping[str, bytes], *, mounts: bool
) -> bytes:
    """The archive that the kernel unpacks after that of the toolkit's programs.

    `image` are the files of the cell's image by path, `init` is the first program, `refused` are modules that must not
    be loaded. Where the toolkit has nothing that `mounts` file systems, the image's busybox does. FoundryError
    ``toolkit-unusable`` where neither can.
    """
    plan = f'LOAD="{" ".join(wanted.load)}"\nNAMES="{" ".join(wanted.names)}"\n'
    return archive([
        *_tree(image), *(file(f"foundry/refused/{name}", data) for name, data in refused.items()),
        *map(folder, _FOLDERS), console(), file("init", init, executable=True), file("foundry/plan", plan.encode()),
        *([] if mounts else _mount(image)),
    ])


def _tree(image: Mapping[str, Found]) -> Iterable[Entry]:
    for path, entry in image.items():
        if path.startswith(_OPT):
            yield folder(path) if entry.kind == "folder" else (
                link(path, entry.target) if entry.kind == "link" else file(path, entry.content))


def _mount(image: Mapping[str, Found]) -> list[Entry]:
    found = next((image[place] for place in _BUSYBOX if place in image and image[place].kind == "file"), None)
    if found is None:
        raise FoundryError("neither toolkit nor image has what mounts file systems in a guest",
                           reason=Reason.TOOLKIT_UNUSABLE, hint="add `mount` (util-linux) to the toolkit")
    return [file("foundry/bin/busybox", found.content, executable=True), link("foundry/bin/mount", "busybox")]
