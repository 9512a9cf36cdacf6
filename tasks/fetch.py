"""fetch: the driver's package, verified."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.driver.fetch import LOG, RECORD, fetch, files_of
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan


def task_fetch() -> Iterator[Task]:
    """Fetch and verify driver packages."""
    one = foundry()
    for driver in plan().by_driver:
        source = one.states.source(driver)
        folder = one.states.source_folder(driver)
        state, reason = source.shown("fetch")
        yield stage_task(
            "fetch", driver, fetch, [driver, source.family],
            doc=f"package of {source.family['title']} {driver}, verified",
            done=source.fetch_done, state=state, reason=reason,
            targets=[str(folder / name) for name in (*files_of(source.family, driver), RECORD)], log=folder / LOG,
        )
