"""docs/security.md: each boundary names the tests that play its attacks, and they are there."""

from __future__ import annotations

import re

from tests.lint.test_lint import ROOT


def boundaries() -> dict[str, list[str]]:
    """The table of boundaries: each with the test files in its last column."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    table = text.partition("## What each boundary checks\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    return {row[0].strip(): re.findall(r"`(tests/[^`]+)`", row[-1]) for row in rows}


def test_each_boundary_names_its_tests() -> None:
    found = boundaries()
    assert len(found) >= 10
    assert [name for name, files in found.items() if not files] == []
    assert [file for files in found.values() for file in files if not (ROOT / file).is_file()] == []
