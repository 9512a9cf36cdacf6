"""What a run would do, before it does anything: what is fetched, compiled, imaged, pushed, replaced, and why.

Two ways: against what is built and published here, or against another commit's configuration, as if all of that were
published. Neither makes a network request nor changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundry.base.reasons import Reason
from foundry.fleet.costs import FETCH, Costs
from foundry.plan.cells import Cell
from foundry.plan.changes import Change, Changes, part_words
from foundry.plan.inputs import InputChanges
from foundry.plan.keys import CellKey
from foundry.plan.state import CellState, States
from foundry.plan.why import Why
from foundry.run.context import Foundry, has_ledger

# What people call the stages of drivers and cells, in their order.
_OF_DRIVERS = {"fetch": "fetch", "source": "unpack"}
_OF_CELLS = {"module": "compile", "sign": "sign", "image": "image", "boot": "boot", "push": "push"}


@dataclass(frozen=True)
class Replaced:
    """The image that stands under the cell's tags now; its digest is empty where only its key is known."""

    digest: str
    key: str
    tags: tuple[str, ...]
    registries: tuple[str, ...]


@dataclass(frozen=True)
class DriverSteps:
    """What is done for a driver's package and sources."""

    driver: str
    family: str
    actions: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class CellSteps:
    """What is done for a cell; `seconds` without its toolkit's pull."""

    cell: Cell
    actions: tuple[str, ...]
    why: Why
    changes: tuple[Change, ...]
    seconds: float
    replaces: Replaced | None = None

    def as_data(self) -> dict[str, Any]:
        """As `doit plan --json` has it."""
        cell = self.cell
        return {
            "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
            "releases": list(cell.releases), "toolkit": cell.toolkit, "actions": list(self.actions),
            "reason": self.why.text, "code": self.why.code,
            "changes": [{**asdict(one), "name": one.name} for one in self.changes],
            "replaces": asdict(self.replaces) if self.replaces is not None else None, "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Preview:
    """All that would be done. `other` are further tasks with their reasons, `removed` cells that are wanted no more.

    `known_failures` are not compiled again. `pull` is how many seconds a toolkit takes, `slots` how many cells at once.
    `notes` say what this can't know.
    """

    drivers: tuple[DriverSteps, ...]
    cells: tuple[CellSteps, ...]
    pull: float
    slots: int
    known_failures: tuple[CellState, ...] = ()
    other: tuple[tuple[str, str], ...] = ()
    removed: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()

    def totals(self) -> dict[str, int]:
        """How many of each there are, and the seconds of all: an order of magnitude."""
        done = [action for one in self.drivers for action in one.actions]
        done += [action for one in self.cells for action in one.actions]
        count = {action: done.count(action) for action in (*_OF_DRIVERS.values(), *_OF_CELLS.values())}
        toolkits = {(one.cell.toolkit, one.cell.arch) for one in self.cells if "compile" in one.actions}
        at_once = max(1, min(self.slots, len(self.cells)))
        seconds = (FETCH * count["fetch"] + self.pull * len(toolkits)
                   + sum(one.seconds for one in self.cells) / at_once)
        return {**count, "replace": sum(one.replaces is not None for one in self.cells), "pull": len(toolkits),
                "seconds": round(seconds)}

    def as_data(self) -> dict[str, Any]:
        """As `doit plan --json` has it."""
        return {
            "drivers": [asdict(one) for one in self.drivers], "cells": [one.as_data() for one in self.cells],
            "known_failures": [
                {"driver": one.cell.driver, "kernel": one.cell.kernel, "arch": one.cell.arch, "reason": one.reason,
                 "log": str((one.failure or {}).get("log", ""))} for one in self.known_failures],
            "removed": [{"driver": one.driver, "kernel": one.kernel, "arch": one.arch} for one in self.removed],
            "other": [{"task": name, "reason": reason} for name, reason in self.other],
            "notes": list(self.notes), "totals": self.totals(),
        }


def preview(foundry: Foundry, pending: Mapping[str, str], cells: Iterable[Cell], slots: int) -> Preview:
    """What a run would do now: `pending` are its tasks with their reasons, `cells` all that it could be about."""
    drivers: dict[str, list[str]] = {}
    stages: dict[str, list[str]] = {}
    other = []
    for task, reason in pending.items():
        stage, _, subject = task.partition(":")
        if stage in _OF_DRIVERS:
            drivers.setdefault(subject, []).append(stage)
        elif stage in _OF_CELLS:
            stages.setdefault(subject, []).append(stage)
        else:
            other.append((task, reason))
    states, costs, changes = foundry.states, Costs(foundry), InputChanges(foundry.states)
    return Preview(
        tuple(DriverSteps(driver, states.plan.families[driver].name, _words(_OF_DRIVERS, found),
                          pending[f"{found[0]}:{driver}"]) for driver, found in drivers.items()),
        tuple(_steps(states.of(cell), stages[cell.name], pending, costs, changes)
              for cell in states.plan.cells if cell.name in stages),
        costs.pull, slots, tuple(state for state in map(states.of, cells) if state.given_up), tuple(other),
        notes=tuple(_unknown(foundry, dict.fromkeys(states.plan.by_name[name].driver for name in stages))),
    )


def _steps(
    state: CellState, stages: Sequence[str], pending: Mapping[str, str], costs: Costs, changes: InputChanges
) -> CellSteps:
    why, row, key = state.why, state.row, state.key
    if set(stages) == {"push"}:
        why = Why(Reason.NOT_PUBLISHED, pending[f"push:{state.cell.name}"])
    replaced = None
    if "push" in stages and row is not None and key is not None and ("image" in stages or row.key != key.key):
        replaced = Replaced(row.digest, row.key, row.tags, row.registries)
    return CellSteps(state.cell, _words(_OF_CELLS, stages), why, changes.of(state), costs.of(state.cell, stages),
                     replaced)


def compared(foundry: Foundry, before: States | None, cells: Sequence[Cell], slots: int, *, push: bool) -> Preview:
    """What differs of these cells from those of another configuration (None: of none), each as if it were published."""
    found, unknown, costs, changes = list[CellSteps](), 0, Costs(foundry), Changes()
    known = before.plan.by_name if before is not None else {}
    wanted = {"module", "image", *(["sign"] if foundry.settings.signing.key else []),
              *(["boot"] if foundry.settings.proof != "off" else [])}
    for state in map(foundry.states.of, cells):
        old = before.of(known[state.cell.name]).key if before is not None and state.cell.name in known else None
        if old is None or state.key is None:
            if state.cell.name in known:
                unknown += 1
                continue
            why, changed = Why(Reason.NOT_BUILT, "a new cell"), tuple[Change, ...]()
            stages = ["module", "sign", "image", "boot"]
        elif (old.key, old.proof) == (state.key.key, state.key.proof):
            continue
        else:
            changed = changes.between(old.parts, state.key.parts, old.value, state.key.value)
            parts = tuple(one.part for one in changed)
            why = Why(Reason.CHANGED, f"changed: {part_words(parts)}", parts)
            stages = ["image"] if old.key != state.key.key else []
            stages += ["module"] if old.module != state.key.module else []
            stages += ["sign"] if old.signed_parts != state.key.signed_parts else []
            stages += ["boot"] if old.proof != state.key.proof else []
        stages = [stage for stage in stages if stage in wanted]
        stages += ["push"] if push and "image" in stages else []
        found.append(CellSteps(state.cell, _words(_OF_CELLS, stages), why, changed, costs.of(state.cell, stages),
                               _standing(old, state.cell) if push else None))
    plan, drivers = foundry.states.plan, {cell.driver for cell in cells}
    removed = [cell for name, cell in known.items() if name not in plan.by_name
               and (cell.driver in drivers or len(cells) == len(plan.cells))]
    notes = [f"{unknown} cells can't be compared: their packages or bases are not locked"] if unknown else []
    return Preview((), tuple(found), costs.pull, slots, removed=tuple(removed), notes=tuple(notes))


def _standing(old: CellKey | None, cell: Cell) -> Replaced | None:
    return Replaced("", old.key, (cell.tag,), ()) if old is not None else None


def _unknown(foundry: Foundry, drivers: Iterable[str]) -> Iterable[str]:
    lacking = [driver for driver in drivers if foundry.settings.publish and not has_ledger(foundry, driver)]
    if lacking:
        yield (f"what is published of {', '.join(lacking)} is not known here: a run asks the registry first, and does"
               " not build what it has")


def _words(names: Mapping[str, str], stages: Iterable[str]) -> tuple[str, ...]:
    found = set(stages)
    return tuple(word for stage, word in names.items() if stage in found)
