"""What a killed run of this checkout left: processes, temporary files, and all that is at podman."""

from __future__ import annotations

import tempfile
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import remove_abandoned
from foundry.base.process import end_marked
from foundry.run.context import Foundry


def remove_leftovers(foundry: Foundry) -> bool:
    """Remove it, and nothing of others; only under the run's lock. False, with a warning, where podman refuses."""
    build = foundry.root / foundry.config.build
    end_marked(build)
    settings = (foundry.root / foundry.settings.catalogue).parent, foundry.root / foundry.config.locks.folder
    for folder in (*settings, build.parent, build, *build.glob("*"), *build.glob("*/*")):
        if folder.is_dir():
            remove_abandoned(folder)
    remove_abandoned(Path(tempfile.gettempdir()), "kmod-foundry-*")
    try:
        foundry.containers.remove_leftovers()
    except FoundryError as error:
        foundry.journal.warn(f"what a killed run left at podman could not be removed: {error.message}")
        return False
    return True
