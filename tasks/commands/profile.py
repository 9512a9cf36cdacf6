"""`doit profile [NAME]`: shows or chooses this checkout's profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import UsageError
from foundry.config.profile import CHOICE_FILE, names, resolve
from tasks.commands.told import told


class ProfileCommand(Command):  # type: ignore[misc]  # reason: doit has no types
    """Show or choose the profile."""

    name = "profile"

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 2 for a profile that does not exist."""
        root = Path()
        known = names(root)
        if args:
            if args[0] not in known:
                raise UsageError(f"there is no profile {args[0]!r}; there are {', '.join(known)}",
                                 hint="`doit profile` shows which one applies, and why")
            (root / CHOICE_FILE).write_text(f"{args[0]}\n", encoding="utf-8")
        now = resolve(root)
        print(f"{now.name}: {now.why}")
        if args and now.name != args[0]:
            print(f"note: {now.why}, which goes before this checkout's choice", file=sys.stderr)
        return 0
