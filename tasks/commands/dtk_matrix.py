"""`doit dtk:matrix`: the kernel list with the state of each toolkit; as JSON the matrix of a GitHub Actions job."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doit.cmd_base import Command

from foundry.base.versions import rhel_release
from foundry.fleet.spread import MOST_JOBS
from tasks import session
from tasks.commands.told import told

if TYPE_CHECKING:
    from foundry.plan.toolkits import Toolkit
    from foundry.toolkit.state import ToolkitState

_SEED = "seed"
_OPTIONS = (
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
     "help": 'one line {"include": [...]}, alone on stdout'},
    {"name": "format", "short": "", "long": "format", "type": str, "default": "", "metavar": "FORM",
     "choices": ((_SEED, ""),),
     "help": "seed: versions with rhel, kernel and archs, as the shell scripts had them, alone on stdout"},
    {"name": "pending", "short": "", "long": "pending", "type": bool, "default": False,
     "help": f"those alone that are not published, at most {MOST_JOBS}: what a run of a workflow has to do"},
)
_RELEASES = 4  # of a kernel, in the table


class Matrix(Command):  # type: ignore[misc]  # reason: doit has no types
    """The kernels that custom toolkits are for."""

    name = "dtk:matrix"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 0 also where nothing is pending."""
        states = _states(pending=params["pending"])
        if params["format"]:
            sys.stdout.write(json.dumps(seed(state.toolkit for state in states), indent=2) + "\n")
        elif params["json"]:
            document = {"include": [entry(state, session.foundry().settings.runners) for state in states]}
            sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in table(states))
        return 0


def _states(*, pending: bool) -> list[ToolkitState]:
    """Asks for the ledger if this checkout has none."""
    from foundry.plan.toolkits import listed
    from foundry.toolkit.remote import have_ledger
    from foundry.toolkit.state import PUBLISHED, read_ledger, state_of

    one = session.foundry()
    toolkits = listed(one.config)
    if not toolkits:
        file = one.settings.toolkits.kernels
        print(f"hint: {file} names no kernel yet: run `doit dtk:kernels`", file=sys.stderr)
        return []
    have_ledger(one)
    ledger = read_ledger(one)
    states = [state_of(one, toolkit, one.config.kernels, ledger) for toolkit in toolkits]
    if pending:
        states = [state for state in states if state.state != PUBLISHED]
        if len(states) > MOST_JOBS:
            print(f"warning: {len(states) - MOST_JOBS} more are pending than a workflow may have jobs:"
                  " the next run does them", file=sys.stderr)
    return states[:MOST_JOBS] if pending else states


def entry(state: ToolkitState, runners: Mapping[str, str]) -> dict[str, Any]:
    """What a job needs to know of its toolkit; `runners` are by architecture."""
    toolkit = state.toolkit
    return {
        "kernel": toolkit.kernel, "arch": toolkit.arch, "tag": toolkit.tag, "runner": runners[toolkit.arch],
        "recipe": toolkit.recipe.name, "releases": list(toolkit.releases), "state": state.state,
        "reason": state.reason, "digest": state.row["digest"] if state.row is not None else None,
    }


def seed(toolkits: Iterable[Toolkit]) -> dict[str, Any]:
    """The library as the shell scripts' matrix had it: a row for each kernel, with its architectures."""
    archs: dict[str, list[str]] = {}
    for toolkit in toolkits:
        archs.setdefault(toolkit.kernel.removesuffix(f".{toolkit.arch}"), []).append(toolkit.arch)
    return {"versions": [{"rhel": rhel_release(kernel) or "", "kernel": kernel, "archs": sorted(found)}
                         for kernel, found in archs.items()]}


def table(states: Sequence[ToolkitState]) -> Iterator[str]:
    """A line for each kernel."""
    width = max((len(state.toolkit.kernel) for state in states), default=0)
    for state in states:
        toolkit = state.toolkit
        more = f" and {len(toolkit.releases) - _RELEASES} more" if toolkit.releases[_RELEASES:] else ""
        yield (f"{state.state:<10}{toolkit.kernel:<{width}}  {toolkit.recipe.name:<15}"
               f"{', '.join(toolkit.releases[:_RELEASES])}{more}  ({state.reason})")
