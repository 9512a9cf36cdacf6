"""`doit verify`: published images, fetched by digest and looked at again."""

from __future__ import annotations

import random
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, UsageError
from tasks import session
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told

_OPTIONS = (
    {"name": "sample", "short": "", "long": "sample", "type": int, "default": 0,
     "help": "so many images, chosen at random, instead of all"},
    {"name": "tags", "short": "", "long": "tags", "type": bool, "default": False,
     "help": "look at the tags alone: a small request each, no toolkit is pulled"},
)


class Verify(Command):  # type: ignore[misc]  # reason: doit has no types
    """Prove published images again."""

    name = "verify"
    doc_purpose = "fetch published images by digest; check labels, layout, depmod's files and the gate again"
    doc_usage = "[DRIVER ...]"
    doc_description = None
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when an image is not what its ledger says."""
        with run_lock():
            return _verify(args, int(params["sample"]), tags_only=bool(params["tags"]))


def _verify(drivers: list[str], sample: int, *, tags_only: bool) -> int:
    from foundry.ledger import ledgers
    from foundry.ledger.verify import published, verify

    one = session.foundry()
    known = ledgers.all_ledgers(one)
    for driver in drivers:
        if driver not in known:
            raise UsageError(f"there is no ledger of {driver}; there are {', '.join(known) or 'none'}")
    wanted = list(published(one, [ledger for driver, ledger in known.items() if not drivers or driver in drivers]))
    if sample:
        wanted = random.sample(wanted, min(sample, len(wanted)))
    bad = 0
    for image, verdict in zip(wanted, verify(one, wanted, tags_only=tags_only), strict=True):
        bad += bool(verdict.faults)
        print(f"{'BAD' if verdict.faults else 'ok':<5}{image.row.tags[0]}  {verdict.image}")
        for fault in verdict.faults:
            print(f"     {fault}")
    one.sweep()
    print(f"{len(wanted)} images: {len(wanted) - bad} ok, {bad} bad")
    return EXIT_TASK_FAILED if bad else 0
