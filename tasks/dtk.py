"""dtk: custom toolkits, built, published, and the list of kernels that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from doit.exceptions import TaskFailed

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.plan.catalogue import log_path
from foundry.run.context import Foundry
from tasks.actions import Task, perform, stage_task
from tasks.commands.pages import TASK_OPTIONS
from tasks.session import foundry, requested

if TYPE_CHECKING:
    from foundry.toolkit.state import ToolkitState

_PUBLISH = "dtk:publish"
_VERBS = ("dtk:publish", "dtk:kernels", "dtk:ledger")


def task_dtk() -> Iterator[Task]:
    """Build custom toolkits; never pushes."""
    one = foundry()
    states = _states(one)
    yield {"name": None, "doc": "custom toolkits for all kernels of the kernel list; never pushes",
           "task_dep": [f"dtk:{state.toolkit.kernel}" for state in states if state.toolkit.releases]}
    for state in states:
        yield _built(one, state)


def task_dtk_publish() -> Iterator[Task]:
    """Publish custom toolkits."""
    from foundry.toolkit.state import PUBLISHED, folder_of

    one = foundry()
    states = _states(one)
    yield {"basename": _PUBLISH, "name": None, "doc": "custom toolkits in their registry, and their ledger",
           "task_dep": [f"{_PUBLISH}:{state.toolkit.kernel}" for state in states if state.toolkit.releases]}
    for state in states:
        kernel, done = state.toolkit.kernel, state.state == PUBLISHED
        task = stage_task(
            _PUBLISH, kernel, _push, [kernel], doc=f"toolkit {state.toolkit.tag} in its registry", done=done,
            state="done" if done else "pending", reason=state.reason if done else "not published",
            log=one.root / folder_of(one, kernel) / "push.log",
        )
        yield {**task, "basename": _PUBLISH, "task_dep": [f"dtk:{kernel}"]}


def task_dtk_kernels() -> Task:
    """Find the kernels of the releases' nodes."""
    return {
        "basename": "dtk:kernels", "doc": "bring the kernel list and the toolkits' bases up to date",
        "actions": [update], "uptodate": [False], "io": {"capture": False}, "verbosity": 2,
        "params": list(TASK_OPTIONS["dtk:kernels"]),
    }


def task_dtk_ledger() -> Task:
    """Bring the ledger of toolkits up to date with their registry."""
    return {
        "basename": "dtk:ledger", "doc": "add toolkits that other machines published to the ledger",
        "actions": [(perform, ["dtk:ledger", _keep, (), None])], "uptodate": [False], "io": {"capture": False},
        "verbosity": 2,
    }


def update(allow_shrink: bool, update_base: bool) -> TaskFailed | None:
    """The task's action."""
    from foundry.toolkit.refresh_kernels import refresh

    one: Foundry = foundry()
    work = partial(refresh, allow_shrink=allow_shrink, update_base=update_base)
    return perform("dtk:kernels", work, (), one.root / log_path(one.config))


def _build(one: Foundry, kernel: str) -> None:
    from foundry.toolkit.build import build

    build(one, kernel)


def _push(one: Foundry, kernel: str) -> None:
    from foundry.toolkit.publish import push

    push(one, kernel)


def _keep(one: Foundry) -> None:
    from foundry.toolkit.publish import keep_ledger

    keep_ledger(one)


def _built(one: Foundry, state: ToolkitState) -> Task:
    from foundry.toolkit.state import LOG, PENDING, RECORD, folder_of

    toolkit, folder = state.toolkit, folder_of(one, state.toolkit.kernel)
    done = state.state != PENDING
    return stage_task(
        "dtk", toolkit.kernel, _build, [toolkit.kernel], doc=f"toolkit of {toolkit.kernel}", done=done,
        state="done" if done else "pending", reason=state.reason,
        file_dep=toolkit.files if state.built else (), targets=[str(folder / RECORD)] if state.built else (),
        log=one.root / folder / LOG,
    )


def _states(one: Foundry) -> list[ToolkitState]:
    """The toolkits of the kernel list, and those that the command line names."""
    from foundry.plan.toolkits import listed, toolkit_of
    from foundry.toolkit.state import read_ledger, state_of

    asked = _asked()
    try:
        toolkits = {toolkit.kernel: toolkit for toolkit in listed(one.config)}
    except FoundryError:
        if asked is not None:
            raise
        return []  # what has to do with toolkits says so; nothing else needs them
    if asked is not None and not asked and not toolkits:
        fault = Fault(one.settings.toolkits.kernels, "$.releases", "names no kernel yet")
        raise ConfigError([fault], hint="run `doit dtk:kernels`, or name a kernel: `doit dtk:KERNEL`")
    for kernel in asked or ():
        if kernel not in toolkits:
            toolkits[kernel] = toolkit_of(one.config, kernel)
    if not toolkits:
        return []
    ledger = read_ledger(one)
    return [state_of(one, toolkit, one.config.kernels, ledger) for toolkit in toolkits.values()]


def _asked() -> Sequence[str] | None:
    """The kernels that the command line names; None when it asks for no toolkit at all."""
    names = [name for name in requested() if name == "dtk" or name.startswith("dtk:")]
    names = [name for name in names if name not in _VERBS[1:]]
    if not names:
        return None
    rests = [name.removeprefix(_PUBLISH).removeprefix("dtk").removeprefix(":") for name in names]
    return [rest for rest in rests if rest and "*" not in rest]
