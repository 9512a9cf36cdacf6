"""What runs of this checkout left on the disk and nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.cell import image
from foundry.run.context import Foundry


@dataclass(frozen=True)
class Waste:
    """One thing to remove: a toolkit or base that a run of ours pulled, or a path; `size` is in bytes."""

    kind: str
    name: str
    size: int


def waste(foundry: Foundry) -> Iterator[Waste]:
    """All of it. Images that no run of ours pulled, pending cells' toolkits and what can be replayed are not waste."""
    for reference in foundry.containers.pulled():
        if not foundry.toolkit_needed(reference):
            yield Waste("image", reference, foundry.containers.engine.size_of(reference))
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
    Path(one.name).unlink(missing_ok=True)
    return True
