"""`doit list`: every task with its state, what is pending first. No network, ever."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from doit.cmd_base import DoitCmdBase

from tasks.commands.backend import OnRecords
from tasks.commands.loader import warn_of_gaps
from tasks.commands.told import told

_ORDER = {"failed": 0, "pending": 1, "": 2, "done": 3, "built": 3, "published": 4}


class List(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """List all tasks, subtasks too."""

    name = "list"
    doc_purpose = "list every task with its state, what is pending first"
    doc_usage = "[TASK ...]"
    doc_description = None
    cmd_options = (
        {"name": "quiet", "short": "q", "long": "quiet", "type": bool, "default": False,
         "help": "names alone, one a line"},
    )

    @told
    def _execute(self, quiet: bool, pos_args: list[str]) -> int:
        rows = [(_state(task), task) for task in self.task_list if not pos_args or _wanted(task, pos_args)]
        groups = _group_states(self.task_list)
        rows = [(groups.get(task.name, state), task) for state, task in rows]
        rows.sort(key=lambda row: _ORDER.get(row[0], 2))
        width = max((len(task.name) for _, task in rows), default=0)
        lines = []
        for state, task in rows:
            reason = (task.meta or {}).get("reason", "") or task.doc or ""
            lines.append(task.name if quiet else f"{state or '-':<10}{task.name:<{width}}  {reason}".rstrip())
        self.outstream.write("\n".join(lines) + ("\n" if lines else ""))
        warn_of_gaps()
        return 0


def _state(task: Any) -> str:
    return str((task.meta or {}).get("state", ""))


def _wanted(task: Any, names: list[str]) -> bool:
    return any(fnmatchcase(task.name, name) or task.name.startswith(f"{name}:") for name in names)


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
