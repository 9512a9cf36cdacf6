"""The one Foundry of this process, shared by the task modules and the commands."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.config.load import Config
from foundry.plan.cells import Plan
from foundry.run.context import Foundry, open_foundry

if TYPE_CHECKING:
    from foundry.sandbox.make import Sandbox

# States and tasks, a million objects for 10,000 cells, live as long as the process: with Python's 700, looking for
# garbage among them takes a third of the time.
_RARELY = 200_000
_current: Foundry | None = None
_requested: tuple[str, ...] = ()
_plan: Plan | None = None
_keep = True


def foundry() -> Foundry:
    """The Foundry of the working directory, opened when it is first asked for. Raises ConfigError."""
    global _current  # noqa: PLW0603 - one a process: doit's task creators take no arguments
    if _current is None:
        gc.set_threshold(_RARELY)
        _current = open_foundry(Path(), sandbox, keep=_keep)
    return _current


def only_read() -> None:
    """From now on opening the Foundry writes nothing, not even what would save the next one time."""
    global _keep  # noqa: PLW0603 - as above
    _keep = False


def sandbox(config: Config) -> Sandbox | None:
    """The sandbox that the profile's services are part of, if it has one."""
    if config.settings.services != "sandbox":
        return None
    from foundry.sandbox.setup import sandbox_of

    return sandbox_of(config)


def opened() -> Foundry | None:
    """The Foundry if it was opened."""
    return _current


def request(names: Sequence[str]) -> None:
    """What the command line names; narrowed tasks such as ``build:2.22.2.0@4.18`` exist only when named."""
    global _requested  # noqa: PLW0603 - as above
    _requested = tuple(names)


def requested() -> tuple[str, ...]:
    """What the command line names."""
    return _requested


def narrow(part: Plan | None) -> None:
    """Load the tasks of this part of the plan alone; None: of all."""
    global _plan  # noqa: PLW0603 - as above
    _plan = part


def plan() -> Plan:
    """What tasks are loaded for: all that the matrix wants, or the part that a run can have to do with."""
    return _plan if _plan is not None else foundry().states.plan
