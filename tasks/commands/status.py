"""`doit status`: how far each driver is, the coverage table driver × release, each cell; the same as JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from doit.cmd_base import DoitCmdBase

from foundry.base.errors import UsageError
from foundry.base.reasons import Reason
from foundry.base.versions import minor_of, version_key
from foundry.cell.image import IMAGE_FILE
from foundry.plan.cells import Plan
from foundry.plan.state import BUILT, FAILED, PENDING, PUBLISHED, CellState, States, failed_task
from tasks import session
from tasks.commands.backend import OnRecords
from tasks.commands.loader import warn_of_gaps
from tasks.commands.screen import COLUMNS, fitted, terminal_columns
from tasks.commands.told import told

_STATES = (PUBLISHED, BUILT, PENDING, FAILED)  # the farthest first
_FEW = 20  # cells that are shown one by one without being asked for
_OF_STATE, _OF_RELEASE = 10, 12  # characters: first columns
_DIGEST = 19  # characters of a digest that people tell it by


class Status(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Show what is published, built, pending (and why) and failed."""

    name = "status"
    cmd_options = (
        {"name": "pending", "short": "", "long": "pending", "type": bool, "default": False,
         "help": "pending cells alone, each with the reason"},
        {"name": "failed", "short": "", "long": "failed", "type": bool, "default": False,
         "help": "failed cells alone, each with the reason and the log"},
        {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
         "help": "a JSON list, alone on stdout"},
    )

    @told
    def _execute(self, json: bool, pending: bool, failed: bool, pos_args: list[str]) -> int:
        known = session.foundry().states
        named, releases = select(pos_args, [*known.cells.values(), *known.withheld.values()], known.plan)
        kinds = [kind for kind, asked in ((PENDING, pending), (FAILED, failed)) if asked]
        states = [state for state in named if not kinds or state.state in kinds]
        if json:
            self.outstream.write(as_json(states))
            return 0
        columns = terminal_columns()
        lines = list(overview(named))
        if kinds or pos_args or len(named) <= _FEW:
            lines += [] if kinds else table(named, known.plan, releases, columns or COLUMNS)
            lines += ["", *details(states, known, columns)] if states else []
        else:
            lines += ["", "each cell: `doit status DRIVER`, `doit status RELEASE`, `--pending`, `--failed`"]
        for line in [*lines, _count(named)] if lines else [_count(named)]:
            self.outstream.write(line + "\n")
        warn_of_gaps()
        return 0


# -- what is asked for ---------------------------------------------------------


def select(names: Sequence[str], states: Sequence[CellState], plan: Plan) -> tuple[list[CellState], list[str]]:
    """The cells that the names ask for, and those names that are releases or minors; all may be patterns.

    Drivers, families, kernels and cells add up, and so do releases; of both it is what they have in common.
    ``DRIVER@RELEASE`` is a name of each. UsageError for a name that nothing bears.
    """
    subjects, releases = [], []
    of_matrix = {*plan.by_driver, *(family.name for family in plan.families.values())}
    wanted = {release for releases in plan.wants.values() for release in releases}
    wanted |= {one.release for one in plan.mismatches} | {one for state in states for one in state.cell.releases}
    for name in filter(None, "@".join(names).split("@")):
        if any(fnmatchcase(one, name) for one in of_matrix) or any(_is_about(state, name) for state in states):
            subjects.append(name)
        elif any(_is_release(one, name) for one in wanted):
            releases.append(name)
        else:
            raise UsageError(f"there is no driver, family, release or cell {name!r} in the matrix;"
                             f" there are {', '.join(sorted(of_matrix, key=version_key)) or 'none'}")
    return [
        state for state in states
        if (not subjects or any(_is_about(state, name) for name in subjects))
        and (not releases or any(_is_release(one, name) for one in state.cell.releases for name in releases))
    ], releases


def _is_about(state: CellState, name: str) -> bool:
    cell = state.cell
    return any(fnmatchcase(text, name) for text in (cell.driver, cell.family.name, cell.kernel, cell.name))


def _is_release(release: str, name: str) -> bool:
    return fnmatchcase(release, name) or fnmatchcase(minor_of(release), name)


# -- for people ----------------------------------------------------------------


def overview(states: Sequence[CellState]) -> Iterator[str]:
    """A row for each driver, below its family: how many cells it has, and how far they are."""
    drivers: dict[str, dict[str, list[CellState]]] = defaultdict(lambda: defaultdict(list))
    for state in states:
        drivers[state.cell.family.name][state.cell.driver].append(state)
    longest = max((len(text) for family, found in drivers.items() for text in (family, *found)), default=0) + 4
    titles = [*_STATES, "cells", "releases"]
    widths = [len(title) + 2 for title in titles]
    for family, found in drivers.items():
        first = family == next(iter(drivers))
        yield f"{family:<{longest}}{''.join(map(str.rjust, titles, widths)) if first else ''}".rstrip()
        for driver, mine in found.items():
            count = Counter(state.state for state in mine)
            releases = {release for state in mine for release in state.cell.releases}
            numbers = [*(count[kind] for kind in _STATES), len(mine), len(releases)]
            yield f"  {driver:<{longest - 2}}{''.join(map(str.rjust, map(str, numbers), widths))}"


