"""kit: all that a site without a network needs of a driver, in one tar."""

from __future__ import annotations

from collections.abc import Iterator

from foundry.plan.ledger import ledger_path
from tasks.actions import Task, stage_task
from tasks.session import foundry, plan, requested


def task_kit() -> Iterator[Task]:
    """Gather kits; the tasks are there when the command line names them, as no release needs them."""
    yield {"name": None, "doc": "kits of all drivers, each for a site without a network"}
    if not any(name.partition(":")[0] == "kit" for name in requested()):
        return
    from foundry.release import offline_kit

    one = foundry()
    for driver in plan().by_driver:
        done, known = offline_kit.current(one, driver), one.states.ledger(driver) is not None
        task = stage_task(
            "kit", driver, offline_kit.kit, [driver], doc=f"all of {driver} for a site without a network", done=done,
            state="done" if done else "pending", reason="up to date" if done else "images or files changed" if known
            else "there is no ledger yet: run `doit release`",
            targets=[str(offline_kit.kit_file(one, driver))],
            log=one.root / ledger_path(one.config.build, driver).with_name(offline_kit.LOG),
        )
        before = [*(["attest"] if one.settings.image_signing.public_keys else []),
                  *(["bundle"] if one.settings.publish else [])]
        yield {**task, "task_dep": [f"{stage}:{driver}" for stage in before]}
