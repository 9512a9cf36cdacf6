"""The table and the picture of the simulated fleet are what today's planner gives."""

from __future__ import annotations

from tests.bench.fleet import PAGE, PICTURE, nights, page, picture


def test_table_and_picture_are_of_today() -> None:
    """If not: ``python -m tests.bench.fleet`` writes them anew."""
    found = nights()
    assert PICTURE.read_text(encoding="utf-8") == picture(found)
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, found) == text
    walls = [one.wall for one in found]
    assert walls == sorted(walls, reverse=True), "more machines are never slower"
