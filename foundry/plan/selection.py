"""What the command line selects: narrowed builds, and names that exist nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from foundry.base.errors import ConfigError, Fault, UsageError
from foundry.base.names import near
from foundry.base.versions import minor_of, version_key
from foundry.config.load import Config
from foundry.plan.cells import Cell, Gap, Lacking, Mismatch, Plan
from foundry.plan.gaps import gap_faults

_NARROWED = re.compile(r"build:(?P<driver>[^@]+)@(?P<release>.+)$")
_RELEASE = re.compile(r"[0-9*?\[\]!-]+(\.[0-9*?\[\]!-]+){0,2}(-[0-9A-Za-z.]+)?")  # or a minor, or a pattern of either
_SHOWN = "`doit list` shows all"
_OF_DRIVERS, _OF_CELLS = ("build", "publish", "release"), ("module", "sign", "image", "boot", "push")
_NEEDS_KERNELS = ("build", "release", "publish", "push", "module", "sign", "image", "boot")
_ABOUT_DRIVERS = (*_NEEDS_KERNELS, "fetch", "source")
OF_LEDGERS = ("bundle", "day1", "kit")  # clusters need them, of what is published, also where nothing is built


def narrowed_cells(plan: Plan, name: str) -> tuple[Cell, ...]:
    """The cells of ``build:<driver>@<minor or release>``, patterns allowed; none for any other name.

    Raises UsageError for a driver or release that the matrix does not want, and
    ConfigError where the catalogue can't give what it wants.
    """
    match = _NARROWED.match(name)
    if match is None:
        return ()
    driver, release = match.group("driver"), match.group("release")
    drivers = [known for known in plan.by_driver if fnmatchcase(known, driver)]
    if not drivers:
        raise UsageError(_no_driver(driver, plan), hint=_SHOWN)
    return plan.narrowed(driver, release) or _nothing_for(release, drivers, name, plan)


def _nothing_for(release: str, drivers: Sequence[str], name: str, plan: Plan) -> NoReturn:
    """Say what is wrong with a release of these drivers that has no cell."""
    rest = name.partition(":")[2]
    gaps = [gap for gap in plan.gaps if _concerns(rest, gap)]
    if gaps:
        raise ConfigError(gap_faults(plan, gaps))
    withheld = mismatches_of((name,), plan)
    if withheld:
        raise ConfigError([Fault(plan.catalogue, "", text) for text in withheld],
                          hint="a module for another kernel does not load")
    if not _RELEASE.fullmatch(release):
        raise UsageError(f"{release!r} is neither a release nor a minor", hint="such as 4.18.15, 4.18, or '4.1*'")
    wanted = sorted(frozenset[str]().union(*(plan.wants[known] for known in drivers)), key=version_key)
    if minor_of(release) in wanted:  # of which there are others
        empty = "has no release yet" if plan.empty else f"has no release {release}"
        raise ConfigError([Fault(plan.catalogue, "", empty)])
    raise UsageError(f"the matrix wants no release {release} of {', '.join(drivers)}; it wants {', '.join(wanted)}",
                     hint=_SHOWN)


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


def refuse_unknown(
    names: Sequence[str], plan: Plan, tasks: Iterable[str], targets: Iterable[str], commands: Iterable[str] = ()
) -> None:
    """UsageError for the first name that is no task, no target and no pattern that fits one.

    `commands` are other words that may have been meant.
    """
    known, files = set(tasks), set(targets)
    for name in names:
        if name in known or name in files:
            continue
        if "*" in name:
            if not any(fnmatchcase(task, name) for task in known):
                raise UsageError(f"no task fits {name!r}", hint=_SHOWN)
            continue
        raise UsageError(_no_task(name, plan, known.union(commands)), hint=_SHOWN)


def faults_in_the_way(names: Sequence[str], plan: Plan, config: Config) -> list[Fault]:
    """What of the catalogue and the locks is wrong for all that is to be built: of what has cells, the locks alone."""
    wanted = _rests(names, _NEEDS_KERNELS)
    drivers = [driver for driver in plan.by_driver if any(_of_driver(rest, driver) for rest in wanted)]
    families = {plan.families[driver].name for driver in drivers if plan.by_driver[driver]}
    signing = config.settings.signing
    unsigned = families and signing.key and not config.certificate
    return ([] if families else gaps_of(names, plan)) + ([
        Fault(f"config/profiles/{config.profile.name}.yaml", "$.signing.certificate",
              f"{signing.certificate} is not there yet"),
    ] if unsigned else []) + [
        Fault(str(config.locks.path(name)), "$.base", "the base image is not locked yet")
        for name in sorted(families) if config.locks.of(name).base is None
    ]


def gaps_of(names: Sequence[str], plan: Plan) -> list[Fault]:
    """What the catalogue lacks of that which the names ask for; everything else is built."""
    wanted = _rests(names, _NEEDS_KERNELS)
    return gap_faults(plan, [gap for gap in plan.gaps if any(_concerns(rest, gap) for rest in wanted)])


def mismatches_of(names: Sequence[str], plan: Plan) -> list[str]:
    """Why releases that the names ask for, or a flavour of them, are not built, one sentence each."""
    wanted = _rests(names, _NEEDS_KERNELS)
    found: tuple[Mismatch | Lacking, ...] = (*plan.mismatches, *plan.lacking)
    texts = [one.text for one in found if any(_concerns(rest, one) for rest in wanted)]
    if plan.left_alone and wanted:
        texts.append(f"`leave_tags` leaves images of others alone: {', '.join(plan.left_alone)}")
    return list(dict.fromkeys(texts))


def drivers_of(names: Sequence[str], plan: Plan, stages: Sequence[str] = _ABOUT_DRIVERS) -> list[str]:
    """The drivers that tasks of these names are about, of these stages alone."""
    wanted = _rests(names, stages)
    return [driver for driver in plan.by_driver if any(_of_driver(rest, driver) for rest in wanted)]


def _rests(names: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Of the names of these stages: what comes after the stage."""
    return [
        name.partition(":")[2] for name in names if any(fnmatchcase(stage, name.split(":")[0]) for stage in stages)
    ]


def _concerns(rest: str, gap: Gap | Mismatch | Lacking) -> bool:
    """True when the part of a task's name after the stage asks for what the gap lacks."""
    driver, at, release = rest.partition("@")
    if at:
        # a minor of which the catalogue has nothing lacks each of its releases
        wide = isinstance(gap, Gap) and gap.release == minor_of(release)
        asked = (gap.release, minor_of(gap.release))
        return fnmatchcase(gap.driver, driver) and (wide or any(fnmatchcase(one, release) for one in asked))
    return not rest or fnmatchcase(gap.driver, rest)


def _of_driver(rest: str, driver: str) -> bool:
    name = rest.partition("@")[0]
    return not rest or fnmatchcase(driver, name) or name.startswith(f"{driver}-") or "*" in name


def _no_driver(driver: str, plan: Plan) -> str:
    return f"there is no driver {driver} in the matrix; there are {', '.join(plan.by_driver) or 'none'}"


def _no_task(name: str, plan: Plan, known: Iterable[str]) -> str:
    if name.startswith(("build:", "publish:", "release:")):
        return _no_driver(name.partition(":")[2], plan)
    return f"there is no task {name!r}{near(name, known)}"
