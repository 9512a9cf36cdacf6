"""What can be judged of a row of elsewhere without a registry: its key and its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from foundry.base import times
from foundry.base.errors import OutsideError
from foundry.plan.claims import fault_of, fault_of_time
from foundry.plan.keys import key_of

PARTS = {"toolkit": "sha256:" + "a" * 64, "kernel": "5.14.0"}
THEN = "2026-01-02T03:04:05Z"


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_row_that_may_be_true() -> None:
    assert fault_of(key_of(PARTS), PARTS, THEN) == ""


@pytest.mark.parametrize("key, inputs", [
    ("0" * 64, PARTS), (key_of(PARTS), {**PARTS, "kernel": "6.1"}), (key_of(PARTS), {}),
    (key_of(PARTS), {**PARTS, "more": ""}),
])
def test_a_key_of_other_inputs(key: str, inputs: dict[str, str]) -> None:
    """Else a row could show inputs that its image was not made from."""
    assert fault_of(key, inputs, THEN) == "its key is not that of its inputs"


def test_a_row_without_a_time() -> None:
    assert fault_of(key_of(PARTS), PARTS, "") == "it does not say when it was published"


@pytest.mark.parametrize("text", [
    "", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.6Z",
    "2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z", "9999-99-99T99:99:99Z", f"{THEN}\n", f" {THEN}",
    "20260102T030405Z",
])
def test_times_that_are_none(text: str) -> None:
    """The form is one alone, so that times sort as texts."""
    assert fault_of_time(text) == "it does not say when it was published"


@pytest.mark.parametrize("minutes, fits", [(-60 * 24 * 900, True), (0, True), (8, True), (12, False), (60, False)])
def test_clocks_may_differ_by_minutes(minutes: float, fits: bool) -> None:
    """A time to come would make a row win over every later one."""
    assert fault_of_time(in_minutes(minutes)) == ("" if fits else "it was published in the future")


def test_a_clock_that_is_years_behind_judges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every row would be one of the future, and an empty ledger would say that nothing is published."""
    monkeypatch.setattr(times, "time", SimpleNamespace(time=lambda: 31_536_000.0))
    with pytest.raises(OutsideError, match="by this machine's clock it is 1971-01-01T00:00:00Z") as caught:
        fault_of_time(THEN)
    assert caught.value.reason == "clock"


def test_the_end_of_time() -> None:
    assert fault_of_time("9999-12-31T23:59:59Z") == "it was published in the future"
