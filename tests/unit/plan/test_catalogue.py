"""The catalogue as values: which entries an update touches, what is missing, and the order of the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import ConfigError
from foundry.base.schema import ValidationCache
from foundry.config.catalogue import CatalogueEntry, entries_of
from foundry.config.load import MatrixEntry, load_config
from foundry.config.profile import Profile
from foundry.plan.catalogue import (
    Change,
    Release,
    by_place,
    catalogue_bytes,
    changed,
    is_complete,
    missing,
    parse_entries,
    read_entries,
    unread_toolkits,
    wanted_minors,
    without_release,
)
from tests.harness.checkout import CATALOGUE, DTK, NEW, OLD, ROOT, Checkout, entry

PAYLOAD = "quay.io/openshift-release-dev/ocp-release@sha256:" + "7" * 64
OTHER_PAYLOAD = PAYLOAD.replace("7" * 64, "8" * 64)
BOTH = ("x86_64", "aarch64")
ENTRIES = entries_of(CATALOGUE)


def made(version: str, digest: str, kernel: str | None, **more: Any) -> CatalogueEntry:
    return CatalogueEntry(**{**entry(version, digest, kernel), **more})


def want(*releases: str, arch: tuple[str, ...] = ()) -> MatrixEntry:
    return MatrixEntry("2.22.2.0", "neuron", releases, ("build-matrix.json", "$[0]"), arch=arch)


def release(version: str, arch: str = "x86_64") -> Release:
    return Release(version, arch, PAYLOAD)


def test_an_update_touches_what_it_names() -> None:
    old = [made("4.16.30", "a", None), made("4.16.48", "b", OLD), made("4.18.15", "c", NEW),
           made("4.18.16", "d", NEW)]
    news = made("4.18.15", "e", NEW)
    change = Change({("4.18.15", "x86_64"): [news]}, {(old[0].dtk, "x86_64"): {"kernel": OLD}},
                    frozenset({("4.18.16", "x86_64")}))
    assert changed(old, change) == [replace(old[0], kernel=OLD), old[1], news]


def test_a_kernel_that_is_known_stays() -> None:
    """Where a toolkit was read for one entry, another that has its kernel already is left as it is."""
    kernels = {(DTK + "a" * 64, "x86_64"): {"kernel": NEW}}
    assert changed([made("4.16.30", "a", OLD)], Change({}, kernels)) == [made("4.16.30", "a", OLD)]


def test_a_kernel_is_for_its_architecture() -> None:
    arm = made("4.16.30", "a", None, arch="aarch64")
    assert changed([arm], Change({}, {(arm.dtk, "x86_64"): {"kernel": OLD}})) == [arm]


def test_an_update_of_nothing_changes_nothing() -> None:
    assert changed(ENTRIES, Change({}, {})) == list(ENTRIES)


def test_a_release_may_have_several_toolkits() -> None:
    streams = [made("4.18.15", digit, NEW, stream=f"rhel-{digit}") for digit in "9a"]
    place = ("4.18.15", "x86_64")
    assert by_place([*streams, made("4.18.16", "d", NEW)])[place] == streams
    assert changed([made("4.18.15", "c", NEW)], Change({place: streams}, {})) == streams


def test_the_order_of_the_file_is_that_of_the_releases() -> None:
    rows = [made("4.9.10", "1", OLD), made("4.16.30", "2", OLD), made("4.16.9", "3", OLD, stream="rhel-9"),
            made("4.16.9", "4", OLD, stream="rhel-10"), made("4.16.9", "5", OLD, arch="aarch64")]
    written = json.loads(catalogue_bytes(rows))
    assert [(one["version"], one["arch"], one.get("stream", "")) for one in written] == [
        ("4.9.10", "x86_64", ""), ("4.16.9", "aarch64", ""), ("4.16.9", "x86_64", "rhel-10"),
        ("4.16.9", "x86_64", "rhel-9"), ("4.16.30", "x86_64", "")]
    assert catalogue_bytes(rows) == catalogue_bytes(rows[::-1])


def test_the_fields_of_an_entry_have_their_order() -> None:
    """Empty ones are not written; what is written is read as the same."""
    row = CatalogueEntry("4.16.30", "x86_64", DTK + "a" * 64, mismatch=True, kernel=OLD)
    document = json.loads(catalogue_bytes([row]))
    assert list(document[0]) == ["version", "arch", "dtk", "kernel", "mismatch"]
    assert entries_of(document) == (row,)


def test_minors_that_the_matrix_names() -> None:
    found = wanted_minors([want("4.16.30", "4.9"), want("4.16", "4.18")])
    assert list(found) == ["4.9", "4.16", "4.18"], "by number"
    assert (found["4.16"].path, found["4.18"].path) == ("$[0].ocp_versions[0]", "$[0].ocp_versions[1]")


@pytest.mark.parametrize("one, found, says", [
    (want("4.16"), [release("4.16.30"), release("4.16.30", "aarch64")], []),
    (want("4.16.30"), [release("4.16.30"), release("4.16.30", "aarch64")], []),
    (want("4.16"), [release("4.16.30")], ["there is no release 4.16 for aarch64"]),
    (want("4.16", arch=("x86_64",)), [release("4.16.30")], []),
    (want("4.16", arch=("aarch64",)), [release("4.16.30")], ["there is no release 4.16 for aarch64"]),
    (want("4.1"), [release("4.16.30")], ["there is no release 4.1 for x86_64 and aarch64"]),
    (want("4.16.31"), [release("4.16.30")], ["there is no release 4.16.31 for x86_64 and aarch64"]),
])
def test_what_is_wanted_in_vain(one: MatrixEntry, found: list[Release], says: list[str]) -> None:
    faults = without_release([one], found, BOTH)
    assert [fault.message for fault in faults] == says
    assert all(fault.path == "$[0].ocp_versions[0]" for fault in faults)


def missed(
    entries: Sequence[CatalogueEntry], *, exclude: tuple[str, ...] = (), arches: tuple[str, ...] = BOTH
) -> list[str]:
    return [place[0] for place in missing(entries, [release("4.16.30")], ["4.16"], arches, exclude)]


def test_releases_that_are_gone() -> None:
    """Of the wanted minors and architectures alone, and not those that the settings leave out."""
    entries = [made(version, "a", OLD) for version in ("4.16.30", "4.16.100", "4.16.9", "4.18.15")]
    assert missed(entries) == ["4.16.9", "4.16.100"]
    assert missed(entries, exclude=("4.16.9",)) == ["4.16.100"]
    assert missed(entries, arches=("aarch64",)) == []
    assert missed([made("4.16.30", "a", OLD, arch="aarch64")]) == ["4.16.30"], "found for another architecture"


@pytest.mark.parametrize("entries, complete", [
    ([], False),
    ([made("4.16.30", "a", OLD, payload=PAYLOAD)], True),
    ([made("4.16.30", "a", OLD, payload=PAYLOAD.replace("quay.io", "mirror.test"))], True),
    ([made("4.16.30", "a", None, payload=PAYLOAD)], False),
    ([made("4.16.30", "a", OLD, payload=OTHER_PAYLOAD)], False),
    ([made("4.16.30", "a", OLD)], False),
    ([made("4.16.30", "a", OLD, payload=one) for one in (PAYLOAD, OTHER_PAYLOAD)], False),
])
def test_a_release_that_needs_no_reading(entries: Sequence[CatalogueEntry], complete: bool) -> None:
    assert is_complete(entries, PAYLOAD) is complete


def test_toolkits_whose_kernel_is_not_known(checkout: Checkout) -> None:
    """Each once, in the order of their lowest releases."""
    checkout.write("driver-toolkit/driver-toolkit.json", [
        entry("4.16.30", "b", None), entry("4.16.9", "a", None), entry("4.16.48", "b", None),
        entry("4.18.15", "c", NEW)])
    config = load_config(checkout.root, Profile("local", "test"))
    assert unread_toolkits(config) == [(DTK + "a" * 64, "x86_64"), (DTK + "b" * 64, "x86_64")]


@pytest.fixture
def validation(tmp_path: Path) -> ValidationCache:
    return ValidationCache(ROOT, tmp_path / "validation.json")


def test_what_is_read_is_checked(validation: ValidationCache, tmp_path: Path) -> None:
    file = tmp_path / "driver-toolkit.json"
    assert read_entries(file, "file", validation) == ()
    file.write_bytes(catalogue_bytes(ENTRIES))
    assert read_entries(file, "file", validation) == ENTRIES
    for text in (b"{", b'{"version": "4.16.30"}', b'[{"version": "4.16.30"}]'):
        with pytest.raises(ConfigError, match="file"):
            parse_entries(text, "file", validation)
