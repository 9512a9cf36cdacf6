"""The site's files: each value escaped, each link leads somewhere, the same bytes each time, small enough."""

from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest

from foundry.base.schema import ValidationCache
from foundry.site.pages import files
from tests.harness.checkout import ROOT
from tests.harness.made_up import EVIL, made_up

ATOM = "{http://www.w3.org/2005/Atom}"
EMPTY: dict[str, Any] = {"schema": 1, "drivers": [], "releases": [], "upgrades": {"edges": {}, "risks": {}}}


class Page(HTMLParser):
    """The tags of a page with their attributes, ids, and text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def pages(made: dict[str, bytes]) -> Iterator[tuple[str, Page]]:
    yield from ((name, Page(data)) for name, data in made.items() if name.endswith(".html"))


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return files(ROOT, made_up(3, 30, 9))


def test_every_link_leads_somewhere(made: dict[str, bytes]) -> None:
    ids = {name: set(page.ids) for name, page in pages(made)}
    seen = 0
    for name, page in pages(made):
        assert len(page.ids) == len(set(page.ids)), name
        for _, attributes in page.tags:
            for link in filter(None, (attributes.get("href"), attributes.get("src"))):
                if "://" not in link and not link.startswith("#"):
                    target, _, anchor = urljoin(name, link).partition("#")
                    assert unquote(target) in made, (name, link)
                    assert not anchor or unquote(anchor) in ids[target], (name, link)
                    seen += 1
    assert seen > 300


def test_nothing_is_loaded_from_elsewhere_or_runs_in_a_page(made: dict[str, bytes]) -> None:
    for name, page in pages(made):
        policy = next(attributes["content"] for tag, attributes in page.tags
                      if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
        for tag, attributes in page.tags:
            assert tag != "style" and not any(key.startswith("on") or key == "style" for key in attributes), name
            for key in ("src", "href") if tag in ("script", "link", "img") else ():
                assert "://" not in str(attributes.get(key, "")), name
        assert all("src" in attributes for tag, attributes in page.tags if tag == "script"), name


def test_strangers_texts_are_texts() -> None:
    made = files(ROOT, made_up(2, 4, 2, text=EVIL), [EVIL])
    for name, page in pages(made):
        assert not any(tag == "img" or "onerror" in attributes for tag, attributes in page.tags), name
        assert all("src" in attributes for tag, attributes in page.tags if tag == "script"), name
    texts = "".join(Page(made["drivers/family0-2.0.0.html"]).text)
    assert EVIL in texts and "{{ 7 * 7 }}" in texts
    assert EVIL in "".join(Page(made["index.html"]).text), "what is wrong is said at the top"
    script = made["data.js"].decode()
    assert "</" not in script and json.loads(script.removeprefix("window.published = ").removesuffix(";\n"))
    for name in ("feed.xml", "drivers/family0-2.0.0.xml", "drivers/family0-2.0.0.svg"):
        ET.fromstring(made[name])


def test_feeds(made: dict[str, bytes]) -> None:
    feed = ET.fromstring(made["feed.xml"])
    assert feed.tag == f"{ATOM}feed"
    for needed in ("title", "id", "updated", "author", "link"):
        assert feed.find(f"{ATOM}{needed}") is not None
    entries = feed.findall(f"{ATOM}entry")
    ids = [entry.findtext(f"{ATOM}id") for entry in entries]
    assert len(entries) == 9 and len(set(ids)) == 9
    updated = [str(entry.findtext(f"{ATOM}updated")) for entry in entries]
    assert updated == sorted(updated, reverse=True) and feed.findtext(f"{ATOM}updated") == updated[0]
    own = ET.fromstring(made["drivers/family1-2.1.0.xml"]).findall(f"{ATOM}entry")
    assert {entry.findtext(f"{ATOM}id") for entry in own} <= set(ids) and len(own) == 3


def test_data_has_its_form(made: dict[str, bytes], tmp_path: Path) -> None:
    cache = ValidationCache(ROOT, tmp_path / "x")
    document = json.loads(made["index.json"])
    assert cache.faults("site-index", document, "index.json") == []
    document["drivers"][0]["images"][0]["digest"] = "x"
    assert len(cache.faults("site-index", document, "index.json")) == 1
    shield = json.loads(made["drivers/family0-2.0.0.json"])
    assert (shield["schemaVersion"], shield["message"]) == (1, "7 kernels")


def test_the_same_bytes_each_time(made: dict[str, bytes]) -> None:
    assert files(ROOT, json.loads(json.dumps(made_up(3, 30, 9)))) == made


def test_nothing_is_never_a_blank_page() -> None:
    for library in (EMPTY, {**EMPTY, "drivers": made_up(1, 1, 1)["drivers"]}, {**made_up(1, 3, 2), "drivers": []}):
        made = files(ROOT, library)
        text = "".join(Page(made["index.html"]).text)
        assert ("There is no ledger here" in text) == (not library["drivers"])
        assert ("The catalogue has no release yet" in text) == (bool(library["drivers"]) and not library["releases"])
        assert ET.fromstring(made["feed.xml"]).findtext(f"{ATOM}updated")


def test_a_large_library_is_small() -> None:
    """10 drivers x 300 releases x 60 kernels: what the first page takes, compressed as servers do."""
    made = files(ROOT, made_up(10, 300, 60))
    first = sum(len(gzip.compress(made[name])) for name in ("index.html", "site.css", "site.js", "data.js"))
    assert first < 200 * 1024, f"{first} bytes"
    assert len(gzip.compress(made["index.html"])) < 60 * 1024
