"""`doit status`: the coverage table driver × release, and the same as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from doit.cmd_base import DoitCmdBase

from tasks import session
from tasks.commands.loader import catalogue_hint
from tasks.core.state import BUILT, FAILED, PENDING, PUBLISHED, CellState
from tasks.core.versions import version_key


class Status(DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Show what is published, built, pending (and why) and failed."""

    name = "status"
    doc_purpose = "coverage of drivers and releases: published, built, pending and why, failed"
    doc_usage = ""
    doc_description = None
    cmd_options = (
        {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
         "help": "a JSON list, alone on stdout"},
    )

    def _execute(self, json: bool) -> int:
        states = list(session.foundry().states.cells.values())
        if json:
            self.outstream.write(as_json(states))
            return 0
        for line in table(states):
            self.outstream.write(line + "\n")
        plan = session.foundry().states.plan
        for gap in plan.gaps:
            print(f"warning: {gap.fault.render()}", file=sys.stderr)
        if plan.gaps or not plan.cells:
            print(f"hint: {catalogue_hint()}", file=sys.stderr)
        return 0


def as_json(states: list[CellState]) -> str:
    """The cells as DESIGN's contract has them."""
    return json.dumps([_row(state) for state in states], indent=2) + "\n"


def table(states: list[CellState]) -> list[str]:
    """Rows are releases, columns drivers; then a line for each cell that is not published or built."""
    drivers = list(dict.fromkeys(state.cell.driver for state in states))
    by_place = {(state.cell.driver, release): state for state in states for release in state.cell.releases}
    releases = sorted({release for _, release in by_place}, key=version_key)
    width = max([len(PUBLISHED), *(len(driver) for driver in drivers)], default=0) + 2
    lines = ["release".ljust(12) + "".join(driver.ljust(width) for driver in drivers)] if drivers else []
    for release in releases:
        cells = (by_place.get((driver, release)) for driver in drivers)
        lines.append(release.ljust(12) + "".join((cell.state if cell else "-").ljust(width) for cell in cells).rstrip())
    count = {name: sum(1 for state in states if state.state == name) for name in (PUBLISHED, BUILT, PENDING, FAILED)}
    lines.append("")
    lines += [
        f"{state.state:<10}{state.cell.name}  {state.reason}" for state in states if state.state in (PENDING, FAILED)
    ]
    lines.append(f"{len(states)} cells: " + ", ".join(f"{number} {name}" for name, number in count.items()))
    return lines


def _row(state: CellState) -> dict[str, Any]:
    cell, image, row = state.cell, state.image or {}, state.row or {}
    current = state.state in (PUBLISHED, BUILT)
    digest = (row.get("digest") if state.state == PUBLISHED else None) or image.get("digest")
    return {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "releases": list(cell.releases), "state": state.state, "reason": state.reason,
        "key": state.key.key if state.key else None, "digest": digest if current else None,
        "image": cell.tag if current else None,
    }