def table(states: Sequence[CellState], plan: Plan, names: Sequence[str], columns: int) -> list[str]:
    """Rows are releases (of these names, if any), columns drivers with their families.

    What would be wider than `columns` is several tables, an empty line before each.
    """
    by_place: dict[tuple[str, str], list[CellState]] = defaultdict(list)
    for state in states:
        for release in state.cell.releases:
            by_place[state.cell.driver, release].append(state)
    drivers = list(dict.fromkeys(state.cell.driver for state in states))
    mismatched = {(one.driver, one.release) for one in plan.mismatches if one.driver in drivers}
    releases = [
        release for release in sorted({release for _, release in {*by_place, *mismatched}}, key=version_key)
        if not names or any(_is_release(release, name) for name in names)
    ]
    words = {
        (driver, release): _word(by_place.get((driver, release), []), (driver, release) in mismatched)
        for driver in drivers for release in releases
    }
    families = {driver: plan.families[driver].name for driver in drivers}
    width = max([len(PUBLISHED), *(len(text) for text in (*drivers, *families.values(), *words.values()))]) + 2
    fit = max(1, (columns - _OF_RELEASE + 2) // width)
    lines = []
    for part in [drivers[first:first + fit] for first in range(0, len(drivers), fit)]:
        rows = [("family", [families[driver] for driver in part]), ("release", part),
                *((release, [words[driver, release] for driver in part]) for release in releases)]
        lines += ["", *((title.ljust(_OF_RELEASE) + "".join(text.ljust(width) for text in texts)).rstrip()
                        for title, texts in rows)]
    return lines


def _word(states: list[CellState], mismatched: bool) -> str:
    """What the table says of a driver and release.

    A release with several kernels is as far as the cell that is least far; the word says how many are so.
    """
    there = [state.state for state in states if not (mismatched and state.why.code == Reason.KERNEL_MISMATCH)]
    if not there:
        return "mismatch" if mismatched else "-"
    least = max(there, key=_STATES.index)
    return least if len(there) == 1 else f"{least} {there.count(least)}/{len(there)}"


def details(states: Sequence[CellState], known: States, columns: int) -> Iterator[str]:
    """What is known of each cell; what a driver's package failed of stands once, before its cells."""
    told = set[str]()
    longest = max(len(state.cell.name) for state in states)
    for state in states:
        task, texts = failed_task(state), _texts(state, known)
        if task and not task.endswith(f":{state.cell.name}"):
            if task not in told:
                told.add(task)
                yield from fitted(f"{state.state:<{_OF_STATE}}{task}", texts, _OF_STATE, columns)
            texts = [f"needs {task}"]
        yield from fitted(f"{state.state:<{_OF_STATE}}{state.cell.name:<{longest}}", texts, _OF_STATE, columns)


def _texts(state: CellState, known: States) -> list[str]:
    if state.state == BUILT and state.image is not None:
        return [f"{state.image.digest[:_DIGEST]}  {state.image.size / 1e6:.2f} MB",
                f"{known.cell_path(state.cell)}/{IMAGE_FILE}"]
    if state.adopted and state.row is not None:
        return [state.row.digest[:_DIGEST], *state.row.registries]
    log = (state.failure or {}).get("log")
    return [state.reason, *([f"log: {_here(str(log))}"] if log else [])]


def _here(path: str) -> str:
    """A path as short as it can be said from here."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _count(states: Sequence[CellState]) -> str:
    count = Counter(state.state for state in states)
    unit = "cell" if len(states) == 1 else "cells"
    return f"{len(states)} {unit}: " + ", ".join(f"{count[kind]} {kind}" for kind in _STATES)


# -- for machines --------------------------------------------------------------


def as_json(states: Sequence[CellState]) -> str:
    """The cells as docs/commands.md has them."""
    return json.dumps([_row(state) for state in states], indent=2) + "\n"


def _row(state: CellState) -> dict[str, Any]:
    cell, row = state.cell, state.row
    current = state.state in (PUBLISHED, BUILT)
    digest = row.digest if row is not None and state.adopted else state.image.digest if state.image else None
    images = [f"{name}@{row.digest}" for name in row.registries] if row is not None and state.adopted else []
    return {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "flavour": cell.flavour, "releases": list(cell.releases), "state": state.state, "reason": state.reason,
        "code": state.why.code, "changed": list(state.why.changed), "failure": _failure(state),
        "key": state.key.key if state.key else None, "digest": digest if current else None,
        "image": images[0] if images else None, "images": images, "tag": cell.tag if current else None,
    }


def _failure(state: CellState) -> dict[str, Any] | None:
    """Of a failed cell: the stage, what went wrong, what to do, the log, the command to replay."""
    if state.failure is None:
        return None
    return {name: state.failure.get(name, "") for name in ("stage", "message", "hint", "log", "replay", "retry")}
