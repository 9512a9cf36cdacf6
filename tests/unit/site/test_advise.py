"""Ways of the release graph: the shortest on which nothing is lost, against a search of another kind; any graph."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from foundry.base.errors import OutsideError, UsageError
from foundry.base.schema import ValidationCache
from foundry.formats.openshift.release_lists import Edge, Risk, parse_edges
from foundry.plan.upgrades import Upgrades, flat, read_upgrades, upgrades_bytes, upgrades_of
from foundry.site.advise import Coverage, advise
from tests.harness.checkout import ROOT

RISK = Risk("SkipsARelease", "https://example.com/risk", "It skips a release.")
DRIVER = "2.22.2.0"


def graph(*edges: str) -> Upgrades:
    """``a>b`` is an upgrade, ``a?b`` one with a risk; a is 4.16.1, b 4.16.2 …"""
    names = {letter: f"4.16.{number}" for number, letter in enumerate("abcdefgh", 1)}
    return upgrades_of(Edge(names[one[0]], names[one[2]], (RISK,) if one[1] == "?" else ()) for one in edges)


def coverage(images: str, known: str = "abcdefgh") -> Coverage:
    """Each release has a kernel of its name; `images` are the releases whose kernel has one."""
    return Coverage({f"4.16.{number}": (f"5.14.0-{letter}",) for number, letter in enumerate("abcdefgh", 1)
                     if letter in known}, frozenset(f"5.14.0-{letter}" for letter in images), {})


@pytest.mark.parametrize("edges, images, way, kind", [
    (["a>b", "b>c"], "abc", "abc", "covered"), (["a>b", "b>c", "a>c"], "abc", "ac", "covered"),
    (["a>b", "b>c", "a?c"], "abc", "abc", "covered"),  # one step more, and recommended
    (["a>b", "b>c", "a?c"], "ac", "ac", "risky"), (["a>b", "b>c"], "ac", "abc", "lossy"),
    (["a>b", "b>d", "a>c", "c>d"], "acd", "acd", "covered"), (["a>b", "b>d", "a>c", "c>d"], "abcd", "acd", "covered"),
    (["a>b", "b>c"], "ab", "abc", "lossy"), (["a>b", "b>a", "b>c", "c>a"], "abc", "abc", "covered"),
    (["a>b", "c>d"], "abcd", "", "none"), ([], "ac", "", "none"), (["c>a"], "ac", "", "none"),
    (["a?c"], "a", "ac", "lossy"),
])
def test_ways(edges: list[str], images: str, way: str, kind: str) -> None:
    target = "c" if "d" not in "".join(edges) or kind == "none" else "d"
    names = {letter: f"4.16.{number}" for number, letter in enumerate("abcdefgh", 1)}
    found = advise(DRIVER, graph(*edges), coverage(images), names["a"], names[target])
    assert [step.release for step in found.way] == [names[letter] for letter in way]
    assert {"covered": found.path and not found.risky, "risky": found.path and found.risky,
            "lossy": found.lossy, "none": not found.way}[kind], found
    assert DRIVER in found.sentence() or kind == "none"
    assert json.loads(json.dumps(found.as_data()))["covered"] == bool(found.path)


def test_shorter_ways_that_are_not_recommended_are_said() -> None:
    found = advise(DRIVER, graph("a>b", "b>c", "c>d", "a?c", "b?d"), coverage("abcd"), "4.16.1", "4.16.4")
    assert [(one.source, one.target, one.risks) for one in found.blocked] == [
        ("4.16.1", "4.16.3", (RISK,)), ("4.16.2", "4.16.4", (RISK,))]
    assert found.as_data()["blocked"][0]["risks"][0]["name"] == "SkipsARelease"


def test_a_way_of_no_step() -> None:
    found = advise(DRIVER, graph("a>b"), coverage("a"), "4.16.1", "4.16.1")
    assert [step.release for step in found.path] == ["4.16.1"]


def test_releases_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match=r"4\.99\.1 is in neither"):
        advise(DRIVER, graph("a>b"), coverage("a"), "4.16.1", "4.99.1")
    found = advise(DRIVER, graph("a>b", "b>c"), coverage("ac", known="ac"), "4.16.1", "4.16.3")
    assert not found.path and [step.known for step in found.lossy] == [True, False, True]


def shortest(edges: dict[str, set[str]], allowed: set[str], source: str, target: str) -> int:
    """By trying all ways of one length after the other; -1 where there is none."""
    for length in range(len(allowed)):
        for middle in itertools.permutations(allowed - {source, target}, max(0, length - 1)):
            way = [source, *middle, target] if length else [source]
            if way[-1] == target and all(second in edges.get(first, ()) for first, second in itertools.pairwise(way)):
                return length
    return -1


@pytest.mark.parametrize("seed", range(40))
def test_against_a_search_of_another_kind(seed: int) -> None:
    """Cycles, islands, and ways of every length."""
    chance = random.Random(seed)
    names = [f"4.16.{number}" for number in range(1, 7)]
    edges = {(first, second) for first in names for second in names if first != second and chance.random() < 0.3}
    risky = {edge for edge in edges if chance.random() < 0.3}
    images = {name for name in names if chance.random() < 0.7}
    known = Coverage({name: (f"k-{name}",) for name in names}, frozenset(f"k-{name}" for name in images), {})
    upgrades = upgrades_of(Edge(*edge, (RISK,) if edge in risky else ()) for edge in edges)
    if not {names[0], names[-1]} <= upgrades.releases | set(names):
        return
    found = advise(DRIVER, upgrades, known, names[0], names[-1])

    def by_trial(allowed: set[str], *, risks: bool) -> int:
        taken = edges if risks else edges - risky
        some = {name: {second for first, second in taken if first == name} for name in names}
        return shortest(some, allowed, names[0], names[-1]) if {names[0], names[-1]} <= allowed else -1

    tries = [by_trial(images, risks=False), by_trial(images, risks=True), by_trial(set(names), risks=False),
             by_trial(set(names), risks=True)]
    best = next((length for length in tries if length >= 0), -1)
    assert len(found.way) - 1 == best
    assert bool(found.path) == (max(tries[:2]) >= 0)
    assert found.risky == (best >= 0 and tries[0] < 0 and (tries[1] >= 0 or tries[2] < 0))


def channel(**changes: object) -> bytes:
    nodes = [{"version": name, "payload": "a/b@sha256:" + "0" * 64} for name in ("4.16.1", "4.16.2", "4.17.0-ec.1")]
    document = {"nodes": nodes, "edges": [[0, 1], [1, 2]], "conditionalEdges": [
        {"edges": [{"from": "4.16.1", "to": "4.16.3"}], "risks": [
            {"name": "A\nB", "url": "javascript:alert(1)", "message": "x" * 5000, "matchingRules": []}]}]}
    return json.dumps({**document, **changes}).encode()


def test_edges_of_a_channel() -> None:
    """Candidates are left out; what strangers say is plain, and no address of another kind."""
    first, second = parse_edges(channel(), "x")
    assert first == Edge("4.16.1", "4.16.2")
    [risk] = second.risks
    assert (second.source, second.target, risk.url) == ("4.16.1", "4.16.3", "")
    assert "\n" not in risk.name and len(risk.message) <= 1000
    assert parse_edges(b'{"nodes": []}', "x") == []


@pytest.mark.parametrize("changes", [
    {"edges": [[0, 9]]}, {"edges": [[0]]}, {"edges": ["ab"]}, {"edges": {}}, {"edges": [[True, False]]},
    {"edges": [[-1, 0]]}, {"conditionalEdges": [1]}, {"conditionalEdges": [{"edges": [1]}]},
    {"conditionalEdges": [{"edges": [{"from": "a"}]}]}, {"conditionalEdges": [{"edges": [], "risks": 1}]},
])
def test_edges_that_can_not_be_read(changes: dict[str, object]) -> None:
    with pytest.raises(OutsideError, match="can't be used"):
        parse_edges(channel(**changes), "x")


def test_the_file(tmp_path: Path) -> None:
    other = Risk("SkipsARelease", "", "Another text.")
    edges = [Edge("4.16.1", "4.16.2"), Edge("4.16.1", "4.16.2", (RISK,)), Edge("4.16.9", "4.16.10", (RISK,)),
             Edge("4.16.2", "4.16.10", (other,)), Edge("4.16.1", "4.16.1"), Edge("4.16.10", "4.17.1")]
    found = {"x86_64": upgrades_of(edges), "aarch64": upgrades_of(reversed(edges))}
    assert found["x86_64"].edges["4.16.1"] == {"4.16.2": ()}, "what one channel recommends is recommended"
    data = upgrades_bytes(found, ["4.16"])
    assert data == upgrades_bytes(dict(reversed(found.items())), ["4.16"])
    (tmp_path / "upgrades.json").write_bytes(data)
    read = read_upgrades(tmp_path / "upgrades.json", "upgrades.json", ValidationCache(ROOT, tmp_path / "x"))
    assert flat(read) == {one for one in flat(found) if not one[2].startswith("4.17")}
    assert read_upgrades(tmp_path / "nowhere", "x", ValidationCache(ROOT, tmp_path / "x")) == {}
