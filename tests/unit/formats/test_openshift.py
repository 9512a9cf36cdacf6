"""Lists of releases, image references, node images, BusyBox: what is read of them, and what hostile bytes do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.images import busybox, layers
from foundry.formats.openshift import image_references, node_image, release_lists
from tests.harness.openshift import filler, image_stream, packages, with_hard_link
from tests.harness.registry import tar_of

A, B = (f"quay.io/a/b@sha256:{digit * 64}" for digit in "ab")
KERNEL = "5.14.0-427.68.2.el9_4.x86_64"
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                            st.sampled_from(["nodes", "version", "payload", "tags", "name", "manifest_digest", "page",
                                             "has_additional", "spec", "kind", "from", "rpmdb.pkglist", "value"]),
                            inner, max_size=5), max_leaves=12)


@pytest.mark.parametrize("version, general", [
    ("4.18.15", True), ("4.20.0-okd-scos.12", True), ("4.18.0-rc.1", False), ("4.18.0-ec.2", False), ("4.18", False),
    ("4.18.0-0.nightly-2025-01-01-000000", False), ("4.20.0-okd-scos.ec.3", False), ("4.18.15\n", False), ("", False),
])
def test_what_is_generally_available(version: str, general: bool) -> None:
    assert release_lists.is_general(version) is general


def test_a_graph_and_a_page() -> None:
    graph = {"nodes": [{"version": "4.18.15", "payload": A}, {"version": "4.19.0-rc.1"}], "edges": [[0, 1]]}
    assert {name: str(one) for name, one in release_lists.parse_graph(json.dumps(graph).encode(), "x").items()} == {
        "4.18.15": A}
    page = {"tags": [{"name": "4.18.15-x86_64", "manifest_digest": A.partition("@")[2]}, {"name": "4.18.15-s390x"}],
            "has_additional": True}
    found = release_lists.parse_tags(json.dumps(page).encode(), "x", "x86_64", 1)
    assert (found.releases, found.more) == ({"4.18.15": A.partition("@")[2]}, True)


def test_the_streams_of_a_payload() -> None:
    found = image_references.parse(image_stream({"driver-toolkit": A, "stream-coreos": B, "cli": A}, "4.18.15"))
    assert found.release == "4.18.15"
    [one] = found.streams
    assert (one.name, str(one.toolkit), str(one.node)) == ("driver-toolkit", A, B)
    first, second = image_references.parse(image_stream({"driver-toolkit-10": B, "driver-toolkit": A,
                                                         "rhel-coreos-10": A, "driver-toolkit-test": A})).streams
    assert (first.name, first.node, second.name, str(second.node)) == (
        "driver-toolkit", None, "driver-toolkit-10", A)


def test_the_kernel_of_packages() -> None:
    assert node_image.kernel_of_packages(packages(KERNEL), "x86_64") == KERNEL
    assert node_image.kernel_of_packages(packages(KERNEL), "aarch64") == ""


@pytest.mark.parametrize("files, versions", [
    ({"bin/busybox": b"BusyBox v1.36.1 (2024)\0syslogd: BusyBox v1.36.1\0"}, {"1.36.1"}),
    ({"./usr/bin/busybox": filler(70000) + b"BusyBox v1.35.0 (Debian 1:1.35.0-4)"}, {"1.35.0"}),
    ({"bin/busybox": b"BusyBox v1.36.1.2.3.4"}, set()),
    ({"bin/busybox": b""}, set()),
])
def test_the_version_of_a_busybox(files: dict[str, bytes], versions: set[str]) -> None:
    found = busybox.look(iter([tar_of(files)]))
    assert found.kind is layers.FILE
    assert found.versions == versions


def test_a_busybox_that_is_a_hard_link_or_hidden_or_elsewhere() -> None:
    assert busybox.look(iter([with_hard_link()])).versions == {"1.36.1"}
    assert busybox.look(iter([tar_of({"etc/x": b"BusyBox v1.0.0"})])).kind is layers.ABSENT
    hidden = {"bin/.wh.busybox": b"", "usr/bin/.wh..wh..opq": b""}
    assert busybox.look(iter([tar_of(hidden)])).kind is layers.HIDDEN


@given(anything)
def test_no_document_is_more_than_refused(value: Any) -> None:
    data = json.dumps(value).encode()
    readers: list[Callable[[], object]] = [
        lambda: release_lists.parse_graph(data, "x"), lambda: release_lists.parse_tags(data, "x", "x86_64", 1),
        lambda: image_references.parse(data), lambda: node_image.kernel_of_packages(data, "x86_64"),
        lambda: release_lists.error_text(data),
    ]
    for read in readers:
        try:
            read()
        except FoundryError as error:
            assert "\n" not in error.message
            assert error.hint
