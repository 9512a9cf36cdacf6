"""toolkit: the kernels that the catalogue lacks, by small reads from the toolkits' registries."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actions import Task, stage_task
from tasks.session import foundry
from tasks.stages.toolkit import read_kernel, record_path, unread_toolkits


def task_toolkit() -> Iterator[Task]:
    """Complete the catalogue: read the kernels of toolkits that are listed without one."""
    one = foundry()
    yield {"name": None, "doc": "complete the catalogue: kernels that it lacks, read from the toolkits"}
    for toolkit in unread_toolkits(one.config):
        record = record_path(one.config, toolkit)
        releases = ", ".join(toolkit.releases)
        yield stage_task(
            "toolkit", toolkit.name, read_kernel, [toolkit], doc=f"kernel of {releases}", done=False, state="pending",
            reason=f"the kernel of {releases} is not in the catalogue", targets=[str(record)],
            log=record.with_suffix(".log"),
        )
