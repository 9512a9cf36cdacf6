"""Files without a name that a container's programs hold open: they take disk where no folder shows them."""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_ISREG

from foundry.base.untrusted import BLOCK
from foundry.podman.engine import Engine


class HeldFiles:
    """Those of one container, found by its process namespace in ``/proc``; none where there is no ``/proc``."""

    def __init__(self, engine: Engine, container: str) -> None:
        self.engine = engine
        self.container = container
        self._namespace = ""

    def size(self) -> int:
        """Bytes on the disk."""
        if not self._namespace:
            done = self.engine.call("inspect", "--format={{.State.Pid}}", self.container, check=False)
            self._namespace = _namespace(f"/proc/{done.stdout.strip() or 0}")
        return held_in(self._namespace) if self._namespace else 0


def held_in(namespace: str) -> int:
    """Bytes on the disk, held by the threads of a process namespace: each may have open files of its own."""
    found: dict[tuple[int, int], int] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for thread in _threads(pid):
            if _namespace(thread) == namespace:
                found |= _nameless(thread)
    return sum(found.values())


def _threads(pid: str) -> list[str]:
    """Their folders in ``/proc``; the first one may have ended before the others."""
    try:
        return [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _namespace(place: str) -> str:
    try:
        return os.readlink(f"{place}/ns/pid")
    except OSError:
        return ""


def _nameless(place: str) -> dict[tuple[int, int], int]:
    """Sizes by device and inode."""
    found: dict[tuple[int, int], int] = {}
    try:
        numbers = os.listdir(f"{place}/fd")
    except OSError:  # it has ended meanwhile
        return found
    for number in numbers:
        with suppress(OSError):  # closed meanwhile: the others count all the same
            facts = os.stat(f"{place}/fd/{number}")
            if S_ISREG(facts.st_mode) and not facts.st_nlink:
                found[facts.st_dev, facts.st_ino] = facts.st_blocks * BLOCK
    return found
