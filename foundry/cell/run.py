"""A cell's stages as a run performs them: with its key, its times, and what is left of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import pretty_json, read_json, write_atomic
from foundry.base.reasons import Reason
from foundry.base.records import write_record
from foundry.cell import boot, image, module, sign
from foundry.plan.cells import Cell
from foundry.plan.failures import known_failure
from foundry.plan.keys import CellKey
from foundry.plan.state import CellState
from foundry.run.context import Foundry
from foundry.run.failure import noted

TIMES_FILE = "times.json"


def measured_times(foundry: Foundry, cell: Cell) -> Mapping[str, float]:
    """Seconds of the cell's stages when they were last done here, ``pull`` of them for waiting for the toolkit."""
    found = read_json(foundry.cell_folder(cell) / TIMES_FILE)
    return {
        name: float(value) for name, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(value, int | float) and 0 <= value < 24 * 3600  # no stage takes a day
    }


def run_module(foundry: Foundry, cell: Cell) -> None:
    """Stage module; the toolkit goes when no other pending cell needs it."""
    _run(foundry, cell, "module", lambda key, _: module.module(foundry, cell, key))
    foundry.schedule.compiled(cell.name)
    toolkit = foundry.containers.platforms.known(cell.toolkit, cell.arch)
    if not foundry.settings.keep_toolkits and not foundry.toolkit_needed(toolkit):
        foundry.containers.images.drop(toolkit)


def _done_meanwhile(foundry: Foundry, state: CellState, stage: str) -> bool:
    """True when the stage turns out to be done: its key was not known when the run began, but is now."""
    if foundry.states.of(state.cell).key is not None:
        return False
    if state.adopted and stage != "boot":
        if stage == "image":
            image.adopt(foundry, state)
        else:  # doit has the later stages depend on this record
            write_record(foundry.cell_folder(state.cell) / f"{stage}.json", stage,
                         {"key": "", "key_inputs": {}, "inputs": {}, "outputs": {}, "adopted": True})
        return True
    done = {"module": state.module_done, "sign": state.signed, "image": state.image_done, "boot": state.proven}
    return all(done[name] for name in list(done)[:list(done).index(stage) + 1])


def require_here(foundry: Foundry, cell: Cell) -> None:
    """OutsideError (``arch-not-here``) where the cell's toolkit can't be started on this machine."""
    why = foundry.states.not_here.get(cell.arch)
    if why:
        raise OutsideError(f"{cell.name} {why}", reason=Reason.ARCH_NOT_HERE,
                           hint="`doit doctor` says what would mend it")


def run_sign(foundry: Foundry, cell: Cell) -> None:
    """Stage sign."""
    _run(foundry, cell, "sign", lambda key, _: sign.sign(foundry, cell, key))


def run_boot(foundry: Foundry, cell: Cell) -> None:
    """Stage boot."""
    _run(foundry, cell, "boot", lambda key, state: boot.boot(foundry, cell, state, key))


def run_image(foundry: Foundry, cell: Cell) -> None:
    """Stage image."""
    _run(foundry, cell, "image", lambda key, _: image.image(foundry, cell, key))


def _run(foundry: Foundry, cell: Cell, stage: str, work: Callable[[CellKey, CellState], float | None]) -> None:
    state = foundry.states.refresh(cell)
    key = state.key
    if key is None:
        raise FoundryError(f"{cell.name} can't be built: {state.reason}", reason=state.why.code)
    if _done_meanwhile(foundry, state, stage):
        return
    if state.given_up and state.failure is not None:
        raise known_failure(cell, state.failure)
    if stage == "module":
        require_here(foundry, cell)
    folder = foundry.cell_folder(cell)
    started = time.monotonic()
    with noted(folder, stage=stage, key=key.key, circumstances=foundry.states.circumstances.of(cell)):
        waited = work(key, state)
    from foundry.plan.inputs import keep_inputs

    keep_inputs(foundry.root / foundry.config.build, key)
    found = read_json(folder / TIMES_FILE)
    times = found if isinstance(found, dict) else {}
    times[stage] = round(time.monotonic() - started, 3)
    if waited is not None:
        times["pull"] = round(waited, 3)
    write_atomic(folder / TIMES_FILE, pretty_json(times))
