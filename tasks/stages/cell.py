"""A cell's stages as a run performs them: with its key, its times, and what is left of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.core.cells import Cell
from tasks.core.errors import FoundryError
from tasks.core.files import pretty_json, read_json, write_atomic
from tasks.core.keys import CellKey
from tasks.core.state import FAILURE_FILE
from tasks.stages import image, module
from tasks.stages.context import Foundry

TIMES_FILE = "times.json"


def run_module(foundry: Foundry, cell: Cell) -> None:
    """Stage module; the toolkit goes when no other pending cell needs it."""
    _run(foundry, cell, "module", lambda key: module.module(foundry, cell, key))
    if foundry.schedule.toolkit_done(cell) and not foundry.settings["keep_toolkits"]:
        foundry.images.drop(cell.toolkit)


def run_image(foundry: Foundry, cell: Cell) -> None:
    """Stage image."""
    _run(foundry, cell, "image", lambda key: image.image(foundry, cell, key))


def _run(foundry: Foundry, cell: Cell, stage: str, work: Callable[[CellKey], None]) -> None:
    folder = foundry.cell_folder(cell)
    failure = folder / FAILURE_FILE
    key = foundry.key(cell)
    if isinstance(key, str):
        raise FoundryError(f"{cell.name} can't be built: {key}", reason="key-unknown")
    failure.unlink(missing_ok=True)
    started = time.monotonic()
    try:
        work(key)
    except FoundryError as error:
        fact = {"stage": stage, "key": key.key, "reason": error.reason, "message": error.message}
        write_atomic(failure, pretty_json(fact))
        raise
    times = read_json(folder / TIMES_FILE) or {}
    times[stage] = round(time.monotonic() - started, 3)
    write_atomic(folder / TIMES_FILE, pretty_json(times))
