"""`doit adopt`: images that others pushed under the tags of our cells, taken over once they are proven."""

from __future__ import annotations

from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, ConfigError, Fault, UsageError
from tasks import session
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told


class Adopt(Command):  # type: ignore[misc]  # reason: doit has no types
    """Take over images that no ledger knows."""

    name = "adopt"
    cmd_options = ()

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when an image is not what its tag says; it stays as it is."""
        with run_lock():
            return _adopt(args)


def _adopt(drivers: list[str]) -> int:
    from foundry.ledger.foreign_tags import adopt, foreign_tags
    from foundry.ledger.ledgers import fetch_missing
    from foundry.run.context import has_ledger

    one = session.foundry()
    known = list(one.states.plan.by_driver)
    for driver in drivers:
        if driver not in known:
            raise UsageError(f"there is no driver {driver} in the matrix; there are {', '.join(known) or 'none'}")
    if not one.settings.publish:
        place = f"config/profiles/{one.config.profile.name}.yaml"
        raise ConfigError([Fault(place, "$.publish", "names no registry")],
                          hint="choose the profile that publishes there: `doit profile ecr`")
    wanted = [driver for driver in known if not drivers or driver in drivers]
    lacking = [driver for driver in wanted if not has_ledger(one, driver)]
    fetch_missing(one, lacking)
    one.states.forget(lacking)
    states = [state for state in one.states.cells.values()
              if not state.adopted and state.cell.driver in wanted]
    good = bad = 0
    for _, name, faults in adopt(one, foreign_tags(one, states)):
        print(f"{'BAD' if faults else 'ok':<5}{name}")
        for fault in faults:
            print(f"     {fault}")
        good, bad = good + (not faults), bad + bool(faults)
    one.sweep()
    print(f"{good + bad} images that no ledger knew: {good} adopted, {bad} bad")
    if good:
        print("hint: `doit publish` keeps the ledgers beside the images")
    return EXIT_TASK_FAILED if bad else 0
