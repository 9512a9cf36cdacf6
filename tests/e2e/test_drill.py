"""A slice of `make drill`: every kind of disturbance once, with the dice of one seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.drill.__main__ import play, table
from tests.drill.kinds import KINDS
from tests.drill.world import Try, World
from tests.harness.clone import Clone
from tests.harness.store import cold_store


def test_every_kind_once(services: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a store of its own: some kinds remove all images there, or end all containers, whosoever they are."""
    with cold_store(tmp_path / "store") as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        play(World(services, tmp_path, random.Random()), list(KINDS), done := list[Try](), seed=1, tries=len(KINDS),
             minutes=0)
    assert {one.kind for one in done} == set(KINDS)
    bad = [(one.what, one.wrong, one.litter) for one in done if one.wrong or one.litter]
    assert bad == [], table(done)
