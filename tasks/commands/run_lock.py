"""One run at a time in a checkout and profile: the lock that every command takes which works with podman."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.config.profile import resolve


@contextmanager
def run_lock() -> Iterator[None]:
    """Wait until no other run works in this checkout with the same profile, and say so."""
    folder = Path("build") / resolve(Path()).name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".run.lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            print(f"another run is at work here (process {handle.read().strip() or '?'}); waiting", file=sys.stderr)
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.2)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
