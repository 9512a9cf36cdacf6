"""`doit status`: the coverage table driver × release, and the same as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from doit.cmd_base import DoitCmdBase

from foundry.base.errors import UsageError
from foundry.base.reasons import Reason
from foundry.base.versions import version_key
from foundry.plan.state import BUILT, FAILED, PENDING, PUBLISHED, CellState, States
from tasks import session
from tasks.commands.backend import OnRecords
from tasks.commands.loader import warn_of_gaps
from tasks.commands.told import told

_FARTHEST_FIRST = (PUBLISHED, BUILT, PENDING, FAILED)


class Status(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Show what is published, built, pending (and why) and failed."""

    name = "status"
    doc_purpose = "coverage of drivers and releases: published, built, pending and why, failed"
    doc_usage = ""
    doc_description = None
    cmd_options = (
        {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
         "help": "a JSON list, alone on stdout"},
    )

    @told
    def _execute(self, json: bool, pos_args: list[str]) -> int:
        if pos_args:
            raise UsageError(f"status takes no tasks, but got {' '.join(pos_args)}")
        known = session.foundry().states
        states = [*known.cells.values(), *known.withheld.values()]
        if json:
            self.outstream.write(as_json(states))
            return 0
        for line in table(states, known):
            self.outstream.write(line + "\n")
        warn_of_gaps()
        return 0


def as_json(states: list[CellState]) -> str:
    """The cells as DESIGN's contract has them."""
    return json.dumps([_row(state) for state in states], indent=2) + "\n"


def table(states: list[CellState], known: States) -> list[str]:
    """Rows are releases, columns drivers with their families; then a line a cell: why it is pending, where it is."""
    drivers = list(dict.fromkeys(state.cell.driver for state in states))
    by_place: dict[tuple[str, str], list[CellState]] = defaultdict(list)
    for state in states:
        for release in state.cell.releases:
            by_place[state.cell.driver, release].append(state)
    mismatched = {(one.driver, one.release) for one in known.plan.mismatches}
    releases = sorted({release for _, release in {*by_place, *mismatched}}, key=version_key)
    words = {
        (driver, release): _word(by_place.get((driver, release), []), (driver, release) in mismatched)
        for driver in drivers for release in releases
    }
    families = [known.plan.families[driver].name for driver in drivers]
    width = max([len(PUBLISHED), *(len(text) for text in (*drivers, *families, *words.values()))], default=0) + 2
    lines = [(title.ljust(12) + "".join(text.ljust(width) for text in texts)).rstrip()
             for title, texts in (("family", families), ("release", drivers)) if drivers]
    for release in releases:
        line = "".join(words[driver, release].ljust(width) for driver in drivers)
        lines.append((release.ljust(12) + line).rstrip())
    count = {name: sum(1 for state in states if state.state == name) for name in (PUBLISHED, BUILT, PENDING, FAILED)}
    lines.append("")
    longest = max((len(state.cell.name) for state in states), default=0)
    lines += [f"{state.state:<10}{state.cell.name:<{longest}}  {_detail(state, known)}" for state in states]
    unit = "cell" if len(states) == 1 else "cells"
    lines.append(f"{len(states)} {unit}: " + ", ".join(f"{number} {name}" for name, number in count.items()))
    return lines


def _word(states: list[CellState], mismatched: bool) -> str:
    """What the table says of a driver and release.

    A release with several kernels is as far as the cell that is least far; the word says how many are so.
    """
    there = [state.state for state in states if not (mismatched and state.why.code == Reason.KERNEL_MISMATCH)]
    if not there:
        return "mismatch" if mismatched else "-"
    least = max(there, key=_FARTHEST_FIRST.index)
    return least if len(there) == 1 else f"{least} {there.count(least)}/{len(there)}"


def _detail(state: CellState, known: States) -> str:
    if state.state == BUILT and state.image is not None:
        archive = f"{known.cell_path(state.cell)}/image.oci.tar"
        return f"{state.image.digest[:19]}  {state.image.size / 1e6:.2f} MB  {archive}"
    return (state.row.digest[:19] if state.row is not None and state.adopted else state.reason)


def _row(state: CellState) -> dict[str, Any]:
    cell, row = state.cell, state.row
    current = state.state in (PUBLISHED, BUILT)
    digest = row.digest if row is not None and state.adopted else state.image.digest if state.image else None
    return {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "flavour": cell.flavour, "releases": list(cell.releases), "state": state.state, "reason": state.reason,
        "code": state.why.code, "changed": list(state.why.changed), "failure": _failure(state),
        "key": state.key.key if state.key else None, "digest": digest if current else None,
        "image": cell.tag if current else None,
    }


def _failure(state: CellState) -> dict[str, Any] | None:
    """Of a failed cell: the stage, what went wrong, what to do, the log, the command to replay."""
    if state.failure is None:
        return None
    return {name: state.failure.get(name, "") for name in ("stage", "message", "hint", "log", "replay", "retry")}
