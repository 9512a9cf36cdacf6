"""Lines that fit a terminal, times as people say them, and how long a run goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.run.context import make_foundry
from foundry.run.journal import Entry
from tasks.commands.live import Estimate
from tasks.commands.screen import duration, fitted, wrapped
from tests.harness.checkout import NEW, OLD, Checkout

PATH = f"build/local/cells/2.22.2.0-{OLD}/build.log"


@pytest.mark.parametrize("line, columns, lines", [
    ("  log: " + PATH, 0, ["  log: " + PATH]), ("  log: " + PATH, 75, ["  log: " + PATH]),
    ("  log: " + PATH, 70, ["  log:", "  " + PATH]), ("  log: " + PATH, 30, ["  log:", "  " + PATH]),
    ("    one two-three four", 14, ["    one", "    two-three", "    four"]), ("", 10, [""]),
])
def test_wrapped(line: str, columns: int, lines: list[str]) -> None:
    assert wrapped(line, columns) == lines


def test_fitted() -> None:
    assert fitted("built  x", ["sha256:1", "a/b"], 4, 23) == ["built  x  sha256:1  a/b"]
    assert fitted("built  x", ["sha256:1", "a/b"], 4, 22) == ["built  x", "    sha256:1", "    a/b"]


@pytest.mark.parametrize("seconds, text", [
    (0.24, "0.2 s"), (9.9, "9.9 s"), (10.0, "10 s"), (59.2, "59 s"), (7, "7 s"), (60, "1:00 min"), (754.0, "12:34 min"),
    (3723.4, "1:02:03 h"),
])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def estimate(checkout: Checkout, times: object = None, *, slots: int = 2) -> Estimate:
    """Of a checkout in which the first cell took these times."""
    if times is not None:
        checkout.write(f"build/local/cells/2.22.2.0-{OLD}/times.json", json.dumps(times))
    one = make_foundry(load_config(checkout.root, Profile("local", "test")))
    one.schedule.expect((), slots)
    return Estimate(one, one.states.plan.cells)


MODULES = [f"module:2.22.2.0-{kernel}" for kernel in (OLD, NEW)]


def test_nothing_is_guessed_where_nothing_was_measured(checkout: Checkout) -> None:
    assert estimate(checkout).left(MODULES, [], 0.0) is None


@pytest.mark.parametrize("times", [{"module": "x"}, {"module": -1}, {"module": 1e9}, [], "x"])
def test_odd_times_are_none(checkout: Checkout, times: object) -> None:
    assert estimate(checkout, times).left(MODULES, [], 0.0) is None


def test_what_stages_took_before_says_what_is_left(checkout: Checkout) -> None:
    """A cell's own time, else the median; shared by those that run at once, but never shorter than the longest."""
    one = estimate(checkout, {"module": 40.0, "pull": 30.0, "image": 2.0})
    assert one.left(MODULES, [], 0.0) == 40.0
    assert one.left(MODULES[1:], [], 0.0) == 40.0
    assert estimate(checkout, slots=1).left(MODULES, [], 0.0) == 80.0
    assert one.left(["image:x", *MODULES], [], 0.0) == 41.0
    running = replace(Entry(MODULES[0]), started=100.0)
    assert one.left(MODULES[:1], [running], 110.0) == 30.0
    assert one.left(MODULES[:1], [running], 1000.0) == 0.0
    assert one.left([], [], 0.0) is None
