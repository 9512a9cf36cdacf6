"""`doit verify`: published images, fetched by digest and looked at again."""

from __future__ import annotations

import random
import sys
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, FoundryError, UsageError
from foundry.plan.cells import Cell
from tasks import session
from tasks.commands.run_lock import run_lock

_OPTIONS = (
    {"name": "sample", "short": "", "long": "sample", "type": int, "default": 0,
     "help": "so many images, chosen at random, instead of all"},
)


class Verify(Command):  # type: ignore[misc]  # reason: doit has no types
    """Prove published images again."""

    name = "verify"
    doc_purpose = "fetch published images by digest; check labels, layout, depmod's files and the gate again"
    doc_usage = "[DRIVER ...]"
    doc_description = None
    cmd_options = _OPTIONS

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when an image is not what its ledger says."""
        try:
            with run_lock():
                return _verify(args, int(params["sample"]))
        except FoundryError as error:
            print(f"error: {error.render()}", file=sys.stderr)
            return error.exit_code


def _verify(drivers: list[str], sample: int) -> int:
    from foundry.ledger import ledgers
    from foundry.ledger.verify import verify

    one = session.foundry()
    known = ledgers.all_ledgers(one)
    for driver in drivers:
        if driver not in known:
            raise UsageError(f"there is no ledger of {driver}; there are {', '.join(known) or 'none'}")
    wanted = [
        (ledger, row, repository) for driver, ledger in known.items() if not drivers or driver in drivers
        for row in ledger.sorted_rows() for repository in row.registries
    ]
    if sample:
        wanted = random.sample(wanted, min(sample, len(wanted)))
    bad = 0
    for ledger, row, repository in wanted:
        family = one.config.families.get(ledger.family)
        if family is None:
            raise UsageError(f"the ledger of {ledger.driver} is of family {ledger.family}, unknown here")
        cell = Cell(ledger.driver, family, row.kernel, row.arch, row.releases, row.toolkit)
        verdict = verify(one, cell, row, repository)
        bad += bool(verdict.faults)
        print(f"{'BAD' if verdict.faults else 'ok':<5}{row.tags[0]}  {verdict.image}")
        for fault in verdict.faults:
            print(f"     {fault}")
    one.sweep()
    print(f"{len(wanted)} images: {len(wanted) - bad} ok, {bad} bad")
    return EXIT_TASK_FAILED if bad else 0
