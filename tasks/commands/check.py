"""`doit check`: what is wrong in the manifests that users have, each mistake with its line and its mend."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, UsageError
from foundry.base.files import read_file
from foundry.base.plain_text import plain
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.told import told

_OPTIONS = (
    {"name": "release", "short": "", "long": "release", "type": list, "default": [], "metavar": "RELEASE",
     "help": "an image must be there for this release's kernel, too; may be given several times"},
    {"name": "kernel", "short": "", "long": "kernel", "type": list, "default": [], "metavar": "KERNEL",
     "help": "and for this kernel, as `uname -r` says it"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list"},
)
_MOST = 64 << 20  # bytes of a file


class Check(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Find what is wrong in manifests."""

    name = "check"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 where there is something; 2 for what can't be read."""
        session.only_read()
        return _check(args, params["release"], params["kernel"], as_json=bool(params["json"]))


def _check(names: Sequence[str], releases: Sequence[str], kernels: Sequence[str], *, as_json: bool) -> int:
    from foundry.kmm.check import check
    from foundry.release.bundle import known

    one = session.foundry()
    library = known(one)
    found = check({name: _content(name) for name in dict.fromkeys(names)}, library, releases, kernels)
    if as_json:
        print(json.dumps([told.as_data() for told in found], indent=2))
    else:
        for told in found:
            where = f"{told.object}: {told.field}" if told.field else told.object
            print(plain(f"{told.file}:{told.line}: {told.message} ({where}; {told.rule})\n    {told.mend}"))
        print(f"{len(found)} found" if found else "nothing found")
    if not library.rows:
        print("there is no ledger here, so nothing is said of the images themselves; `doit verify --tags` fetches them",
              file=sys.stderr)
    return EXIT_TASK_FAILED if found else 0


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(_MOST)
    try:
        content = read_file(Path(name))
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}") from error
    if len(content) > _MOST:
        raise UsageError(f"{name} is larger than {_MOST >> 20} MiB")
    return content
