"""doit's state without a database: the records themselves.

doit asks a backend for the hashes that it saved when a task last succeeded; ours
reads them from the stage's record. Nothing is ever written or removed here: the
record is written by the stage, as its last step. So a run that is killed loses
nothing that was finished, and copied or freshly cloned records count at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.dependency import FileChangedChecker

from foundry.base.records import read_record
from foundry.plan.keys import FileHashes
from foundry.run.stages import stage_of
from tasks.session import opened


class RecordBackend:
    """doit's backend interface over ``build/<profile>/…/<stage>.json``."""

    desc = "the records of the stages; no database"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        self.name = name
        self._inputs: dict[str, Mapping[str, str]] = {}

    def get(self, task_id: str, dependency: str) -> Any:
        """The hash that the task's record has for an input; None for everything else."""
        if dependency.endswith(":"):
            return None  # doit's own values: results, checker, ignore marks
        if task_id not in self._inputs:
            self._inputs[task_id] = self._read(task_id)
        return self._inputs[task_id].get(dependency)

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Nothing to do: the stage wrote its record. What was read before is out of date."""
        self._forget(task_id)

    def in_(self, task_id: str) -> bool:
        """True when the task has a record."""
        return bool(self._read(task_id))

    def remove(self, task_id: str) -> None:
        """Never deletes a record: a failure today does not undo what was finished before."""
        self._forget(task_id)

    def remove_all(self) -> None:
        """As `remove`."""

    def dump(self) -> None:
        """Nothing to write."""

    def _forget(self, task_id: str) -> None:
        self._inputs.pop(task_id, None)
        one = opened()
        if one is not None:
            one.states.inputs.pop(task_id, None)

    @staticmethod
    def _read(task_id: str) -> Mapping[str, str]:
        found, one = stage_of(task_id), opened()
        if found is None or not found[0].folder or one is None:
            return {}
        stage, name = found
        known = one.states.inputs.get(task_id)
        if known is not None:
            return known
        path = os.path.join(one.root, one.config.build, stage.folder, name, f"{stage.name}.json")
        record = read_record(Path(path), stage.name)
        return record["inputs"] if record is not None else {}


class OnRecords:
    """Of a command of doit: its state is the records. No installed package is searched for others, none is chosen."""

    base_options = tuple({**option, "short": "", "long": ""} for option in DoitCmdBase.base_options)

    def get_backends(self) -> dict[str, Any]:
        """By name."""
        return {"records": RecordBackend}


class ContentChecker(FileChangedChecker):  # type: ignore[misc]  # reason: doit has no types
    """A file is changed when its SHA-256 is; time stamps decide nothing."""

    def __init__(self) -> None:
        self._hashes = FileHashes(Path())

    def check_modified(self, file_path: str, file_stat: os.stat_result, state: str) -> bool:
        """True when the content differs from what the record says."""
        return self._known().get(file_path, file_stat) != state

    def get_state(self, dep: str, current_state: str | None) -> str:
        """The content's hash."""
        return self._known().get(dep)

    def _known(self) -> FileHashes:
        """Those of the states, which have read many of the files already."""
        one = opened()
        return one.states.hashes if one is not None else self._hashes
