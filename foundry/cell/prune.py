"""What runs of this checkout left on the disk and nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.base.files import remove_tree
from foundry.cell import image, kit
from foundry.run.context import Foundry


@dataclass(frozen=True)
class Waste:
    """One thing to remove: a toolkit or base that a run of ours pulled, a folder, or a file; `size` is in bytes."""

    kind: str
    name: str
    size: int


def waste(foundry: Foundry) -> Iterator[Waste]:
    """All of it: images that runs of ours pulled, kits of kernels that no cell has, image files of published cells.

    Images that no run of ours pulled, pending cells' toolkits and what can be replayed are not waste.
    """
    for reference in foundry.containers.pulled():
        if not foundry.toolkit_needed(reference):
            yield Waste("image", reference, foundry.containers.engine.size_of(reference))
    plan, kits = foundry.states.plan, foundry.root / foundry.config.build / kit.FOLDER
    kernels = {cell.kernel for cell in (*plan.cells, *plan.withheld)}
    for folder in sorted(path for path in kits.glob("[!.]*") if path.is_dir()):
        if kit.kernel_of(folder) not in kernels:
            yield Waste("boot kit", str(folder), sum(file.stat().st_size for file in folder.iterdir()))
    if foundry.settings.keep_images:
        return
    for state in foundry.states.cells.values():
        file = foundry.cell_folder(state.cell) / image.IMAGE_FILE
        if state.adopted and file.exists():
            yield Waste("image file", str(file), file.stat().st_size)


def prune(foundry: Foundry, one: Waste) -> bool:
    """Remove it; False when it is still there, because somebody else uses it."""
    if one.kind == "image":
        foundry.containers.images.drop(one.name)
        return not foundry.containers.engine.has_image(one.name)
    remove_tree(Path(one.name))
    return True
