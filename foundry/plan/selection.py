"""What the command line selects: narrowed builds, and names that exist nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from foundry.base.errors import ConfigError, Fault, UsageError
from foundry.base.versions import minor_of
from foundry.config.load import Config
from foundry.plan.cells import Cell, Gap, Lacking, Mismatch, Plan

_NARROWED = re.compile(r"build:(?P<driver>[^@]+)@(?P<release>.+)$")
_SHOWN = "`doit list` shows all"
_OF_DRIVERS, _OF_CELLS = ("build", "publish", "release"), ("module", "image", "push")
_NEEDS_ALL = ("build", "release", "publish", "push", "module", "image", "fetch", "source")


def narrowed_cells(plan: Plan, name: str) -> tuple[Cell, ...]:
    """The cells of ``build:<driver>@<minor or release>``, patterns allowed; none for any other name.

    Raises UsageError for a driver or release that the matrix does not want, and
    ConfigError where the catalogue has no release at all.
    """
    match = _NARROWED.match(name)
    if match is None:
        return ()
    if not plan.cells:
        raise ConfigError(plan.gap_faults() or [Fault(plan.catalogue, "", "has no release yet")])
    driver, release = match.group("driver"), match.group("release")
    drivers = [known for known in plan.by_driver if fnmatchcase(known, driver)]
    if not drivers:
        raise UsageError(_no_driver(driver, plan), hint=_SHOWN)
    cells = plan.narrowed(driver, release)
    if not cells:
        gaps = [gap for gap in plan.gaps if _concerns(name.partition(":")[2], gap)]
        if gaps:
            raise ConfigError(plan.gap_faults(gaps))
        withheld = mismatches_of((name,), plan)
        if withheld:
            raise ConfigError([Fault(plan.catalogue, "", text) for text in withheld],
                              hint="a module for another kernel does not load")
        releases = {have for known in drivers for cell in plan.by_driver[known] for have in cell.releases}
        wanted = sorted(releases | {minor_of(have) for have in releases})
        raise UsageError(
            f"the matrix wants no release {release} of {driver}; it wants {', '.join(wanted) or 'none'}", hint=_SHOWN
        )
    return cells


def reach(names: Sequence[str], plan: Plan) -> Plan:
    """The part of the plan that tasks of these names can have to do with; all of it where one may mean anything.

    Raises as `narrowed_cells` does.
    """
    cells: dict[str, Cell] = {}
    for name in names:
        stage, _, rest = name.partition(":")
        if stage in _OF_DRIVERS and rest in plan.by_driver:
            found = plan.by_driver[rest]
        elif stage in _OF_CELLS and rest in plan.by_name:
            found = (plan.by_name[rest],)
        else:
            found = narrowed_cells(plan, name)
        if not found:
            return plan
        cells |= {cell.name: cell for cell in found}
    return plan.only(cells.values()) if names else plan


def refuse_unknown(names: Sequence[str], plan: Plan, tasks: Iterable[str], targets: Iterable[str]) -> None:
    """UsageError for the first name that is no task, no target and no pattern that fits one."""
    known, files = set(tasks), set(targets)
    for name in names:
        if name.startswith("-"):
            return  # options of a task follow
        if name in known or name in files:
            continue
        if "*" in name:
            if not any(fnmatchcase(task, name) for task in known):
                raise UsageError(f"no task fits {name!r}", hint=_SHOWN)
            continue
        raise UsageError(_no_task(name, plan, known), hint=_SHOWN)


def faults_in_the_way(names: Sequence[str], plan: Plan, config: Config) -> list[Fault]:
    """What of the matrix, the catalogue and the locks is wrong for what is to be built."""
    wanted = _rests(names)
    faults = plan.gap_faults(gap for gap in plan.gaps if any(_concerns(rest, gap) for rest in wanted))
    families = {
        family.name for driver, family in plan.families.items()
        if plan.by_driver[driver] and any(_of_driver(rest, driver) for rest in wanted)
    }
    return faults + [
        Fault(str(config.locks.path(name)), "$.base", "the base image is not locked yet")
        for name in sorted(families) if config.locks.of(name).base is None
    ]


def mismatches_of(names: Sequence[str], plan: Plan) -> list[str]:
    """Why releases that the names ask for, or a flavour of them, are not built, one sentence each."""
    wanted = _rests(names)
    found: tuple[Mismatch | Lacking, ...] = (*plan.mismatches, *plan.lacking)
    return list(dict.fromkeys(
        one.text for one in found if any(_concerns(rest, one) for rest in wanted)
    ))


def drivers_of(names: Sequence[str], plan: Plan) -> list[str]:
    """The drivers that tasks of these names are about."""
    return [driver for driver in plan.by_driver if any(_of_driver(rest, driver) for rest in _rests(names))]


def _rests(names: Sequence[str]) -> list[str]:
    """Of the names whose stage is about cells: what comes after the stage."""
    return [
        name.partition(":")[2] for name in names if any(fnmatchcase(stage, name.split(":")[0]) for stage in _NEEDS_ALL)
    ]


def _concerns(rest: str, gap: Gap | Mismatch | Lacking) -> bool:
    """True when the part of a task's name after the stage asks for what the gap lacks."""
    driver, at, release = rest.partition("@")
    if at:
        asked = (gap.release, minor_of(gap.release))
        return fnmatchcase(gap.driver, driver) and any(fnmatchcase(one, release) for one in asked)
    return not rest or fnmatchcase(gap.driver, rest)


def _of_driver(rest: str, driver: str) -> bool:
    name = rest.partition("@")[0]
    return not rest or fnmatchcase(driver, name) or name.startswith(f"{driver}-") or "*" in name


def _no_driver(driver: str, plan: Plan) -> str:
    return f"there is no driver {driver} in the matrix; there are {', '.join(plan.by_driver) or 'none'}"


def _no_task(name: str, plan: Plan, known: Iterable[str]) -> str:
    import difflib

    if name.startswith(("build:", "publish:", "release:")):
        return _no_driver(name.partition(":")[2], plan)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"there is no task {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
