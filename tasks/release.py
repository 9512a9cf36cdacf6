"""release: each driver's sources, ledger, notes and GitHub release.

These tasks read records and ledgers as files and hang on no cell's task: `doit
release` tries all cells first, then runs these, whatever failed
(tasks/commands/passes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed

from foundry.github.repository import LOG, repository
from foundry.plan.ledger import ledger_path
from foundry.run.context import Foundry
from tasks.actions import Task, perform, stage_task
from tasks.commands.pages import TASK_OPTIONS
from tasks.session import foundry, plan

if TYPE_CHECKING:
    from foundry.release.bundle import Asked

_NOTHING = "there is no ledger yet: run `doit release`"


def task_assets() -> Iterator[Task]:
    """Make the source tarballs of releases."""
    from foundry.release import source_tarballs

    one = foundry()
    for driver, family in plan().families.items():
        lacking = _lacking(one, driver)
        state, reason = _current(one, driver)
        yield stage_task(
            "assets", driver, source_tarballs.make, [driver], doc=f"source tarballs of {family['title']} {driver}",
            done=not lacking, state="pending" if lacking else state,
            reason=f"missing: {', '.join(lacking)}" if lacking else reason,
            targets=_tarballs(one, driver),
            log=one.root / ledger_path(one.config.build, driver).with_name(source_tarballs.LOG),
        )


def task_ledger() -> Iterator[Task]:
    """Keep ledgers beside the images."""
    from foundry.ledger import ledgers

    one = foundry()
    for driver in plan().by_driver:
        done = ledgers.stored(one, driver)
        state, current = _current(one, driver)
        pending = _NOTHING if one.states.ledger(driver) is None else "changed since it was kept"
        # Not the ledger itself: the notes read it, and a release must not hang on a registry that takes no ledgers.
        marks = ledger_path(one.config.build, driver).with_name(ledgers.STORED)
        yield stage_task(
            "ledger", driver, ledgers.store, [driver],
            doc=f"ledger of {driver}", done=done, state=state if done else "pending",
            reason=current if done else pending,
            targets=[str(marks)] if one.settings.publish and (not done or (one.root / marks).exists()) else (),
        )


def task_attest() -> Iterator[Task]:
    """Keep what users verify images with."""
    one = foundry()
    if not one.settings.image_signing.public_keys:
        return
    from foundry.release import attested

    for driver in plan().by_driver:
        yield _folder_task(one, driver, attested, attested.attest, f"keys, policies and statements of {driver}",
                           "images or keys changed")


def task_bundle() -> Iterator[Task]:
    """Write the manifests for clusters."""
    one = foundry()
    if not one.settings.publish:
        return
    from foundry.release import bundle

    for driver in plan().by_driver:
        task = _folder_task(one, driver, bundle, bundle.bundle, f"Kubernetes manifests of {driver}",
                            "images or settings changed")
        yield {**task, "params": list(TASK_OPTIONS["bundle"]), "actions": [(write_bundle, [driver])],
               "uptodate": [(_has_bundle, [driver, *task["uptodate"]])]}


def task_day1() -> Iterator[Task]:
    """Have images under their kernels' names alone."""
    one = foundry()
    if not one.settings.publish or not one.settings.kmm.boot_repository:
        return
    from foundry.release import day1

    for driver in plan().by_driver:
        done, known = day1.current(one, driver), one.states.ledger(driver) is not None
        yield stage_task(
            "day1", driver, day1.tag_kernels, [driver], doc=f"images of {driver} by kernel alone",
            done=done, state="done" if done else "pending",
            reason="up to date" if done else "images changed" if known else _NOTHING,
            file_dep=day1.file_deps(one, driver) if known else (),
        )


def write_bundle(driver: str, **options: Any) -> TaskFailed | None:
    """The task's action."""
    from foundry.release.bundle import bundle

    return perform(f"bundle:{driver}", bundle, [driver, _asked(options)], None)


def _has_bundle(task: Any, values: object, driver: str, whole: bool) -> bool:
    """Whether there is what the options ask for; without any it is known already whether the whole is there."""
    from foundry.release.bundle import ALL, current

    asked = _asked(task.options or {})
    return whole if asked == ALL else current(foundry(), driver, asked)


