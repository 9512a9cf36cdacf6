"""`doit doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from tasks.core.config import load
from tasks.core.errors import EXIT_CONFIG, EXIT_OUTSIDE, ConfigError, UsageError
from tasks.core.profile import Profile, resolve
from tasks.services.checks import Check, run_checks
from tasks.services.podman import Engine

_CONFIGURATION = "config"


class Doctor(Command):  # type: ignore[misc]  # reason: doit has no types
    """Check tools, a container that really starts, space and clock."""

    name = "doctor"
    doc_purpose = "say what is missing on this machine, and the command that mends it"
    doc_usage = ""
    doc_description = None

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 3 when something is missing outside, 2 when only the configuration is wrong."""
        root = Path()
        try:
            profile = resolve(root)
        except UsageError as error:
            print(f"error: {error.render()}", file=sys.stderr)
            return error.exit_code
        engine = Engine(root / "build" / profile.name / "engine" / "engine.json")
        checks = [_configuration(root, profile), *run_checks(engine, root)]
        for check in checks:
            print(f"{'ok' if check.ok else 'MISSING':<8}{check.name:<11}{check.detail}")
            if check.mend and not check.ok:
                print(f"{'':<8}{'':<11}mend: {check.mend}")
        missing = [check.name for check in checks if not check.ok]
        if missing:
            print(f"missing: {', '.join(missing)}", file=sys.stderr)
        if missing == [_CONFIGURATION]:
            return EXIT_CONFIG
        return EXIT_OUTSIDE if missing else 0


def _configuration(root: Path, profile: Profile) -> Check:
    try:
        load(root, profile)
    except ConfigError as error:
        return Check(_CONFIGURATION, False, error.message, "correct the files")
    return Check(_CONFIGURATION, True, f"profile {profile.name}: {profile.why}")
