"""Every link between the project's pages leads to a file that is there, and to a heading in it."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest

from tests.lint.test_lint import ROOT, tracked

PAGES = [name for name in tracked("*.md") if not name.startswith(".github/")]
_LINK = re.compile(r"\]\((?!https?://|../../security/)([^)#\s]*)(?:#([^)\s]+))?\)")
_CODE = re.compile(r"^ *```.*?^ *```|`[^`]+`", re.DOTALL | re.MULTILINE)


@lru_cache
def headings(page: str) -> set[str]:
    """The anchors of a page, as GitHub makes them from its headings."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for name, heading in _LINK.findall(_CODE.sub("", (ROOT / page).read_text())):
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        if not target.exists():
            broken.append(name)
        elif heading and heading not in headings(target.relative_to(ROOT).as_posix()):
            broken.append(f"{name}#{heading}")
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    linked = {name for name, _ in _LINK.findall((ROOT / "docs/README.md").read_text())}
    assert {f"docs/{name}" for name in linked} >= {
        page for page in PAGES if re.fullmatch(r"docs/[a-z-]+\.md", page)}