def _asked(options: Mapping[str, Any]) -> Asked:
    from foundry.release.bundle import Asked

    def parts(name: str) -> tuple[str, ...]:
        return tuple(part.strip() for text in options.get(name, ()) for part in text.split(",") if part.strip())

    return Asked(parts("kernels"), parts("releases"), parts("minor"), bool(options.get("no_fallback")),
                 str(options.get("kmm", "")))


def task_notes() -> Iterator[Task]:
    """Write the notes of releases."""
    from foundry.release import notes

    one = foundry()
    for driver in plan().by_driver:
        done = notes.current(one, driver)
        pending = "what they say changed" if one.states.ledger(driver) is not None else _NOTHING
        task = stage_task(
            "notes", driver, notes.notes, [driver], doc=f"notes of {driver}", done=done,
            state="done" if done else "pending", reason="up to date" if done else pending,
            file_dep=notes.file_deps(one, driver) if one.states.ledger(driver) is not None else (),
            targets=notes.targets(one, driver),
        )
        before = ["attest"] if one.settings.image_signing.public_keys else []
        before += ["bundle"] if one.settings.publish else []
        yield {**task, "task_dep": [f"{stage}:{driver}" for stage in before]}


def task_github() -> Iterator[Task]:
    """Bring GitHub releases up to date."""
    one = foundry()
    if not repository(one):
        return
    from foundry.release import github_release

    for driver in plan().by_driver:
        task = stage_task(
            "github", driver, github_release.github, [driver], doc=f"GitHub release of {driver}", done=False,
            state="pending",
            reason="GitHub is asked each time",
            log=one.root / ledger_path(one.config.build, driver).with_name(LOG),
        )
        yield {**task, "task_dep": [f"notes:{driver}"]}


def task_release() -> Iterator[Task]:
    """Publish, then sources, notes and GitHub releases."""
    one = foundry()
    last = "github" if repository(one) else "notes"
    drivers = list(plan().by_driver)
    yield {"name": None, "doc": "everything published, with notes and sources, on GitHub where the profile says so",
           "task_dep": [f"release:{driver}" for driver in drivers]}
    for driver in drivers:
        tags = [f"day1:{driver}"] if one.settings.publish and one.settings.kmm.boot_repository else []
        yield {"name": driver, "doc": f"{driver} published, with notes and sources", "actions": None,
               "task_dep": [*tags, f"{last}:{driver}"]}


def _folder_task(one: Foundry, driver: str, stage: Any, work: Callable[..., None], doc: str, changed: str) -> Task:
    """The task of a stage that leaves a folder beside the ledger."""
    done, known = stage.current(one, driver), one.states.ledger(driver) is not None
    return stage_task(
        stage.FOLDER.stage, driver, work, [driver], doc=doc, done=done, state="done" if done else "pending",
        reason="up to date" if done else changed if known else _NOTHING,
        file_dep=stage.file_deps(one, driver) if known else (), targets=[stage.FOLDER.record_path(one, driver)],
    )


def _current(one: Foundry, driver: str) -> tuple[str, str]:
    """State and reason where there is nothing to do: of a driver that has no ledger nothing was ever done."""
    return ("done", "up to date") if one.states.ledger(driver) is not None else ("", _NOTHING)


def _tarballs(one: Foundry, driver: str) -> list[str]:
    """The tarballs' files, of those that the ledger knows and that are here."""
    from foundry.release import source_tarballs

    ledger, folder = one.states.ledger(driver), ledger_path(one.config.build, driver).parent
    known = source_tarballs.tarballs(one, driver, ledger) if ledger is not None else {}
    return [str(folder / name) for name, entry in known.items() if source_tarballs.here(one, driver, name, entry)]


def _lacking(one: Foundry, driver: str) -> list[str]:
    """The tarballs that must be made: without GitHub their files have to be here, with it only where it lacks them."""
    from foundry.release import source_tarballs

    ledger = one.states.ledger(driver)
    if ledger is None:
        return []
    lacking = source_tarballs.missing(one, driver, ledger)
    if not repository(one):
        known = source_tarballs.tarballs(one, driver, ledger)
        lacking += [
            entry["kind"] for name, entry in known.items() if not source_tarballs.here(one, driver, name, entry)
        ]
    return lacking
