"""sandbox:up and sandbox:down: the services of the embedded default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from foundry.base.errors import ConfigError, Fault
from foundry.run.context import Foundry
from tasks.actions import Task, perform
from tasks.session import sandbox as sandbox_of

if TYPE_CHECKING:
    from foundry.sandbox.make import Sandbox


def task_sandbox() -> Iterator[Task]:
    """Start and stop the sandbox."""
    for verb, work, doc in (
        ("up", up, "make what the sandbox lacks and start its services"),
        ("families", families, "make the sandbox's further families, and a matrix file that wants them"),
        ("down", down, "stop the sandbox's services; what was made stays"),
    ):
        yield {
            "basename": f"sandbox:{verb}", "doc": doc, "uptodate": [False], "verbosity": 2,
            "actions": [(perform, [f"sandbox:{verb}", work, (), None])],
        }


def up(one: Foundry) -> None:
    """Raises ConfigError in a profile that has no sandbox."""
    sandbox = _sandbox(one)
    sandbox.up(one.root / one.config.build / "sandbox.log")
    served = ", ".join(f"{name} at {address}" for name, address in sandbox.addresses().items())
    print(f"the sandbox is up: {served}")


def families(one: Foundry) -> None:
    """Raises as `up` does."""
    from foundry.sandbox.families import make_families

    wanted = one.settings.sandbox.families
    make_families(_sandbox(one), wanted, one.root / one.config.build / "sandbox.log")


def down(one: Foundry) -> None:
    """Stops exactly the processes that `up` started."""
    sandbox = _sandbox(one)
    ran = sandbox.running()
    sandbox.down()
    print(f"the sandbox is down{'' if ran else ' already'}; what was made stays")


def _sandbox(one: Foundry) -> Sandbox:
    found = sandbox_of(one.config)
    if found is None:
        raise ConfigError([Fault("", "", f"the profile {one.config.profile.name} has no sandbox")],
                          hint="run `doit profile sandbox`")
    return found
