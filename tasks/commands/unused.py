"""doit's commands that change or show a database: there is none here, and they say so."""

from __future__ import annotations

import sys
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_CONFIG


class Unused(Command):  # type: ignore[misc]  # reason: doit has no types
    """Says what to use instead; exit code 2."""

    name = "unused"
    doc_purpose = "not used here: the records below build/ are the state"
    doc_usage = ""
    doc_description = None

    def execute(self, params: Any, args: list[str]) -> int:
        """Change nothing."""
        print(
            "error: there is no database here: the records below build/ are the state\n"
            "  hint: FORCE_BUILD=true rebuilds, `doit clean TASK` removes a task's files, `doit info TASK` explains",
            file=sys.stderr,
        )
        return EXIT_CONFIG
