"""`make drill`: disturbances at random, each repaired and looked at; a table at the end.

``python -m tests.drill [--seed N] [--minutes N] [--tries N] [--kinds KIND,…]``. The same seed throws the same dice;
moments are seconds on the clock, so what they meet differs from run to run. Each try has a seed of its own, which is
shown with what went wrong: ``--first SEED --tries 1`` plays that try alone.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from foundry.base.files import remove_tree
from tests.drill.kinds import KINDS
from tests.drill.world import Try, World
from tests.harness.sandbox import sandbox
from tests.harness.store import cold_store

_WEIGHTS = {"corrupt": 8, "kill": 4}  # of the others: 1


def play(world: World, kinds: Sequence[str], done: list[Try], *, seed: int, tries: int, minutes: float,
         first: str = "") -> None:
    """Every kind once, then by weight, until so many tries are `done` or the time is over."""
    dice, end = random.Random(seed), time.monotonic() + 60 * minutes
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    while len(done) < tries and (time.monotonic() < end or len(done) < len(kinds)):
        kind = kinds[len(done)] if len(done) < len(kinds) else dice.choices(kinds, weights)[0]
        own = first or f"{kind}-{dice.randrange(10**9)}"
        world.dice = random.Random(own)
        started = time.monotonic()
        one = KINDS[own.partition("-")[0]](world)
        done += [] if one.missed and not one.wrong and not one.litter else [one]
        word = ("WRONG" if one.wrong else "LITTER" if one.litter else "missed" if one.missed else
                "said" if one.said else "healed")
        print(f"{word:<7}{own:<22}{one.what}  {time.monotonic() - started:.1f} s", flush=True)
        for text in (*one.wrong, *one.litter):
            print("        " + text.replace("\n", "\n        "), flush=True)


def table(done: Sequence[Try]) -> list[str]:
    """A line for each kind, and one for all."""
    by_kind = defaultdict[str, list[Try]](list)
    for one in done:
        by_kind[one.kind].append(one)
    rows = [(kind, found) for kind, found in sorted(by_kind.items())] + [("all", list(done))]
    lines = [f"{'kind':<10}{'tries':>7}{'disturbances':>14}{'healed':>8}{'said':>6}{'wrong':>7}{'litter':>8}"]
    for kind, found in rows:
        wrong, left = (sum(bool(getattr(one, name)) for one in found) for name in ("wrong", "litter"))
        said = sum(one.said and not one.wrong for one in found)
        healed = sum(not one.said and not one.wrong for one in found)
        disturbances = sum(one.disturbances for one in found)
        lines.append(f"{kind:<10}{len(found):>7}{disturbances:>14}{healed:>8}{said:>6}{wrong:>7}{left:>8}")
    return lines


def _end(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """The number of tries that went wrong or left something."""
    parser = argparse.ArgumentParser(prog="drill")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--tries", type=int, default=10**6)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--first", default="", help="play this try alone, again and again")
    wanted = parser.parse_args(words)
    kinds = wanted.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        sys.exit(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    os.environ["KMOD_TEST_LONGEST_PAUSE"] = "0.05"
    print(f"seed {wanted.seed}", flush=True)
    folder, done = Path(tempfile.mkdtemp(prefix="kmod-drill-")), list[Try]()
    try:
        with cold_store(folder / "store") as store:
            os.environ.update(store)
            with sandbox(folder) as services:
                play(World(services, folder, random.Random()), kinds, done, seed=wanted.seed, tries=wanted.tries,
                     minutes=wanted.minutes, first=wanted.first)
    finally:
        remove_tree(folder)
        print("\n".join(["", *table(done)]))
    return sum(bool(one.wrong or one.litter) for one in done)


if __name__ == "__main__":
    sys.exit(min(main(), 100))
