"""What the command line selects: narrowed builds, and names that exist nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tasks.core.cells import Cell, Plan
from tasks.core.errors import ConfigError, Fault
from tasks.core.versions import minor_of

_NARROWED = re.compile(r"build:(?P<driver>[^@]+)@(?P<release>.+)$")
_NEEDS_CELLS = ("build", "module", "image", "fetch", "source")


def narrowed_cells(plan: Plan, name: str) -> tuple[Cell, ...]:
    """The cells of ``build:<driver>@<minor or release>``; none for any other name.

    Raises ConfigError for a driver or release that the matrix does not want.
    """
    match = _NARROWED.match(name)
    if match is None:
        return ()
    driver, release = match.group("driver"), match.group("release")
    if driver not in plan.by_driver:
        raise ConfigError([Fault("", "", f"{name}: no driver {driver} in the matrix; there are "
                                         f"{', '.join(plan.by_driver) or 'none'}")])
    cells = plan.narrowed(driver, release)
    if not cells:
        releases = {have for cell in plan.by_driver[driver] for have in cell.releases}
        known = sorted(releases | {minor_of(have) for have in releases})
        raise ConfigError([Fault("", "", f"{name}: the matrix wants no release {release} of {driver}; it wants "
                                         f"{', '.join(known) or 'none'}")])
    return cells


def unknown_names(names: Sequence[str], tasks: Iterable[str], targets: Iterable[str]) -> list[Fault]:
    """The names on a command line that are no task, no target and no pattern that fits one."""
    from fnmatch import fnmatchcase

    known, files = set(tasks), set(targets)
    faults = []
    for name in names:
        if name.startswith("-"):
            break  # options of a task follow
        if name in known or name in files:
            continue
        if "*" in name:
            if not any(fnmatchcase(task, name) for task in known):
                faults.append(Fault("", "", f"no task fits {name!r}; `doit list` shows all"))
            continue
        import difflib

        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        faults.append(Fault("", "", f"there is no task {name!r}; " + (
            f"did you mean {', '.join(near)}?" if near else "`doit list` shows all"
        )))
    return faults


def gaps_in_the_way(names: Sequence[str], plan: Plan) -> list[Fault]:
    """The faults of the matrix that concern what is to be built."""
    wanted = [name.partition(":")[2] for name in names if name.split(":")[0] in _NEEDS_CELLS]
    return plan.gap_faults(gap for gap in plan.gaps if any(_concerns(rest, gap.driver) for rest in wanted))


def _concerns(rest: str, driver: str) -> bool:
    """True when the part of a task's name after the stage means the driver, or everything."""
    return not rest or "*" in rest or rest == driver or rest.startswith((f"{driver}@", f"{driver}-"))
