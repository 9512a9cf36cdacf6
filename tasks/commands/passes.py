"""A run in passes: cells first; then what reads their records as files, whatever failed.

Each pass is a run of doit over tasks that are loaded anew, so that it sees what
the one before left (docs/decisions/0010-releases-in-passes.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from foundry.base.errors import UsageError
from foundry.base.reasons import Reason
from foundry.plan.selection import drivers_of
from foundry.plan.state import BUILT, PUBLISHED, CellState
from foundry.run.context import Foundry

_PUBLISHES = ("publish", "push")
_SHOWN = 20


def is_release(name: str) -> bool:
    """Whether a task of the command line is a release, of one driver or of all."""
    return name.partition(":")[0] == "release"


def publishes(name: str) -> bool:
    """Whether a task of the command line pushes."""
    return name.startswith(_PUBLISHES)


def pushes_toolkits(name: str) -> bool:
    """The same of toolkits."""
    return name.startswith("dtk:publish")


def keeps_ledger(name: str) -> bool:
    """Whether ledgers are kept beside the images after it; a push leaves its row in this checkout alone."""
    return name.startswith("publish")


def first_pass(names: Sequence[str], one: Foundry) -> list[str]:
    """The tasks that come first: those of the command line, with the cells of releases in place of the releases."""
    stage = "publish" if one.settings.publish else "build"
    cells = [f"{stage}{name.removeprefix('release')}" for name in names if is_release(name)]
    return list(dict.fromkeys([*cells, *(name for name in names if not is_release(name))]))


def later_passes(names: Sequence[str], one: Foundry) -> list[list[str]]:
    """The tasks of each further pass; the ledgers' has a pass of its own, as a release does not hang on it."""
    released = drivers_of([name for name in names if is_release(name)], one.states.plan)
    published = drivers_of([name for name in names if keeps_ledger(name)], one.states.plan)
    kept = [driver for driver in one.states.plan.by_driver if driver in {*released, *published}]
    sources, ledgers = [f"assets:{driver}" for driver in released], [f"ledger:{driver}" for driver in kept]
    # What is kept beside the images names the sources; where nothing is published, the ledger is what they are made of.
    first = [sources, ledgers] if one.settings.publish else [ledgers, sources]
    return [*first, [f"release:{driver}" for driver in released]]


def require_releases(names: Sequence[str]) -> None:
    """UsageError unless every task is a release: nothing else can be done without building."""
    other = [name for name in names if not is_release(name)]
    if other or not names:
        raise UsageError(f"--no-build is for releases, not for {', '.join(other) or 'builds'}",
                         hint="`doit run --no-build release`")


def unfinished(names: Sequence[str], one: Foundry) -> list[str]:
    """What the releases lack: cells that failed or that nobody built or published, one sentence each."""
    drivers = set(drivers_of(names, one.states.plan))
    cells = [cell for cell in one.states.plan.cells if cell.driver in drivers]
    lacking = [f"{state.cell.name} is not {_lacks(one, state)}" for state in one.states.of_all(cells)
               if not _finished(one, state)]
    more = len(lacking) - _SHOWN
    return [*lacking[:_SHOWN], *([f"and {more} more: `doit status`"] if more > 0 else [])]


def _lacks(one: Foundry, state: CellState) -> str:
    if not one.settings.publish:
        return f"built: {state.reason}"
    if state.adopted and state.why.code == Reason.NOT_PROVEN:
        return f"proven: {state.reason}"
    return f"published: {state.reason if state.state != BUILT else 'built, not pushed'}"


def _finished(one: Foundry, state: CellState) -> bool:
    from foundry.ledger.publish import published

    return published(one, state) if one.settings.publish else state.state in (BUILT, PUBLISHED)


def needless(tasks: Sequence[str], one: Foundry) -> bool:
    """Whether a pass has nothing to do: no task, or ledgers alone that are kept already."""
    from foundry.ledger.ledgers import stored

    return all(name.startswith("ledger:") and stored(one, name.partition(":")[2]) for name in tasks)
