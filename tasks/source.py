"""source: the pristine tree of each driver."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actions import Task, stage_task
from tasks.session import foundry
from tasks.stages.fetch import PACKAGE
from tasks.stages.source import RECORD, TAR, source


def task_source() -> Iterator[Task]:
    """Unpack driver sources, read-only."""
    one = foundry()
    for driver, state in one.states.sources.items():
        folder = one.states.source_folder(driver)
        yield stage_task(
            "source", driver, source, [driver, state.family],
            doc=f"pristine sources of {state.family['title']} {driver}",
            done=state.source_done, state="done" if state.source_done else "pending",
            reason=state.reason or "up to date",
            file_dep=[str(folder / PACKAGE)], targets=[str(folder / RECORD), str(folder / TAR)],
        )
