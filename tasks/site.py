"""site: what is published, for people who look."""

from __future__ import annotations

from tasks.actions import Task, stage_task
from tasks.session import foundry, requested


def task_site() -> Task:
    """Write the pages on what is published; the task looks at all ledgers only where the command line names it."""
    from foundry.run.context import Foundry

    one: Foundry = foundry()
    if not any(name.partition(":")[0] == "site" for name in requested()):
        return {"doc": "pages on what is published, with news and data", "actions": None,
                "meta": {"state": "", "reason": "made when it is asked for"}}
    from foundry.site.site import FOLDER, RECORD, current, site

    done = current(one)
    task = stage_task(
        "site", "", site, [], doc="pages on what is published, with news and data", done=done,
        state="done" if done else "pending", reason="up to date" if done else "what is published changed",
        targets=[str(one.config.build / RECORD), str(one.config.build / FOLDER / "index.html")],
    )
    del task["name"]
    return task
