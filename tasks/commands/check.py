"""`doit check`: what is wrong in the manifests that users have, each mistake with its line and its mend."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, UsageError
from foundry.base.plain_text import plain
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.told import told

_OPTIONS = (
    {"name": "release", "short": "", "long": "release", "type": list, "default": [], "metavar": "RELEASE",
     "help": "an image must be there for this release's kernel, too; may be given several times"},
    {"name": "kernel", "short": "", "long": "kernel", "type": list, "default": [], "metavar": "KERNEL",
     "help": "and for this kernel, as `uname -r` says it"},
    {"name": "errors", "short": "", "long": "errors", "type": bool, "default": False,
     "help": "tell of errors alone: what is refused, or can't work; not of warnings"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list"},
)
_PIECE, _MOST = 1 << 20, 64 << 20  # bytes of a file


class Check(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Find what is wrong in manifests."""

    name = "check"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 where there is something; 2 for what can't be read."""
        session.only_read()
        return _check(args, params)


def _check(names: Sequence[str], params: Any) -> int:
    from foundry.kmm.check import check
    from foundry.release.bundle import known

    one = session.foundry()
    library = known(one)
    checked = check({name: _content(name) for name in dict.fromkeys(names)}, library, one.config.validation,
                    params["release"], params["kernel"])
    found = [told for told in checked.found if told.level == "error" or not params["errors"]]
    if params["json"]:
        print(json.dumps([told.as_data() for told in found], indent=2))
    else:
        for told in found:
            where = f"{told.object}: {told.field}" if told.field else told.object
            head = f"{told.file}:{told.line}: {told.level}: {told.message}"
            print(plain(f"{head} ({where}; {told.rule})\n    {told.mend}"))
        objects = f"{checked.objects} {'object' if checked.objects == 1 else 'objects'}"
        others = f" (not looked at: {', '.join(checked.others)})" if checked.others else ""
        print(plain(f"{len(found) or 'nothing'} found in {objects}{others}"))
    if not library.rows:
        print("no ledger here has an image, so nothing is said of the images themselves; `doit verify --tags` fetches"
              " what is published", file=sys.stderr)
    return EXIT_TASK_FAILED if found else 0


def _content(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_MOST)
        with Path(name).open(mode="rb", buffering=0) as stream:  # also a pipe, as of `<(oc get …)`, to its end
            content = b"".join(iter(lambda: stream.read(_PIECE), b""))
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}") from error
    if len(content) > _MOST:
        raise UsageError(f"{name} is larger than {_MOST >> 20} MiB")
    return content
