"""Expressions of others are judged as bash judges them, and none holds up the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from foundry.base import expressions
from foundry.base.expressions import EndlessError, bash_matches, first_group

KERNEL = "5.14.0-427.13.1.el9_4.x86_64"


@pytest.mark.parametrize(("expression", "fits"), [
    ("^5\\.14", True), ("^6", False), ("^(4|5)\\.[0-9]+", True), ("el9", True), ("el9$", False),
    ("x86_64|aarch64", True), ("^[[:digit:]]+\\.", True), ("^5.14.0-427.*\\.x86_64$", True), ("", True),
    ("(", False), ("[", False), ("a{2,1}", False),
    # Python's own: POSIX knows neither, and what bash can't read fits nothing
    ("(?i)EL9", False), ("5(?=\\.)", False),
    # nothing of it is a command, a pattern of files or an option
    ("$(touch {mark})", False), ("`touch {mark}`", False), ("'; touch {mark}; '", False), ("-f", False), ("*", False),
])
def test_as_bash_does(expression: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rc = tmp_path / "rc"
    rc.write_text(f"touch {tmp_path}/mark\n")
    monkeypatch.setenv("BASH_ENV", str(rc))
    assert bash_matches(KERNEL, expression.replace("{mark}", f"{tmp_path}/mark")) is fits
    assert not (tmp_path / "mark").exists()


BACKTRACKING = "^(([0-9a-z._-]+)+)+!$"
LARGE = "((((((((((a{1,255}){1,255}){1,255}){1,255}){1,255}){1,255})))))"


@pytest.mark.parametrize("expression", [BACKTRACKING, LARGE, "^(.*)*(\\1)*(.*)*\\3\\3\\1!$"])
def test_an_expression_that_takes_long(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bash makes of it, it ends: as one that does not fit, or as one that takes too long."""
    monkeypatch.setattr(expressions, "_SECONDS", 1)
    began = time.monotonic()
    try:
        assert not bash_matches(KERNEL * 20, expression)
    except EndlessError as error:
        assert "takes too long to judge" in error.message
    assert time.monotonic() - began < 30


def test_a_pattern_of_pythons() -> None:
    assert first_group("^VERSION = (.*)$", 'A\nVERSION = "é"\n') == '"é"'
    assert first_group("^VERSION = (.*)$", "none") == ""
    assert first_group("(a)?b", "b") == ""


def test_a_text_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harmless pattern, and a file of the package that is made for it."""
    monkeypatch.setattr(expressions, "_SECONDS", 1)
    with pytest.raises(EndlessError):
        first_group(r"^\s*#define\s+VERSION\s+(\S+)", "\n" * (1 << 20))
