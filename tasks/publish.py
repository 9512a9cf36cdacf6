"""publish: what the ledgers lack, pushed to the profile's registries."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actions import Task, stage_task
from tasks.build import by_toolkit
from tasks.session import foundry, plan


def task_push() -> Iterator[Task]:
    """Push images and prove that the registries have them."""
    one = foundry()
    if not one.settings.publish:
        return  # the task loader says so when it is asked for
    from foundry.ledger import publish

    for state in one.states.of_all(plan().cells):
        cell = state.cell
        done = publish.published(one, state)
        folder = one.states.cell_path(cell)
        record = f"{folder}/{publish.RECORD}"
        task = stage_task(
            "push", cell.name, publish.push, [cell], doc=f"image {cell.tag} in its registries", done=done,
            state="done" if done else "pending",
            reason="up to date" if done else (
                "other releases, tags or registries, or not signed yet" if state.adopted else "not published yet"),
            # what is published from elsewhere has no record here
            targets=[record] if not done or (one.root / record).exists() else (),
            log=f"{folder}/{publish.LOG}",
        )
        proof = [] if one.settings.proof == "off" else [f"boot:{cell.name}"]
        yield {**task, "task_dep": [f"image:{cell.name}", *proof]}


def task_publish() -> Iterator[Task]:
    """Publish what the ledgers lack."""
    if not foundry().settings.publish:
        return
    part = plan()
    yield {
        "name": None, "doc": "images of all drivers in the profile's registries, proven; the ledgers",
        "task_dep": by_toolkit(part, "push"),
    }
    for driver, cells in part.by_driver.items():
        yield {
            "name": driver, "doc": f"images of {driver} in the profile's registries", "actions": None,
            "task_dep": [f"push:{cell.name}" for cell in cells],
        }
