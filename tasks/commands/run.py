"""`doit run`: one run at a time in a checkout, interruptible, with exit codes that mean something."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from doit.cmd_run import Run as DoitRun
from doit.control import TaskControl
from doit.runner import MThreadRunner
from doit.task import Stream

from foundry.base.errors import EXIT_TASK_FAILED, FoundryError
from foundry.net.traffic import TOTAL
from foundry.run.context import DEFAULT_VERBOSITY, Foundry
from foundry.run.totals import Totals, leave_totals
from tasks import session
from tasks.commands import passes, workflow
from tasks.commands.arguments import number
from tasks.commands.backend import OnRecords
from tasks.commands.reporter import FoundryReporter, pending_of
from tasks.commands.run_lock import run_lock
from tasks.commands.told import tell, tell_interrupted

_MOST_CELLS_AT_ONCE = 8
opt_retry_failed = {
    "name": "retry_failed", "short": "", "long": "retry-failed", "type": bool, "default": False,
    "help": "compile also the cells that failed before and of which nothing changed since",
}
_OPTIONS = (
    {"name": "num_process", "short": "n", "long": "process", "type": number(0, 1000), "default": 0,
     "help": "cells at once; 0 (default): the setting `parallel`, else one for each core, "
             f"{_MOST_CELLS_AT_ONCE} at most"},
    {"name": "verbosity", "short": "v", "long": "verbosity", "type": number(0, 2), "default": None,
     "help": "0: failures and the table alone; 1: a line an event (default); 2: the logs of the stages, too"},
    {"name": "single", "short": "s", "long": "single", "type": bool, "default": False,
     "help": "the named tasks alone, without what they depend on"},
    {"name": "no_build", "short": "", "long": "no-build", "type": bool, "default": False,
     "help": "of releases: try no cell; sources, ledgers, notes and releases of what is published"},
    opt_retry_failed,
)


class Run(OnRecords, DoitRun):  # type: ignore[misc]  # reason: doit has no types
    """doit's run with this project's defaults, lock, interruption and exit codes."""

    name = "run"
    cmd_options = _OPTIONS

    def get_reporters(self) -> dict[str, Any]:
        """None by name: dodo.py says which. All packages that are installed would be searched for others."""
        return {}

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the tasks; returns 0, 1, 2, 3 or 130 as `docs/commands.md` says."""
        try:
            with run_lock():
                return int(super().execute(params, args))
        except (FoundryError, OSError) as problem:
            return tell(problem)
        except KeyboardInterrupt:
            return tell_interrupted()

    def _execute(self, reporter: type[FoundryReporter], continue_: bool, verbosity: int | None, num_process: int,
                 single: bool, no_build: bool, retry_failed: bool) -> int:
        one, started = session.foundry(), time.monotonic()
        slots = num_process or slots_of(one)
        one.schedule.expect((), slots)
        one.verbosity = DEFAULT_VERBOSITY if verbosity is None else verbosity
        out = reporter(sys.stdout, {})

        def perform(names: list[str]) -> int:
            control = self._control(names, single=single)
            _prepare(one, pending_of(control.tasks, control.selected_tasks))
            runner = MThreadRunner(self.dep_manager, out, continue_, False, Stream(verbosity), slots)
            return int(runner.run_all(control.task_dispatcher()))

        ended = False
        try:
            result = self._passes(one, perform, build=not no_build)
            ended = True
        finally:
            out.show_table(ended=ended)
            totals = Totals(time.monotonic() - started, TOTAL.read())
            leave_totals(one, totals)
            workflow.tell(list(one.journal.entries.values()), one.journal.up_to_date, one.journal.warnings,
                          totals.traffic)
        return one.journal.exit_code() or (EXIT_TASK_FAILED if result else 0)

    def _control(self, names: list[str], *, single: bool) -> TaskControl:
        """The tasks, those of `names` selected; with `single`, without what they depend on."""
        control = TaskControl(self.task_list)
        control.process(names)
        for name in control.selected_tasks if single else ():
            task = control.tasks[name]
            for each in [control.tasks[sub] for sub in task.task_dep] if task.has_subtask else [task]:
                each.task_dep = []
        return control

    def _passes(self, one: Foundry, perform: Callable[[list[str]], int], *, build: bool) -> int:
        """The cells, then what is made of their records; the worst result of all."""
        names = list(self.sel_tasks or ())
        result = 0
        if build:
            result = perform(passes.first_pass(names, one))
            one.sweep()
        else:
            passes.require_releases(names)
        for tasks in passes.later_passes(names, one):
            one.forget_what_stages_changed()
            if not passes.needless(tasks, one):
                self.task_list = self.loader.load_again(tasks)
                result = max(result, perform(tasks))
        if not build:
            one.forget_what_stages_changed()
            for text in passes.unfinished(names, one):
                one.journal.warn(text)
                result = max(result, EXIT_TASK_FAILED)
        return result


def slots_of(one: Foundry) -> int:
    """How many cells are worked on at once, if the command line does not say."""
    return int(one.settings.parallel) or min(_MOST_CELLS_AT_ONCE, one.schedule.cores)


def _prepare(one: Foundry, pending: Sequence[str]) -> None:
    """Tell the schedule what will compile, and look whether the pending tasks can be done at all.

    Raises OutsideError when they can't: the run ends before any work.
    """
    if not pending:
        return
    from foundry.preflight.readiness import require

    modules = [name.partition(":")[2] for name in pending if name.startswith("module:")]
    compiles = [name for name in modules if one.states.plan.by_name[name].arch not in one.states.not_here]
    one.schedule.expect(compiles, one.schedule.slots)
    require(one, pending)
