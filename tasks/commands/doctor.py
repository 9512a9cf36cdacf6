"""`doit doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from tasks.core.errors import EXIT_OUTSIDE
from tasks.core.profile import resolve
from tasks.services.checks import run_checks
from tasks.services.podman import Engine


class Doctor(Command):  # type: ignore[misc]  # reason: doit has no types
    """Check tools, a container that really starts, space and clock."""

    name = "doctor"
    doc_purpose = "say what is missing on this machine, and the command that mends it"
    doc_usage = ""
    doc_description = None

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 3 when something is missing."""
        root = Path()
        build = root / "build" / resolve(root).name
        checks = run_checks(Engine(build / "engine" / "engine.json"), root)
        for check in checks:
            print(f"{'ok' if check.ok else 'MISSING':<8}{check.name:<11}{check.detail}")
            if check.mend:
                print(f"{'':<8}{'':<11}mend: {check.mend}")
        missing = [check.name for check in checks if not check.ok]
        if missing:
            print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return EXIT_OUTSIDE if missing else 0
