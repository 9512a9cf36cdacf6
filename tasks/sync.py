"""sync: the toolkits that the wanted cells need, mirrored into a registry of the user's."""

from __future__ import annotations

from doit.exceptions import TaskFailed

from foundry.run.context import Foundry
from tasks.actions import Task, perform
from tasks.session import foundry


def task_sync() -> Task:
    """Mirror the toolkits that are needed; it asks the mirror each time, as others may change it."""
    return {
        "doc": "mirror the toolkits that the matrix needs into a registry of yours", "actions": [copy],
        "uptodate": [False], "io": {"capture": False}, "verbosity": 2, "meta": {"state": "", "reason": ""},
    }


def copy() -> TaskFailed | None:
    """The task's action."""
    from foundry.catalogue.mirror import LOG, sync

    one: Foundry = foundry()
    return perform("sync", sync, (), one.root / one.config.build / LOG)
