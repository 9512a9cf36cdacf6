"""toolkit: the catalogue and the locks' base images, brought up to date from the network."""

from __future__ import annotations

from functools import partial

from doit.exceptions import TaskFailed

from foundry.plan.catalogue import PR_LOG, log_path, unread_toolkits
from foundry.plan.locks import pending_bases
from foundry.run.context import Foundry
from tasks.actions import Task, perform
from tasks.commands.pages import TASK_OPTIONS
from tasks.session import foundry


def task_toolkit() -> Task:
    """Find releases, their toolkits and kernels, and the base image."""
    one = foundry()
    unread, bases = len(unread_toolkits(one.config)), pending_bases(one.config, update=False)
    lacking = [
        *(["the catalogue is empty"] if not one.config.catalogue else []),
        *([f"{unread} {'toolkit' if unread == 1 else 'toolkits'} without kernel"] if unread else []),
        *(["a base image is not locked"] if bases else []),
    ]
    return {
        "doc": "bring the catalogue and the base images up to date", "actions": [update], "uptodate": [False],
        "io": {"capture": False}, "verbosity": 2,
        "meta": {"state": "pending" if lacking else "", "reason": "; ".join(lacking)},
        "params": list(TASK_OPTIONS["toolkit"]),
    }


def task_toolkit_pr() -> Task:
    """Propose what `toolkit` found; it does not run with `toolkit`, which may run where nothing is to be proposed."""
    return {
        "basename": "toolkit:pr", "doc": "open or update the pull request with catalogue and locks",
        "actions": [offer], "uptodate": [False], "io": {"capture": False}, "verbosity": 2,
    }


def update(allow_shrink: bool, update_base: bool) -> TaskFailed | None:
    """The task's action."""
    from foundry.catalogue.refresh import refresh
    from foundry.toolkit.catalogue_entries import PublishedToolkits

    one: Foundry = foundry()
    work = partial(refresh, custom=PublishedToolkits.of, allow_shrink=allow_shrink, update_base=update_base)
    return perform("toolkit", work, (), one.root / log_path(one.config))


def offer() -> TaskFailed | None:
    """The task's action."""
    from foundry.catalogue.pull_request import propose

    one: Foundry = foundry()
    return perform("toolkit:pr", propose, (), one.root / log_path(one.config, PR_LOG))
