"""`doit toolkit`: releases from a graph and from a list of tags, and all that these can get wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.clone import Clone
from tests.harness.front import hang_up, says
from tests.harness.openshift import (
    CATALOGUE,
    GRAPH,
    NEW,
    OLD,
    OpenShift,
    failed,
    untouched,
)

HEX = "a" * 64


@pytest.fixture(scope="module")
def releases(shared_openshift: OpenShift) -> dict[tuple[str, str], str]:
    shared_openshift.clear()
    for version, kernel in (("4.16.30", OLD), ("4.16.4", OLD), ("4.17.1", OLD), ("4.18.15", NEW)):
        shared_openshift.release(version, kernel)
    return dict(shared_openshift.payloads)


@pytest.fixture
def world(releases: dict[tuple[str, str], str], world: OpenShift) -> OpenShift:
    world.payloads.update(releases)
    return world


@pytest.fixture
def filled(world: OpenShift, tmp_path: Path) -> Clone:
    """A checkout whose catalogue has everything."""
    clone = world.clone(tmp_path)
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    world.lists.requests.clear()
    world.registry.requests.clear()
    return clone


def graph(*nodes: Any) -> bytes:
    return json.dumps({"version": 1, "nodes": nodes, "edges": [], "conditionalEdges": []}).encode()


@pytest.mark.parametrize("source", ["graph", "tags"])
def test_from_nothing(world: OpenShift, tmp_path: Path, source: str) -> None:
    """The minors of the matrix and no others, without candidates, lowest first; all fields; nothing is started."""
    world.channels["stable-4.18"] = ["4.18.0-rc.1", "4.18.0-ec.3"]
    world.page = 2
    clone = world.clone(tmp_path, releases={"source": source})
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert run.processes == []
    entries = clone.catalogue()
    assert [entry["version"] for entry in entries] == ["4.16.4", "4.16.30", "4.18.15"]
    assert [entry["kernel"] for entry in entries] == [OLD, OLD, NEW]
    assert all(entry["node_kernel"] == entry["kernel"] and "mismatch" not in entry for entry in entries)
    assert entries[2]["payload"] == world.payloads["4.18.15", "x86_64"]
    assert list(entries[0]) == ["version", "arch", "dtk", "kernel", "rhel", "payload", "node_kernel"]
    assert "3 releases: 3 new, 0 known" in run.out
    before = (clone.root / CATALOGUE).read_bytes()
    (clone.root / CATALOGUE).write_bytes(b"[]\n")
    assert clone.doit("toolkit").code == 0
    assert (clone.root / CATALOGUE).read_bytes() == before, "the same bytes"


def test_nothing_new_is_one_conditional_request_a_channel(world: OpenShift, filled: Clone) -> None:
    for validators, conditional in (("ETag", "If-None-Match"), ("Last-Modified", "If-None-Match"),
                                    ("Last-Modified", "If-Modified-Since"), ("", "If-Modified-Since"), ("", "")):
        world.validators = validators
        with untouched(filled):
            run = filled.doit("toolkit")
        assert run.code == 0, run.text
        asked = [path for _, path, _ in world.lists.requests]
        assert sorted(asked) == [f"{GRAPH}?channel=stable-{minor}&arch=amd64" for minor in ("4.16", "4.18")]
        asked_after = [{"If-None-Match", "If-Modified-Since"} & {*headers} for _, _, headers in world.lists.requests]
        assert asked_after == [{conditional} - {""}] * 2
        assert world.registry.requests == []
        assert len(run.connections) == 2
        world.lists.requests.clear()


def test_a_fresh_checkout_with_the_catalogue_asks_for_nothing_else(world: OpenShift, filled: Clone,
                                                                   tmp_path: Path) -> None:
    fresh = world.clone(tmp_path)
    fresh.write(CATALOGUE, (filled.root / CATALOGUE).read_text())
    with untouched(fresh):
        assert fresh.doit("toolkit").code == 0
    assert (len(world.lists.requests), world.registry.requests) == (2, [])


def test_only_what_is_new_is_read(world: OpenShift, filled: Clone) -> None:
    world.release("4.18.16", NEW)
    world.registry.requests.clear()
    run = filled.doit("toolkit")
    assert run.code == 0, run.text
    assert [entry["version"] for entry in filled.catalogue()] == ["4.16.4", "4.16.30", "4.18.15", "4.18.16"]
    assert len(world.registry.requests) == 6
    assert "4 releases: 1 new, 3 known" in run.out


def test_both_architectures(world: OpenShift, tmp_path: Path) -> None:
    arm = OLD.replace("x86_64", "aarch64")
    world.release("4.16.30", arm, arch="aarch64", rt="error: package kernel-rt-core is not installed")
    clone = world.clone(tmp_path, ["4.16.30"], arch=["x86_64", "aarch64"], releases={"exclude": ["4.16.4"]})
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    rows = clone.catalogue()
    assert [(row["arch"], row["kernel"]) for row in rows] == [("aarch64", arm), ("x86_64", OLD)]
    assert "rt_kernel" not in rows[0]


SERVER = 'node 0 has no version'
CASES = {
    "500": (says(500, b"oops"), "500 Internal Server Error"),
    "error": (says(400, b'{"kind":"invalid_params","value":"no such channel"}'), "no such channel"),
    "error with 200": (says(200, b'{"kind":"failed","value":"try again"}'), "try again"),
    "empty": (says(200, graph()), "has no releases"),
    "no body": (says(200), "it is no JSON"),
    "not JSON": (says(200, b"<html>sign in</html>"), "it is no JSON"),
    "a list": (says(200, b"[]"), "it is no JSON object"),
    "no nodes": (says(200, b'{"version":1,"edges":[]}'), "it has no list of nodes"),
    "node without version": (says(200, graph({"payload": "quay.io/a/b@sha256:" + HEX})), SERVER),
    "node without payload": (says(200, graph({"version": "4.18.15"})), "4.18.15 has no payload by digest"),
    "payload by tag": (says(200, graph({"version": "4.18.15", "payload": "quay.io/a/b:c"})), "no payload by digest"),
    "two payloads": (says(200, graph(*({"version": "4.18.15", "payload": f"quay.io/a/b@sha256:{x * 64}"}
                                       for x in "ab"))), "4.18.15 has two payloads"),
    "401": (says(401), "401"), "403": (says(403), "403"), "404": (says(404), "404"),
    "429": (says(429, Retry_After="3600"), "429"),
    "other host": (says(302, Location="http://198.51.100.7/graph"), "another host, http://198.51.100.7/graph"),
    "endless redirect": (says(302, Location=GRAPH + "?channel=stable-4.18"), "redirected without end"),
    "unasked 304": (says(304), "304"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_answer_changes_nothing(world: OpenShift, tmp_path: Path, case: str) -> None:
    fault, words = CASES[case]
    clone = world.clone(tmp_path)
    world.lists.always("channel=stable-4.18", fault)
    with untouched(clone):
        run = clone.doit("toolkit", "--allow-shrink")
    failed(run, 3, words, "4.18")
    assert world.registry.requests == []


def test_an_answer_that_is_cut_off_or_reset_is_asked_for_again(world: OpenShift, filled: Clone) -> None:
    world.validators = ""
    world.lists.faults += [("stable-4.16", hang_up),
                           ("stable-4.18", says(503)), ("stable-4.18", says(429, Retry_After="1"))]
    started = time.monotonic()
    with untouched(filled):
        assert filled.doit("toolkit").code == 0
    assert time.monotonic() - started > 1
    assert len(world.lists.requests) == 5


TAGS = {
    "500": (says(500), "500"),
    "not JSON": (says(200, b"<html>"), "it is no JSON"),
    "no page": (says(200, b'{"tags":[]}'), "it is no page of tags"),
    "error": (says(200, b'{"error_message":"x"}'), "it is no page of tags"),
    "another page": (says(200, b'{"tags":[],"page":7,"has_additional":true}'), "gives page 7 for page 1"),
    "a tag without name": (says(200, b'{"tags":[{}],"page":1,"has_additional":false}'), "a tag has no name"),
    "a tag without digest": (says(200, b'{"tags":[{"name":"4.18.15-x86_64"}],"page":1,"has_additional":false}'),
                             "4.18.15-x86_64 has no digest"),
    "the same for ever": (says(200, b'{"tags":[{"name":"4.18.1-s390x"}],"has_additional":true}'), "nothing new"),
    "empty for ever": (says(200, b'{"tags":[],"has_additional":true}'), "nothing new"),
}


@pytest.mark.parametrize("case", TAGS)
def test_a_bad_page_of_tags_changes_nothing(world: OpenShift, tmp_path: Path, case: str) -> None:
    fault, words = TAGS[case]
    clone = world.clone(tmp_path, releases={"source": "tags"})
    world.lists.always("like:4.18.", fault)
    with untouched(clone):
        run = clone.doit("toolkit")
    failed(run, 3, words)
    assert len(world.lists.requests) < 12


@pytest.mark.parametrize("source", ["graph", "tags"])
def test_a_wanted_release_that_there_is_not(world: OpenShift, tmp_path: Path, source: str) -> None:
    """An error of the matrix, not of the network: the place is named, and nothing is concluded."""
    for matrix, words in ((["4.16", "4.19"], "$[0].ocp_versions[1]: there is no release 4.19 for x86_64"),
                          (["4.16.99"], "$[0].ocp_versions[0]: there is no release 4.16.99 for x86_64")):
        clone = world.clone(tmp_path, matrix, releases={"source": source})
        with untouched(clone):
            run = clone.doit("toolkit")
        failed(run, 2, f"build-matrix.json: {words}")


def test_the_catalogue_does_not_shrink_by_itself(world: OpenShift, filled: Clone) -> None:
    gone = world.payloads.pop(("4.16.4", "x86_64"))
    with untouched(filled):
        run = filled.doit("toolkit")
    failed(run, 3, "4.16.4 x86_64: in driver-toolkit/driver-toolkit.json, and no longer to be found", "--allow-shrink")
    filled.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.18"]}])
    with untouched(filled):
        assert filled.doit("toolkit").code == 0, "a minor that nobody wants may be missing"
    filled.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    run = filled.doit("toolkit", "--allow-shrink")
    assert run.code == 0, run.text
    assert "warning: 4.16.4 x86_64 was taken out: it is no longer to be found" in run.out
    assert [entry["version"] for entry in filled.catalogue()] == ["4.16.30", "4.18.15"]
    world.payloads["4.16.4", "x86_64"] = gone


def test_a_catalogue_that_is_none_is_our_own_fault(world: OpenShift, filled: Clone) -> None:
    (filled.root / CATALOGUE).write_text('[{"version": 4}]')
    with untouched(filled):
        run = filled.doit("toolkit")
    assert run.code == 2
    assert "driver-toolkit/driver-toolkit.json: $[0]" in run.err
    assert world.lists.requests == []


def test_a_time_limit_for_all(world: OpenShift, tmp_path: Path) -> None:
    clone = world.clone(tmp_path, releases={"timeout": 2})
    world.lists.always("stable-4.18", lambda handler: time.sleep(6))
    started = time.monotonic()
    with untouched(clone):
        run = clone.doit("toolkit")
    assert time.monotonic() - started < 5
    failed(run, 3, "takes longer than 2 s")


def test_an_answer_that_was_damaged_here_is_fetched_again(world: OpenShift, filled: Clone) -> None:
    [*bodies] = (filled.build / "toolkits/answers").glob("*.body")
    assert len(bodies) == 2
    for body in bodies:
        body.write_bytes(graph())
    with untouched(filled):
        assert filled.doit("toolkit").code == 0
    assert all("If-None-Match" not in headers for _, _, headers in world.lists.requests)
