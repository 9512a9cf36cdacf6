"""What an update says: a golden text, and texts that are short, safe and the same for the same contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from foundry.catalogue.changes import Content, make_news, message, section, title
from foundry.config.catalogue import entries_of
from foundry.config.load import Config, load_config
from foundry.config.locks import Lock
from foundry.config.profile import Profile
from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, ROOT, Checkout, entry

GOLDEN = ROOT / "tests/unit/golden" / "pull-request.md"
FILE = "config/locks/neuron.json"
NEWER = "5.14.0-570.99.1.el9_6.x86_64"
ROOM = 65_536


@pytest.fixture
def read(checkout: Checkout) -> Config:
    """A matrix of two drivers."""
    checkout.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.18"]}, {"driver": "2.28.0.0", "ocp_versions": ["4.18.15"]}])
    return load_config(checkout.root, Profile("local", "test"))


def content(entries: Sequence[Mapping[str, Any]], locks: Mapping[str, Mapping[str, Any]] | None = None) -> Content:
    """From documents."""
    return Content(entries_of(entries), {file: Lock.from_document(lock) for file, lock in (locks or {}).items()})


def lock(**base: Any) -> dict[str, Any]:
    return {**LOCK, "base": {**LOCK["base"], **base}}


def everything() -> tuple[Content, Content]:
    """Something of each kind."""
    found = {"payload": "quay.io/openshift-release-dev/ocp-release@sha256:" + "7" * 64, "node_kernel": NEW}
    new = [
        {**entry("4.16.30", "a", OLD), "payload": found["payload"]},  # completed
        entry("4.18.15", "e", NEW),  # another toolkit
        {**entry("4.18.16", "d", OLD), "node_kernel": NEW, "mismatch": True},
        {**entry("4.18.17", "1", NEWER), **found, "node_kernel": NEWER},
        {**entry("4.18.18", "2", NEWER), "stream": "rhel-9"},
    ]  # 4.16.48 is gone
    locks = lock(digest="sha256:" + "9" * 64, busybox={**LOCK["base"]["busybox"], "version": "1.38.0"})
    locks["packages"] = {**LOCK["packages"], "2.22.2.0": {**LOCK["packages"]["2.22.2.0"], "content_sha256": "8" * 64}}
    locks["packages"]["2.29.0.0"] = LOCK["packages"]["2.28.0.0"]
    del locks["packages"]["2.16.7.0"]
    return content(CATALOGUE, {FILE: LOCK}), content(new, {FILE: locks})


def test_the_text_is_as_it_was(read: Config) -> None:
    news = make_news(read, *everything())
    text = f"{message(news)}\n\n---\n\n{section(news, ROOM)}"
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_order_of_entries_changes_nothing(read: Config) -> None:
    old, new = everything()
    turned = make_news(read, Content(old.entries[::-1], old.locks), Content(new.entries[::-1], new.locks))
    assert section(turned, ROOM) == section(make_news(read, old, new), ROOM)


@pytest.mark.parametrize("new, words", [
    ([entry("4.18.17", "1", NEW)], "Update driver toolkits: 4.18.17"),
    ([entry(f"4.18.{number}", "1", NEW) for number in range(20, 25)], "Update driver toolkits: 5 new releases"),
    ([{**entry("4.18.17", "1", NEW), "arch": arch} for arch in ("x86_64", "aarch64")],
     "Update driver toolkits: 4.18.17"),
])
def test_titles_of_releases(read: Config, new: list[dict[str, Any]], words: str) -> None:
    assert title(make_news(read, content(CATALOGUE), content([*CATALOGUE, *new]))) == words


def test_other_titles(read: Config) -> None:
    changed = [*CATALOGUE[:3], entry("4.18.16", "1", NEW)]
    assert title(make_news(read, content(CATALOGUE), content(changed))) == "Update driver toolkits: 1 changed entry"
    gone = make_news(read, content(CATALOGUE), content(CATALOGUE[1:]))
    assert title(gone) == "Update driver toolkits: 1 release less"
    same = content(CATALOGUE, {FILE: LOCK})
    assert title(make_news(read, content(CATALOGUE), same)) == "Update locks: neuron"
    news = make_news(read, same, same)
    assert title(news) == "Update driver toolkits: the same in another form"
    assert "the same facts in another form" in section(news, ROOM)


def test_nothing_was_there_before(read: Config) -> None:
    now = content(CATALOGUE, {FILE: LOCK})
    news = make_news(read, Content(faulty=("driver-toolkit/driver-toolkit.json",)), now)
    text = section(news, ROOM)
    assert "`driver-toolkit/driver-toolkit.json` is faulty in the default branch" in text
    assert len(news.cells) == 3
    assert "base image is `public.ecr.aws/docker/library/busybox:stable-musl`" in text


def test_cells_are_those_of_the_matrix(read: Config) -> None:
    """A release that the matrix does not want brings none, and neither does one with a known kernel."""
    new = [*CATALOGUE, entry("4.17.1", "1", NEWER), entry("4.18.99", "1", NEW)]
    news = make_news(read, content(CATALOGUE), content(new))
    assert news.kernels == ((NEWER, "x86_64"),)
    assert news.cells == ()


@pytest.mark.parametrize("room", [400, 1_000, 5_000, 20_000, ROOM])
def test_a_long_text_is_shortened(read: Config, room: int) -> None:
    many = [entry(f"4.18.{number}", "1", f"5.14.0-{number}.el9_6.x86_64") for number in range(100, 900)]
    news = make_news(read, content(CATALOGUE), content([*CATALOGUE, *many]))
    text = section(news, room)
    assert len(text) <= room
    assert "... and " in text
    assert "800 new releases" in text
    lines = text.splitlines()
    assert all(line.count("|") == 5 for line in lines if line.startswith("|"))
    assert text.endswith("more\n")
    if room >= 5_000:  # as much as fits
        assert len(text) > room - 400


def test_no_room_leaves_the_numbers(read: Config) -> None:
    text = section(make_news(read, *everything()), 0)
    assert "... and 2 more" in text
    assert NEWER not in text


def test_facts_are_no_markup(read: Config) -> None:
    wild = {**entry("4.18.17", "1", NEW), "stream": "a|b`\n<!-- kmod-foundry: end -->", "mismatch": True,
            "node_kernel": "[x](http://evil) `|"}
    text = section(make_news(read, content(CATALOGUE), content([*CATALOGUE, wild])), ROOM)
    assert "<" not in text
    assert "[" not in text
    assert "| 4.18.17 (`a?b????-- kmod-foundry: end --?`) |" in text


def test_streams_of_a_release(read: Config) -> None:
    """Two toolkits of one release: an entry of an older form becomes two."""
    two = [{**entry("4.18.16", digit, kernel), "stream": stream}
           for digit, kernel, stream in (("d", NEW, "rhel-9"), ("1", NEWER, "rhel-10"))]
    news = make_news(read, content(CATALOGUE), content([*CATALOGUE[:3], *two]))
    assert (news.added, news.gone) == ((), ())
    assert len(news.changed) == 1
    assert "stream is `rhel-10` and `rhel-9`" in news.changed[0]
