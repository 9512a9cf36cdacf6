"""`doit export`: CSV or JSON of what the registries really hold."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, UsageError
from foundry.base.files import write_atomic
from foundry.base.plain_text import plain
from tasks import session
from tasks.commands.told import told

_OPTIONS = (
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list instead of CSV"},
    {"name": "output", "short": "o", "long": "output", "type": str, "metavar": "FILE", "default": "",
     "help": "a file instead of stdout"},
)


class Export(Command):  # type: ignore[misc]  # reason: doit has no types
    """List the published images as the registries have them."""

    name = "export"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when a registry lacks, or has otherwise, what a ledger says."""
        return _export(args, as_json=bool(params["json"]), output=str(params["output"]))


def _export(drivers: list[str], *, as_json: bool, output: str) -> int:
    from foundry.ledger import export

    one = session.foundry()
    if not export.has_targets(one):
        raise UsageError(f"the profile {one.config.profile.name} publishes nowhere",
                         hint="choose another one: `doit profile ecr`")
    rows = export.exported(one, drivers)
    if as_json:
        text = json.dumps([row.to_json() for row in rows], indent=2) + "\n"
    else:
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(export.FIELDS)
        writer.writerows([getattr(row, field) for field in export.FIELDS] for row in rows)
        text = sink.getvalue()
    if output:
        write_atomic(Path(output), plain(text).encode())
    else:
        sys.stdout.write(text)
    wrong = [row for row in rows if row.state in (export.NOT_THERE, export.OTHER)]
    for row in wrong:
        print(f"warning: {row.tag}: {row.state} ({row.image})", file=sys.stderr)
    return EXIT_TASK_FAILED if wrong else 0
