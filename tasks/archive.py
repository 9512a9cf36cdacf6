"""archive: the audited archive of every version of a family's package, and the proof of one that is there."""

from __future__ import annotations

from collections.abc import Iterator

from doit.exceptions import TaskFailed

from foundry.run.context import Foundry
from tasks.actions import Task, perform
from tasks.session import foundry


def task_archive() -> Iterator[Task]:
    """Keep every version of a package in a git repository; it asks the vendor's repository each time."""
    from foundry.archive.settings import families

    one = foundry()
    yield {"name": None, "doc": "bring the archives of drivers' sources up to date"}
    for family in families(one):
        record = one.root / one.config.build / "archive" / f"{family.name}.json"
        known = record.exists()
        yield {
            "name": family.name, "doc": f"archive of {family['title']}", "actions": [(bring, [family.name])],
            "uptodate": [False], "io": {"capture": False}, "verbosity": 2,
            "meta": {"state": "" if known else "pending", "reason": "" if known else "never archived here"},
        }


def task_archive_verify() -> Iterator[Task]:
    """Prove archives from their own content and the pinned key; it does not run with `archive`."""
    from foundry.archive.settings import families

    one = foundry()
    yield {"basename": "archive:verify", "name": None, "doc": "prove the archives: signatures, contents, messages"}
    for family in families(one):
        yield {
            "basename": "archive:verify", "name": family.name, "doc": f"prove the archive of {family['title']}",
            "actions": [(prove, [family.name])], "uptodate": [False], "io": {"capture": False}, "verbosity": 2,
            "meta": {"state": "", "reason": ""},
        }


def bring(name: str) -> TaskFailed | None:
    """The task's action."""
    from foundry.archive.run import archive

    one: Foundry = foundry()
    log = one.root / one.config.build / "archive" / f"{name}.log"
    return perform(f"archive:{name}", archive, [one.config.families[name]], log)


def prove(name: str) -> TaskFailed | None:
    """The task's action."""
    from foundry.archive.verify import verify

    return perform(f"archive:verify:{name}", verify, [foundry().config.families[name]], None)
