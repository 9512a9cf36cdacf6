"""doit's commands that change or show a database, or trace tasks: there is no use for them here, and they say so."""

from __future__ import annotations

from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import UsageError
from tasks.commands.told import told

NAMES = ("forget", "ignore", "reset-dep", "dumpdb", "strace")
NO_DATABASE = (
    "there is no database here: the records below build/ are the state",
    "FORCE_BUILD=true rebuilds, `doit clean TASK` removes a task's files, `doit info TASK` explains",
)


class Unused(Command):  # type: ignore[misc]  # reason: doit has no types
    """Says what to use instead; exit code 2."""

    name = "unused"

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Change nothing."""
        raise UsageError(NO_DATABASE[0], hint=NO_DATABASE[1])
