"""Files without a name that a container's programs hold open: they take disk where no folder shows them."""

from __future__ import annotations

import os
from stat import S_ISREG

from foundry.podman.engine import Engine

_BLOCK = 512  # bytes, the unit of st_blocks


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
            self._namespace = _namespace(done.stdout.strip() or "0")
        found: dict[tuple[int, int], int] = {}
        for pid in os.listdir("/proc") if self._namespace else ():
            if pid.isdecimal() and _namespace(pid) == self._namespace:
                found |= _nameless(pid)
        return sum(found.values())


def _namespace(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _nameless(pid: str) -> dict[tuple[int, int], int]:
    """Sizes by device and inode."""
    found = {}
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            facts = os.stat(f"/proc/{pid}/fd/{number}")
            if S_ISREG(facts.st_mode) and not facts.st_nlink:
                found[facts.st_dev, facts.st_ino] = facts.st_blocks * _BLOCK
    except OSError:  # it has ended meanwhile
        pass
    return found
