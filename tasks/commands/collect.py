"""`doit collect`: what shards left, merged into this checkout, before it releases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, FoundryError
from tasks import session
from tasks.commands import workflow
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told


class Collect(Command):  # type: ignore[misc]  # reason: doit has no types
    """Merge what shards left."""

    name = "collect"
    cmd_options = ()

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when something was refused; a shard that left nothing is a warning."""
        with run_lock():
            return _collect([Path(name) for name in args])


def _collect(folders: list[Path]) -> int:
    from foundry.fleet.collect import collect
    from foundry.fleet.orphans import adopt_orphans

    foundry = session.foundry()
    taken, lost = collect(foundry, folders)
    try:
        adopted = adopt_orphans(foundry)
    except FoundryError as error:  # what it would have found is built once more
        adopted = []
        lost.append(f"what lost machines pushed can't be looked for: {error.message}")
    for text in lost:
        print(f"warning: {text}", file=sys.stderr)
    for one in taken:
        print(one.line())
        for text in one.refused:
            print(f"warning: {one.folder}: refused: {text}", file=sys.stderr)
    for name in adopted:
        print(f"{name}: published by a machine that left no record; adopted by its key")
    workflow.tell_collected(taken, lost)
    return EXIT_TASK_FAILED if any(one.refused for one in taken) else 0
