"""The sandbox of a checkout, from its configuration."""

from __future__ import annotations

import os
from pathlib import Path

from foundry.config.load import Config
from foundry.sandbox.make import Sandbox, SandboxPlan

FOLDER_VARIABLE = "KMOD_SANDBOX"


def sandbox_of(config: Config) -> Sandbox:
    """The sandbox in ``build/<profile>/services``, or where KMOD_SANDBOX says (to share one)."""
    output = config.root / config.build
    folder = os.environ.get(FOLDER_VARIABLE)
    wanted = config.settings["sandbox"]
    plan = SandboxPlan(
        tuple(wanted["versions"]), dict(wanted["releases"]), wanted["kernels"], tuple(wanted.get("rt", ())))
    return Sandbox(Path(folder) if folder else output / "services", config.root, plan, output)
