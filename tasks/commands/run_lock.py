"""One run at a time in a checkout and profile: the lock that every command takes which works with podman."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from foundry.base.process import mark_children, was_cut_off
from foundry.config.profile import resolve
from tasks import session
from tasks.commands.workflow import outlive_reader


@contextmanager
def run_lock(*, leftovers: bool | None = None) -> Iterator[None]:
    """Wait until no other run works in this checkout with the same profile, and say so.

    A run that ends takes its number out of the file. Where one is still there that run, or a command of it, was
    killed or interrupted: what it left is removed first, or as `leftovers` says. When this one is interrupted,
    everything has stopped before the lock goes. Work goes on where nobody reads what it prints.
    """
    outlive_reader()
    folder = Path("build") / resolve(Path()).name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".run.lock").open("a+b") as handle:
        _wait_for(handle)
        handle.seek(0)
        clean = not handle.read()
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n".encode())
        handle.flush()
        mark_children(folder)
        try:
            if (not clean) if leftovers is None else leftovers:
                clean = _remove_leftovers()
            yield
        except KeyboardInterrupt:
            clean = False
            one = session.opened()
            if one is not None:
                one.stop()
            raise
        finally:
            if clean and not was_cut_off():
                handle.truncate(0)


def _wait_for(handle: IO[bytes]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        number = handle.read().decode(errors="replace").strip()
        print(f"another run is at work here (process {number or '?'}); waiting", file=sys.stderr)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)


def _remove_leftovers() -> bool:
    from foundry.run.leftovers import remove_leftovers

    print("removing what killed or interrupted runs left", file=sys.stderr)
    return remove_leftovers(session.foundry())
