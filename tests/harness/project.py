"""A small checkout in which doit runs, without network and container."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.checkout import ROOT, Checkout
from tests.harness.clone import AUDIT, OF_TERMINALS

NOBODY = "http://127.0.0.1:9/"
_REPOSITORY = "https://yum.repos.neuron.amazonaws.com/"
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

    def has_no_repository(self) -> None:
        """Have the driver's repository be where nobody listens."""
        self.edit("config/drivers/neuron.yaml", _REPOSITORY, NOBODY)

    @contextmanager
    def silent_repository(self) -> Iterator[socket.socket]:
        """Have it be where connections are taken and nothing is answered: a fetch is at work until that ends."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            self.edit("config/drivers/neuron.yaml", _REPOSITORY, f"http://127.0.0.1:{server.getsockname()[1]}/")
            server.settimeout(60)
            yield server

    def command(self, *args: str) -> list[str]:
        """The argument list of ``doit <args>``."""
        return [sys.executable, "-m", "doit", *args]

    def environment(self, **environ: str) -> dict[str, str]:
        """The environment of a run: nothing of the caller's that would change the profile."""
        clean = {name: value for name, value in os.environ.items()
                 if name not in ("KMOD_PROFILE", "GITHUB_ACTIONS", "FORCE_BUILD", *OF_TERMINALS)}
        return {**clean, **BLOCKED, "KMOD_PROFILE": "local", "PYTHONPATH": f"{ROOT}:{AUDIT}", **environ}

    def doit(self, *args: str, **environ: str) -> Done:
        """Run doit to its end; a traceback is a failure."""
        done = subprocess.run(self.command(*args), cwd=self.root, env=self.environment(**environ), capture_output=True,
                              text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr + done.stdout
        return Done(done.returncode, done.stdout, done.stderr)
