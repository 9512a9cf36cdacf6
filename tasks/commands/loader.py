"""The task loader: configuration faults and unknown names end every command in the same way."""

from __future__ import annotations

import sys
from typing import Any

from doit.cmd_base import DodoTaskLoader

from tasks import session
from tasks.core.errors import ConfigError, FoundryError
from tasks.stages.selection import gaps_in_the_way, unknown_names

_NAMES_TASKS = {"run", "info", "list", "clean", "forget"}


class Loader(DodoTaskLoader):  # type: ignore[misc]  # reason: doit has no types
    """Loads dodo.py; a FoundryError becomes its sentence and its exit code."""

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        """All tasks, after everything that the command line names was checked."""
        try:
            return self._load(cmd, pos_args)
        except FoundryError as error:
            print(f"error: {error.render()}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None

    def _load(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        session.request(pos_args)
        tasks: list[Any] = super().load_tasks(cmd, pos_args)
        if cmd.get_name() not in _NAMES_TASKS:
            return tasks
        targets = [target for task in tasks for target in task.targets] if pos_args else []
        faults = unknown_names(pos_args, [task.name for task in tasks], targets)
        if faults:
            raise ConfigError(faults)
        if cmd.get_name() == "run":
            _refuse_gaps(pos_args or list(cmd.sel_tasks or ()))
        return tasks


def _refuse_gaps(names: list[str]) -> None:
    one = session.foundry()
    faults = gaps_in_the_way(names, one.states.plan)
    if faults:
        raise ConfigError(faults, hint=catalogue_hint())


def catalogue_hint() -> str:
    """What to do when the catalogue lacks releases."""
    one = session.foundry()
    if one.settings.get("services") == "sandbox":
        return "run `doit sandbox:up`"
    return f"add them to {one.settings['catalogue']} (driver-toolkit/README.md says how), or try `make demo`"


def warn_of_gaps() -> None:
    """Say on stderr what the matrix wants in vain; for commands that only show things."""
    plan = session.foundry().states.plan
    for fault in plan.gap_faults():
        print(f"warning: {fault.render()}", file=sys.stderr)
    if plan.gaps or not plan.cells:
        print(f"hint: {catalogue_hint()}", file=sys.stderr)
