"""A lock between processes on a file; it goes with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock for the block; waits while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def user_lock() -> Path:
    """The file to lock for what all checkouts of this user share on this machine: podman's store."""
    return Path(tempfile.gettempdir(), f"kmod-foundry-{os.getuid()}.lock")
