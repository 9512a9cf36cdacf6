"""`doit shards`: what is pending, spread over machines; as JSON it is the matrix of a GitHub Actions job."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doit.cmd_base import Command

from foundry.fleet.spread import MOST_JOBS, Shard
from tasks import session
from tasks.commands.arguments import number
from tasks.commands.told import told

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPTIONS = (
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False,
     "help": 'one line {"include": [...]}, alone on stdout'},
    {"name": "jobs", "short": "", "long": "jobs", "type": number(1, MOST_JOBS), "default": MOST_JOBS,
     "help": f"at most so many shards (1-{MOST_JOBS}; default {MOST_JOBS})"},
)


class Shards(Command):  # type: ignore[misc]  # reason: doit has no types
    """Plan pending cells for several machines."""

    name = "shards"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 0 also where nothing is pending."""
        shards, runners = _planned(int(params["jobs"]))
        if params["json"]:
            document = {"include": [shard.entry(runners) for shard in shards]}
            sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in table(shards, runners))
        return 0


def _planned(jobs: int) -> tuple[list[Shard], Mapping[str, str]]:
    """The shards, and the runners by architecture."""
    from foundry.fleet.plan import plan

    one = session.foundry()
    return plan(one, jobs), one.settings.runners


def table(shards: Sequence[Shard], runners: Mapping[str, str]) -> Iterator[str]:
    """A line for each shard, and the sum."""
    if not shards:
        yield "nothing is pending"
        return
    yield f"{'shard':>5}  {'runner':<18}{'cells':>6}{'toolkits':>10}{'seconds':>9}"
    for shard in shards:
        yield (f"{shard.number:>5}  {runners[shard.arch]:<18}{len(shard.tasks):>6}{len(shard.toolkits):>10}"
               f"{shard.seconds:>9.0f}")
    cells, pulls = sum(len(one.tasks) for one in shards), [name for one in shards for name in one.toolkits]
    yield (f"{cells} cells, {len(set(pulls))} toolkits pulled {len(pulls)} times; the last shard ends after "
           f"{max(one.seconds for one in shards):.0f} s, all take {sum(one.seconds for one in shards):.0f} s together")
