"""Each decision has a number, a date and a status, and the index says the same."""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

import pytest

from tests.lint.test_lint import ROOT, tracked

FOLDER = "docs/decisions"
NAMES = [name.removeprefix(f"{FOLDER}/") for name in tracked(f"{FOLDER}/*.md") if not name.endswith("README.md")]
HEAD = re.compile(r"# (\d+)\. (.+)\n\n- Date: (.+)\n- Status: (.+)\n\n")
STATUS = re.compile(r"accepted|(accepted; supersedes|superseded by) \[(\d{4})\]\((\2-[\w-]+\.md)\)")


class Head(NamedTuple):
    """What a decision begins with."""

    number: str
    title: str
    day: str
    status: str


def read(name: str) -> str:
    return (ROOT / FOLDER / name).read_text(encoding="utf-8")


def head(name: str) -> Head:
    found = HEAD.match(read(name))
    assert found, f"{name} does not begin as {FOLDER}/README.md says"
    return Head(*found.groups())


@pytest.mark.parametrize("name", NAMES)
def test_number_date_and_status(name: str) -> None:
    number, _, day, status = head(name)
    assert name.startswith(f"{int(number):04}-")
    assert date(2026, 11, 21) <= date.fromisoformat(day) <= date.today()
    found = STATUS.fullmatch(status)
    assert found, f"{name}: no such status: {status}"
    if found[1]:
        back = "superseded by" if found[1].startswith("accepted") else "accepted; supersedes"
        assert head(found[3]).status == f"{back} [{name[:4]}]({name})", "the other one says so, too"


def test_the_index_lists_all() -> None:
    heads = [(name, head(name)) for name in NAMES]
    assert [int(one.number) for _, one in heads] == list(range(1, len(NAMES) + 1)), "each number once, none left out"
    wanted = [f"| [{name[:4]}]({name}) | {one.title} | {one.day} | {one.status} |" for name, one in heads]
    assert [line for line in read("README.md").splitlines() if line.startswith("| [")] == wanted
