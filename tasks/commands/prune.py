"""`doit prune`: disk space that runs of this checkout took and nobody needs any more."""

from __future__ import annotations

from typing import Any

from doit.cmd_base import Command

from tasks import session
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told

_OPTIONS = (
    {"name": "dry_run", "short": "n", "long": "dry-run", "type": bool, "default": False,
     "help": "show it, remove nothing"},
)
_MEGABYTE = 1e6


class Prune(Command):  # type: ignore[misc]  # reason: doit has no types
    """Remove what killed runs left, images that runs pulled, kits for boots, image files of published cells."""

    name = "prune"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Never touches what no run of this checkout made."""
        dry_run = bool(params["dry_run"])
        with run_lock(leftovers=not dry_run):
            return _prune(dry_run=dry_run)


def _prune(*, dry_run: bool) -> int:
    from foundry.cell.prune import prune, waste

    one = session.foundry()
    total = 0
    for item in list(waste(one)):
        done = dry_run or prune(one, item)
        total += item.size if done else 0
        word = "would remove" if dry_run else "removed" if done else "in use by others:"
        print(f"{word} {item.kind} {item.name} ({item.size / _MEGABYTE:.1f} MB)")
    print(f"{total / _MEGABYTE:.1f} MB {'to free' if dry_run else 'freed'}")
    return 0
