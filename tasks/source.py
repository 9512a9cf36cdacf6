"""source: the pristine tree of each driver."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.driver.fetch import files_of
from foundry.driver.source import RECORD, TAR, source
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_source() -> Iterator[Task]:
    """Unpack driver sources, read-only."""
    one = foundry()
    for driver in plan().by_driver:
        known = one.states.source(driver)
        folder = one.states.source_folder(driver)
        state, reason = known.shown("source")
        yield stage_task(
            "source", driver, source, [driver, known.family],
            doc=f"pristine sources of {known.family['title']} {driver}",
            done=known.source_done, state=state, reason=reason,
            file_dep=[str(folder / name) for name in files_of(known.family, driver)]
            if known.fetch_done or not known.source_done else (),
            targets=[str(folder / RECORD), str(folder / TAR)],
        )
