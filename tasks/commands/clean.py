"""`doit clean`: the files that tasks leave, removed; then they are pending again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from doit.cmd_base import DoitCmdBase, tasks_and_deps_iter
from doit.control import TaskControl

from tasks.commands.backend import OnRecords
from tasks.commands.loader import chosen
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told


class Clean(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Remove what tasks leave; never while a run is at work."""

    name = "clean"
    cmd_options = (
        {"name": "dry_run", "short": "n", "long": "dry-run", "type": bool, "default": False,
         "help": "show them, remove nothing"},
        {"name": "with_deps", "short": "c", "long": "clean-dep", "type": bool, "default": False,
         "help": "also what the tasks depend on"},
    )

    @told
    def _execute(self, dry_run: bool, with_deps: bool, pos_args: list[str]) -> int:
        by_name = TaskControl(self.task_list).tasks  # which has found out what the files depend on
        named = chosen(pos_args or self.sel_tasks, self.task_list)
        names = [task.name for task in (named if with_deps or not pos_args else _members(named, by_name))]
        found = list(tasks_and_deps_iter(by_name, names)) if with_deps or not pos_args else [
            by_name[name] for name in names]
        removed = 0
        with nullcontext() if dry_run else run_lock():
            for task in found:
                for target in filter(Path.is_file, map(Path, task.targets)):
                    self.outstream.write(f"{'would remove' if dry_run else 'removed'} {target}\n")
                    if not dry_run:
                        target.unlink()
                    removed += 1
        without = [task.name for task in named if pos_args and task.actions and not task.targets]
        for name in without:
            print(f"note: {name} leaves no files that could be removed", file=sys.stderr)
        if not removed and not without:
            print("nothing to remove", file=sys.stderr)
        return 0


def _members(tasks: Iterable[Any], by_name: Mapping[str, Any]) -> Iterator[Any]:
    """The tasks that do work, in place of the groups that they are in."""
    for task in tasks:
        yield from [task] if task.actions else _members((by_name[name] for name in task.task_dep), by_name)
