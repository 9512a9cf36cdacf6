"""A slice of `make drill`: every kind of disturbance once, with the dice of one seed."""

from __future__ import annotations

import random
from pathlib import Path

from tests.drill.__main__ import play, table
from tests.drill.kinds import KINDS
from tests.drill.world import World
from tests.harness.clone import Clone


def test_every_kind_once(services: Clone, tmp_path: Path) -> None:
    done = play(World(services, tmp_path, random.Random()), list(KINDS), seed=1, tries=len(KINDS), minutes=0)
    assert {one.kind for one in done} == set(KINDS)
    bad = [(one.what, one.wrong, one.litter) for one in done if one.wrong or one.litter]
    assert bad == [], table(done)
