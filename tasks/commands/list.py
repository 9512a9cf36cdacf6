"""`doit list`: every task with its state, what is pending first. No network, ever."""

from __future__ import annotations

from typing import Any

from doit.cmd_base import DoitCmdBase

from tasks.commands.backend import OnRecords
from tasks.commands.loader import chosen, warn_of_gaps
from tasks.commands.told import told

_ORDER = {"failed": 0, "pending": 1, "": 2, "done": 3, "built": 3, "published": 4}


class List(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """List all tasks, subtasks too."""

    name = "list"
    cmd_options = (
        {"name": "quiet", "short": "q", "long": "quiet", "type": bool, "default": False,
         "help": "names alone, one a line"},
        {"name": "deps", "short": "", "long": "deps", "type": bool, "default": False,
         "help": "the files that each task depends on, too"},
        {"name": "all", "short": "", "long": "all", "type": bool, "default": False,
         "help": "subtasks too; they are always shown"},
        {"name": "status", "short": "s", "long": "status", "type": bool, "default": False,
         "help": "states too; they are always shown"},
    )

    @told
    def _execute(self, quiet: bool, deps: bool, pos_args: list[str]) -> int:
        tasks = _with_subtasks(chosen(pos_args, self.task_list), self.task_list) if pos_args else self.task_list
        groups = _group_states(self.task_list)
        rows = [(groups.get(task.name, _state(task)), task) for task in tasks]
        rows.sort(key=lambda row: _ORDER.get(row[0], 2))
        width = max((len(task.name) for _, task in rows), default=0)
        for state, task in rows:
            reason = (task.meta or {}).get("reason", "") or task.doc or ""
            line = task.name if quiet else f"{state or '-':<10}{task.name:<{width}}  {reason}".rstrip()
            files = sorted(task.file_dep) if deps else ()
            self.outstream.writelines(f"{text}\n" for text in (line, *(f"{'':<10}- {name}" for name in files)))
        warn_of_gaps()
        return 0


def _state(task: Any) -> str:
    return str((task.meta or {}).get("state", ""))


def _with_subtasks(named: list[Any], tasks: list[Any]) -> list[Any]:
    names = {task.name for task in named}
    return [task for task in tasks if task.name in names or task.subtask_of in names]


def _group_states(tasks: list[Any]) -> dict[str, str]:
    """A group is pending as long as anything in it, or in a group in it, is."""
    by_name = {task.name: task for task in tasks}
    groups: dict[str, str] = {}

    def state(name: str) -> str:
        task = by_name[name]
        if task.actions or not task.task_dep:
            return _state(task)
        if name not in groups:
            members = {state(member) for member in task.task_dep} - {""}
            groups[name] = min(members, key=lambda one: _ORDER.get(one, 2), default="")
        return groups[name]

    for task in tasks:
        state(task.name)
    return groups
