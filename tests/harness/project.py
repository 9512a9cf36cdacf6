"""A small checkout in which doit runs, without network and container."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.harness.checkout import ROOT, Checkout
from tests.harness.clone import AUDIT

BLOCKED = {"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Project(Checkout):
    """A checkout in which doit can be run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for name in ("dodo.py", "pyproject.toml"):
            self.write(name, (ROOT / name).read_text(encoding="utf-8"))

    def doit(self, *args: str, **environ: str) -> Done:
        clean = {name: value for name, value in os.environ.items()
                 if name not in ("KMOD_PROFILE", "GITHUB_ACTIONS", "FORCE_BUILD")}
        done = subprocess.run(
            [sys.executable, "-m", "doit", *args], cwd=self.root, capture_output=True, text=True, check=False,
            env={**clean, **BLOCKED, "KMOD_PROFILE": "local", "PYTHONPATH": f"{ROOT}:{AUDIT}", **environ}, timeout=60,
        )
        assert "Traceback" not in done.stderr + done.stdout
        return Done(done.returncode, done.stdout, done.stderr)
