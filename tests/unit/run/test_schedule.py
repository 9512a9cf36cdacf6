"""Cores shared fairly by the cells that run at once."""

from __future__ import annotations

from foundry.run.schedule import Schedule


def test_one_cell_gets_all_cores() -> None:
    schedule = Schedule(cores=8)
    schedule.expect(["a"], slots=4)
    assert schedule.begin_compile("a") == 8


def test_cells_that_run_at_once_share_the_cores() -> None:
    schedule = Schedule(cores=8)
    schedule.expect(["a", "b", "c", "d", "e"], slots=4)
    assert [schedule.begin_compile(name) for name in "abcd"] == [2, 2, 2, 2]


def test_the_last_cell_gets_what_the_others_left() -> None:
    schedule = Schedule(cores=8)
    schedule.expect(["a", "b", "c"], slots=2)
    assert [schedule.begin_compile("a"), schedule.begin_compile("b")] == [4, 4]
    schedule.end_compile()
    schedule.end_compile()
    assert schedule.begin_compile("c") == 8


def test_never_less_than_one() -> None:
    schedule = Schedule(cores=1)
    schedule.expect(["a", "b"], slots=8)
    assert schedule.begin_compile("a") == 1
