"""rebuild: published images built anew, from their provenance, and compared."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actions import Task, stage_task
from tasks.session import foundry, plan, requested


def task_rebuild() -> Iterator[Task]:
    """Build published images anew; its tasks are there when the command line names them."""
    from foundry.ledger.rebuild import rebuild

    yield {"name": None, "doc": "published images built anew from their provenance, and compared"}
    if not any(name.partition(":")[0] == "rebuild" for name in requested()):
        return
    for cell in plan().cells:
        ledger = foundry().states.ledger(cell.driver)
        if "rebuild" in requested() and (ledger is None or (cell.kernel, cell.arch) not in ledger.rows):
            continue  # all are meant that there are
        task = stage_task("rebuild", cell.name, rebuild, [cell], doc=f"image of {cell.name}, built anew", done=False,
                          state="", reason="looks each time")
        yield {**task, "verbosity": 2}
