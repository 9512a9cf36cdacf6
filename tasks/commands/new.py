"""`doit new`: a driver version or a family, put into the checkout after a look into its package."""

from __future__ import annotations

from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import UsageError
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told

_OPTIONS = (
    {"name": "family", "short": "", "long": "family", "type": str, "default": "", "metavar": "FAMILY",
     "help": "of a driver: the family it is of, instead of the one that the setting `default_family` names"},
    {"name": "ocp", "short": "", "long": "ocp", "type": str, "default": "", "metavar": "RELEASES",
     "help": "the releases and minors it is wanted for, such as 4.18,4.19.3, instead of those of the newest driver"},
    {"name": "name", "short": "", "long": "name", "type": str, "default": "", "metavar": "NAME",
     "help": "of a family: its name, instead of the package's"},
    {"name": "package", "short": "", "long": "package", "type": str, "default": "", "metavar": "PACKAGE",
     "help": "of a family in a repository: the package with the sources"},
    {"name": "driver", "short": "", "long": "driver", "type": str, "default": "", "metavar": "VERSION",
     "help": "of a family in a repository: the version, instead of the newest"},
    {"name": "license", "short": "", "long": "license", "type": str, "default": "", "metavar": "LICENCE",
     "help": "of a family: the licence, as SPDX calls it, instead of what the package says"},
    {"name": "key", "short": "", "long": "key", "type": str, "default": "", "metavar": "URL",
     "help": "of a family of RPMs: the URL of the vendor's key, with which signatures are checked from now on"},
)
_OF = {"driver": ("family", "ocp"), "family": ("ocp", "name", "package", "driver", "license", "key")}
_USAGE = "`doit new driver VERSION`, or `doit new family URL|FILE`; `doit help new` lists the options"


class New(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Write what a new driver or family needs."""

    name = "new"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 2 for what is there already or can't be meant."""
        what, *rest = args or [""]
        if what not in _OF or len(rest) != 1:
            raise UsageError("it has to be said what is new", hint=_USAGE)
        odd = [one["long"] for one in _OPTIONS if params[one["name"]] and one["name"] not in _OF[what]]
        if odd:
            raise UsageError(f"--{odd[0]} says nothing of a {what}", hint=_USAGE)
        with run_lock():
            return _new(what, rest[0], params)


def _new(what: str, place: str, params: Any) -> int:
    from foundry.driver.new import Wishes, new_driver, new_family

    releases = tuple(filter(None, str(params["ocp"]).split(",")))
    one = session.foundry()
    if what == "driver":
        added = new_driver(one, place, Wishes(family=params["family"], releases=releases))
    else:
        added = new_family(one, place, Wishes(params["name"], params["driver"], releases, params["package"],
                                              params["license"], params["key"]))
    print(f"{added.driver} of {added.family}")
    for text in added.found:
        print(f"  {text}")
    for title, texts in (("guessed", added.guessed), ("wrote", added.written), ("next", added.next)):
        for text in texts:
            print(f"{title:<9}{text}")
    return 0
