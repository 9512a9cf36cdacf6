"""The sandbox of a checkout, from its configuration."""

from __future__ import annotations

import os
from pathlib import Path

from foundry.config.load import Config
from foundry.sandbox.make import Sandbox

FOLDER_VARIABLE = "KMOD_SANDBOX"


def sandbox_of(config: Config) -> Sandbox:
    """The sandbox in ``build/<profile>/services``, or where KMOD_SANDBOX says (to share one)."""
    output = config.root / config.build
    folder = os.environ.get(FOLDER_VARIABLE)
    content = config.settings.sandbox
    return Sandbox(Path(folder) if folder else output / "services", config.root, content, output)
