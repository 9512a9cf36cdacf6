"""The task loader: configuration faults and unknown names end every command in the same way."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from doit.cmd_base import NamespaceTaskLoader
from doit.exceptions import InvalidDodoFile
from doit.loader import generate_tasks, get_module

from foundry.base.errors import ConfigError, Fault, FoundryError, UsageError
from foundry.github.repository import repository, require_token
from foundry.plan.catalogue import unread_toolkits
from foundry.plan.gaps import gap_faults
from foundry.plan.selection import (
    OF_LEDGERS,
    drivers_of,
    faults_in_the_way,
    gaps_of,
    mismatches_of,
    reach,
    refuse_unknown,
)
from foundry.run.context import has_ledger
from foundry.run.stages import of_groups
from tasks import session
from tasks.commands import workflow
from tasks.commands.arguments import VERSION, look_at, names_in
from tasks.commands.pages import PAGES
from tasks.commands.passes import is_release, publishes, pushes_toolkits
from tasks.commands.told import heed_signals, tell, tell_interrupted

_NAMES_TASKS = {"run", "info", "list", "clean", "plan"}
_OF_CELLS = of_groups("build", "publish")
_OF_RELEASES = of_groups("release")
_OF_PEOPLE = frozenset({"site"})  # it says itself what can't be read
_SHOWS_STATES = {"status"}  # these commands need no tasks


class Loader(NamespaceTaskLoader):  # type: ignore[misc]  # reason: doit has no types
    """Loads dodo.py; a FoundryError becomes its sentence and its exit code.

    doit makes one for every command, before the command itself and before it reads the command line: what is printed
    from then on is plain text, and what is wrong with the command line ends it here.
    """

    def __init__(self) -> None:
        super().__init__()
        workflow.guard()
        heed_signals()
        self._retry_failed = self._bare = False
        _look_at(sys.argv[1:])

    def setup(self, opt_values: Any) -> None:
        """Import dodo.py."""
        self._retry_failed = bool(opt_values.get("retry_failed"))
        self._bare = bool(opt_values.get("since"))  # of `doit plan` alone
        try:
            self.namespace = vars(get_module("dodo.py"))
        except InvalidDodoFile:
            raise SystemExit(tell(UsageError("there is no dodo.py here", hint="doit works in the checkout's folder"))
                             ) from None
        except KeyboardInterrupt:
            raise SystemExit(tell_interrupted()) from None

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        """All tasks that the command can have to do with, after everything that the command line names was checked."""
        try:
            return self._load(cmd, pos_args)
        except (FoundryError, OSError) as problem:
            raise SystemExit(tell(problem)) from None
        except KeyboardInterrupt:
            raise SystemExit(tell_interrupted()) from None

    def load_again(self, names: Sequence[str]) -> list[Any]:
        """The tasks of these drivers' releases as they are now; nothing of the command line is checked once more."""
        session.narrow(session.foundry().states.plan.only((), [name.partition(":")[2] for name in names]))
        return self._declared(_OF_RELEASES)

    def _load(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        named = names_in(pos_args)
        session.request(named)
        names = named or list(cmd.sel_tasks or ())
        stages = {name.partition(":")[0] for name in names}
        try:
            if cmd.get_name() == "run":
                session.foundry().journal.at_the_end = True
                session.foundry().states.retry_failed = self._retry_failed
                _compare_by_content(names)
                _have_ledgers(names)
                session.narrow(reach(names, session.foundry().states.plan))
            if cmd.get_name() == "plan":
                session.foundry().states.retry_failed = self._retry_failed
                session.foundry().states.bare = self._bare
                _compare_by_content(names)
                _require_places(names)
                session.narrow(reach(names, session.foundry().states.plan))
            if cmd.get_name() in _SHOWS_STATES:
                one = session.foundry()
                one.states.of_all(one.states.plan.cells)
                return []
            alone = next((some for some in (_OF_CELLS, _OF_PEOPLE) if stages and some.issuperset(stages)), None)
            tasks = self._declared(alone if cmd.get_name() == "run" else None)
        except ConfigError as error:
            raise _with_hint(error, names) from error
        if cmd.get_name() not in _NAMES_TASKS:
            return tasks
        one = session.foundry()
        targets = [target for task in tasks for target in task.targets] if named else []
        refuse_unknown(named, one.states.plan, [task.name for task in tasks], targets, PAGES)
        if cmd.get_name() == "run":
            faults = faults_in_the_way(names, one.states.plan, one.config)
            if faults:
                raise ConfigError(faults, hint=catalogue_hint(names))
            for gap in gaps_of(names, one.states.plan):
                one.journal.lack(gap.render())
            for text in mismatches_of(names, one.states.plan):
                one.journal.warn(text)
        return tasks

    def _declared(self, stages: Container[str] | None) -> list[Any]:
        """The tasks that dodo.py declares, of these stages or of all.

        doit's own loader reads the sources of all declarations, for an order that means nothing here.
        """
        tasks: list[Any] = []
        for name, declare in self.namespace.items():
            stage = name.removeprefix("task_")
            if stage != name and (stages is None or stage in stages):
                tasks += generate_tasks(stage, declare(), declare.__doc__)
        return tasks


def chosen(names: Iterable[str], tasks: Sequence[Any]) -> list[Any]:
    """The tasks that names, files that they leave, and patterns stand for, each once."""
    by_name = {task.name: task for task in tasks}
    by_file = {target: task for task in tasks for target in task.targets}
    found: dict[str, Any] = {}
    for name in names:
        task = by_name.get(name) or by_file.get(name)
        fitting = [task] if task is not None else [one for one in tasks if fnmatchcase(one.name, name)]
        found |= {one.name: one for one in fitting}
    return list(found.values())


def _look_at(words: Sequence[str]) -> None:
    """Show help where the command line asks for it; end with what is wrong with it."""
    try:
        topic = VERSION if words[:1] == [VERSION] else look_at(words)
        if topic is None:
            return
        from tasks.commands.help import show

        show(topic)
    except (FoundryError, OSError) as problem:
        raise SystemExit(tell(problem)) from None
    except KeyboardInterrupt:
        raise SystemExit(tell_interrupted()) from None
    raise SystemExit(0)


def _compare_by_content(names: list[str]) -> None:
    """What the run makes something from, names, or pushes, must be what its record says; else its size is enough."""
    one = session.foundry()
    one.states.working = True
    one.states.by_content |= {"dtk:publish" if pushes_toolkits(name) else name.partition(":")[0] for name in names}
    if one.settings.publish and any(publishes(name) or is_release(name) for name in names):
        one.states.by_content.add("image")


def _have_ledgers(names: list[str]) -> None:
    """What is published already decides what has to be built: ask for the ledgers that are not here.

    A driver whose images are all here needs no ledger to be built.
    """
    one = session.foundry()
    if any(is_release(name) for name in names) and repository(one):
        require_token()
    _require_places(names)
    if not one.settings.publish:
        return
    pushes = any(publishes(name) or is_release(name) for name in names)
    reading = drivers_of(names, one.states.plan, OF_LEDGERS)
    drivers = [
        driver for driver in dict.fromkeys([*drivers_of(names, one.states.plan), *reading])
        if not has_ledger(one, driver) and (pushes or driver in reading or one.states.unbuilt(driver))
    ]
    if drivers:
        from foundry.ledger.ledgers import fetch_missing

        try:
            fetch_missing(one, drivers)
        except FoundryError as error:
            error.hint += f"{'; ' if error.hint else ''}the profile local builds without asking what is published"
            raise
        one.states.forget(drivers)


def _require_places(names: Sequence[str]) -> None:
    """ConfigError where something is to be pushed, signed or booted that the profile says nothing of."""
    one = session.foundry()
    file = f"config/profiles/{one.config.profile.name}.yaml"
    stages = {name.partition(":")[0] for name in names}
    if any(publishes(name) for name in names) and not one.settings.publish:
        raise ConfigError([Fault(file, "$.publish", "names no registry to push to")],
                          hint="name one, or choose another profile: `doit profile ecr`")
    if "day1" in stages and not one.settings.kmm.boot_repository:
        raise ConfigError([Fault(file, "$.kmm.boot_repository", "names no repository for images by kernel alone")],
                          hint="docs/kmm.md says what it is for")
    if stages & {"bundle", "kit"} and not one.settings.publish:
        raise ConfigError([Fault(file, "$.publish", "names no registry, so no cluster could use the images")],
                          hint="name one, or choose another profile: `doit profile ecr`")
    if "sign" in stages and not one.settings.signing.key:
        raise ConfigError([Fault(file, "$.signing.key", "names no key to sign modules with")],
                          hint="`doit signing:new` makes one and says how to name it")
    if "boot" in stages and one.settings.proof == "off":
        raise ConfigError([Fault(file, "$.proof", "is off: no kernel is booted")],
                          hint="set it to `wanted` or `required`")


def _with_hint(error: ConfigError, names: Sequence[str]) -> ConfigError:
    one = session.opened()
    empty = one is not None and not error.hint and any(
        fault.file == one.settings.catalogue and not fault.path for fault in error.faults
    )
    return ConfigError(error.faults, hint=catalogue_hint(names)) if empty else error


def catalogue_hint(names: Sequence[str] = ()) -> str:
    """What to do when the catalogue lacks releases or their kernels, or a lock its base: up to the wanted tasks."""
    one = session.foundry()
    if one.settings.services == "sandbox" and not unread_toolkits(one.config):
        return "run `doit sandbox:up`, or `doit toolkit`"
    again = " ".join(["doit", *(names or ["build"])])
    return (f"run `doit toolkit`, then `{again}`; the toolkits need a Red Hat pull secret (`podman login quay.io`)."
            " Without an account: `make demo`")


def warn_of_gaps() -> None:
    """Say on stderr what the matrix wants in vain; for commands that only show things."""
    plan = session.foundry().states.plan
    for fault in gap_faults(plan):
        print(f"warning: {fault.render()}", file=sys.stderr)
    for text in mismatches_of(("build",), plan):
        print(f"warning: {text}", file=sys.stderr)
    if plan.gaps or not (plan.cells or plan.withheld):
        print(f"hint: {catalogue_hint()}", file=sys.stderr)
