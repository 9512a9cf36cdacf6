"""`doit kit:load`: a kit's images, with what lies beside them, in a registry, proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import UsageError
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.told import told
from tasks.commands.verify import public_keys, show

_OPTIONS = (
    {"name": "key", "short": "", "long": "key", "type": list, "default": [], "metavar": "FILE",
     "help": "the public key that must have signed it, in place of the profile's; may be given several times"},
    {"name": "unsigned", "short": "", "long": "unsigned", "type": bool, "default": False,
     "help": "load it without looking for a signature; its signatures and statements stay out"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list"},
)


class KitLoad(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Load a kit into a registry."""

    name = "kit:load"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when the kit is not what a key signed: nothing is pushed; or when something has not arrived."""
        from foundry.release.kit_load import load

        if params["unsigned"] and params["key"]:
            raise UsageError("--unsigned asks for no key, and --key for one: name one of them")
        kit, place = args
        keys = () if params["unsigned"] else public_keys(params["key"], "or --unsigned")
        found = (({"image": one.image}, one.faults) for one in load(session.foundry(), Path(kit), place, keys))
        return show(found, "images", as_json=bool(params["json"]))
