"""The shape of all our doit tasks: state and reason as meta data, one action that never raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed

from tasks.session import foundry

Task = dict[str, Any]


def stage_task(
    stage: str,
    name: str,
    work: Callable[..., None],
    arguments: Sequence[object],
    *,
    doc: str,
    done: bool,
    state: str,
    reason: str,
    file_dep: Sequence[str] = (),
    targets: Sequence[str] = (),
    log: Path | str | None = None,
) -> Task:
    """A task of one stage."""
    return {
        "name": name, "doc": doc, "actions": [(perform, [f"{stage}:{name}", work, arguments, log])],
        "file_dep": list(file_dep), "targets": list(targets), "uptodate": [done],
        "io": {"capture": False}, "meta": {"state": state, "reason": reason},
    }


def perform(
    name: str, work: Callable[..., None], arguments: Sequence[object], log: Path | str | None
) -> TaskFailed | None:
    """Do a task's work; a failure is noted in the journal and told to doit."""
    one = foundry()
    entry = one.journal.perform(name, lambda: work(one, *arguments), Path(log) if log else None)
    if entry.error is None:
        return None
    return TaskFailed(entry.error.render(), report=False)
