"""Keys of a family whose package says how it is made: its recipe, its further packages and its firmware count."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry.base.records import output_facts, write_record
from foundry.config.family import Family
from foundry.config.load import load_config
from foundry.config.locks import MainPackage
from foundry.config.profile import Profile
from foundry.config.recipe import recipe_of
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.keys import CellKey, FileHashes, made_hash
from foundry.plan.state import States
from tests.harness.checkout import LOCK, OLD, Checkout

DRIVER = "1.20.0-543"
NAME = f"{DRIVER}-{OLD}"
FAMILY = "config/drivers/habanalabs.yaml"
PACKAGE: dict[str, Any] = {
    "name": "habanalabs", "href": "habanalabs.noarch.rpm", "url": "https://vault.habana.ai/habanalabs.noarch.rpm",
    "content_sha256": "1" * 64, "build_time": 1747693633, "license": "GPL-2.0", "variables": {"git_sha": "abc"},
    "further": {"firmware": {
        "name": "habanalabs-firmware", "href": "firmware.rpm", "url": "https://vault.habana.ai/firmware.rpm",
        "content_sha256": "2" * 64, "build_time": 1747693633, "license": "Habana"}},
    "dkms": {"root": "usr/src/habanalabs-1.20.0-543", "make": ["make", "-C", "{kernel_build}"], "pre_build": ["./pre"],
             "modules": [{"name": "habanalabs", "file": "habanalabs.ko", "destination": "updates"}]},
}


def put(checkout: Checkout, package: dict[str, Any] | None = PACKAGE) -> None:
    base = {name: value for name, value in LOCK["base"].items() if name != "busybox"}
    packages = {DRIVER: package} if package else {}
    checkout.write("config/locks/habanalabs.json", {"schema": 1, "base": base, "packages": packages})
    checkout.write("build-matrix.json", [{"driver": DRIVER, "family": "habanalabs", "ocp_versions": ["4.16"]}])


def states(checkout: Checkout) -> States:
    return States(load_config(checkout.root, Profile("local", "test")))


def key(checkout: Checkout) -> CellKey:
    found = states(checkout).cells[NAME].key
    assert found is not None
    return found


def changed(*way: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(package: dict[str, Any]) -> None:
        for step in way[:-1]:
            package = package[step]
        package[way[-1]] = to

    return change


@pytest.mark.parametrize("change, parts", [
    (changed("content_sha256", to="9" * 64), {"package"}),
    (changed("further", "firmware", "content_sha256", to="9" * 64), {"firmware"}),
    (changed("variables", "git_sha", to="def"), {"make", "labels"}),
    (changed("dkms", "root", to="usr/src/other"), {"make"}),
    (changed("dkms", "make", to=["make", "all"]), {"make"}),
    (changed("dkms", "pre_build", to=["./other"]), {"make"}),
    (changed("dkms", "modules", to=[]), set()),  # the family file says them itself
    (changed("further", "firmware", "url", to="https://elsewhere.test/x"), set()),
])
def test_what_the_package_says_moves_the_key(
    checkout: Checkout, change: Callable[[dict[str, Any]], None], parts: set[str]
) -> None:
    put(checkout)
    before = key(checkout)
    package = copy.deepcopy(PACKAGE)
    change(package)
    put(checkout, package)
    after = key(checkout)
    assert set(changed_parts(before.parts, after.parts)) == parts
    assert (before.key != after.key) is bool(parts)


@pytest.mark.parametrize("old, new, part", [
    ("from: lib/firmware/habanalabs/gaudi", "from: lib/firmware/habanalabs/gaudi2", "firmware"),
    ("to: habanalabs/gaudi", "to: habanalabs/gaudi2", "firmware"),
    ("  - package: firmware\n    from", "  - from", "firmware"),
    ("destination: drivers/misc/habanalabs", "destination: updates", "modules"),
    ('arguments: ["GIT_SHA={git_sha}"]', "arguments: []", "make"),
])
def test_what_the_family_file_says_moves_the_key(checkout: Checkout, old: str, new: str, part: str) -> None:
    put(checkout)
    before = key(checkout)
    checkout.edit(FAMILY, old, new)
    after = key(checkout)
    assert changed_parts(before.parts, after.parts) == (part,)
    assert before.key != after.key
    assert before.module != after.module, "the compile gets it, or its folder holds it"


def test_the_order_of_loading_moves_the_key(checkout: Checkout) -> None:
    put(checkout)
    checkout.edit(FAMILY, "modules:\n", "modules:\n  - {name: other, file: other.ko, destination: updates}\n")
    checkout.edit(FAMILY, "firmware:\n  - package", "loading_order: [other, habanalabs]\nfirmware:\n  - package")
    before = key(checkout)
    checkout.edit(FAMILY, "[other, habanalabs]", "[habanalabs, other]")
    assert changed_parts(before.parts, key(checkout).parts) == ("modules",)


def test_firmware_of_the_drivers_own_package(checkout: Checkout) -> None:
    """Then it hangs on that package, and another one's content is nothing to it."""
    checkout.edit(FAMILY, "  - package: firmware\n    from", "  - from")
    put(checkout)
    before = key(checkout).parts["firmware"]
    put(checkout, {**PACKAGE, "content_sha256": "9" * 64})
    assert key(checkout).parts["firmware"] != before


def fetched(checkout: Checkout) -> Path:
    """Leave what the stages fetch and source leave."""
    found = states(checkout)
    folder = checkout.root / found.source_folder(DRIVER)
    (folder / "tree").mkdir(parents=True)
    (folder / "a.rpm").write_bytes(b"package")
    (folder / "source.tar").write_bytes(b"tar")
    common = {"driver": DRIVER, "family": "habanalabs", "inputs": {}, "content_sha256": "1" * 64,
              "further": {"firmware": "2" * 64}}
    write_record(folder / "fetch.json", "fetch", {
        **common, "outputs": output_facts(folder, ["a.rpm"]), "file_sha256": "3" * 64, "url": "https://x",
        "key": found.fetch_key(DRIVER, found.plan.families[DRIVER])})
    write_record(folder / "source.json", "source", {
        **common, "outputs": output_facts(folder, ["source.tar"]), "tree_sha256": "4" * 64, "files": 1})
    return folder


@pytest.mark.parametrize("package", [
    None, {name: value for name, value in PACKAGE.items() if name != "further"},
    {name: value for name, value in PACKAGE.items() if name != "variables"}, {**PACKAGE, "variables": {"other": "x"}},
    {name: value for name, value in PACKAGE.items() if name != "dkms"},
])
def test_a_lock_that_lacks_something_is_not_fetched(checkout: Checkout, package: dict[str, Any] | None) -> None:
    """A key that leaves out what is not known would be that of another cell; what was fetched says it when read."""
    put(checkout)
    fetched(checkout)
    put(checkout, package)
    found = states(checkout)
    assert (found.cells[NAME].key, found.cells[NAME].reason) == (None, "not fetched yet")
    assert (found.sources[DRIVER].fetch_done, found.sources[DRIVER].reason) == (False, "not fetched yet")


def done(checkout: Checkout) -> tuple[bool, bool]:
    found = states(checkout).sources[DRIVER]
    return found.fetch_done, found.source_done


def test_sources_that_are_here(checkout: Checkout) -> None:
    put(checkout)
    assert (done(checkout), states(checkout).sources[DRIVER].reason) == ((False, False), "not fetched yet")
    fetched(checkout)
    found = states(checkout).sources[DRIVER]
    assert (found.fetch_done, found.source_done, found.needed, found.reason) == (True, True, False, "")
    assert found.shown("fetch") == ("done", "up to date")


@pytest.mark.parametrize("change, left", [
    (changed("content_sha256", to="9" * 64), (False, False)),
    (changed("further", "firmware", "content_sha256", to="9" * 64), (False, False)),
    (changed("url", to="https://elsewhere.test/x"), (True, True)),
])
def test_sources_of_another_lock(
    checkout: Checkout, change: Callable[[dict[str, Any]], None], left: tuple[bool, bool]
) -> None:
    put(checkout)
    fetched(checkout)
    package = copy.deepcopy(PACKAGE)
    change(package)
    put(checkout, package)
    assert done(checkout) == left


@pytest.mark.parametrize("name, left", [
    ("tree", (True, False)), ("source.tar", (True, False)), ("a.rpm", (False, True)), ("fetch.json", (False, True)),
    ("source.json", (True, False)),
])
def test_sources_of_which_something_is_missing(checkout: Checkout, name: str, left: tuple[bool, bool]) -> None:
    put(checkout)
    path = fetched(checkout) / name
    path.rmdir() if path.is_dir() else path.unlink()
    assert done(checkout) == left
    assert states(checkout).sources[DRIVER].reason == ("not unpacked yet" if left[0] else "")


@pytest.mark.parametrize("old, new", [
    ("url: https://vault.habana.ai/artifactory/rhel/{rhel_major}/{rhel}/\n  packages: [habanalabs]",
     "url: https://mirror.test/rhel/8/{rhel}/\n  packages: [habanalabs]"),
    ("packages: [habanalabs-firmware]", "packages: [habanalabs-firmware, other]"),
    ("pattern: ^KMD_LAST_GIT_SHA=", "pattern: ^OTHER="),
    ("from: lib/firmware/habanalabs/gaudi", "from: lib/firmware/habanalabs/other"),
    ("signature: none\n", "signature: none\nsha256: {1.20.0-543: " + "a" * 64 + "}\n"),
    ("signature: none\n", "signing: {key_url: https://x.test/key, fingerprint: " + "A" * 40 + "}\n"),
    ("root: usr/src/habanalabs-{driver}", "root: usr/src/other-{driver}"),
])
def test_where_a_package_comes_from_counts_for_fetching_alone(checkout: Checkout, old: str, new: str) -> None:
    """Who signs it, which file is meant, what is looked for in it: else nothing would be verified after a change."""
    put(checkout)
    fetched(checkout)
    one = states(checkout)
    assert one.sources[DRIVER].fetch_done
    before = one.fetch_key(DRIVER, one.plan.families[DRIVER])
    checkout.edit(FAMILY, old, new)
    two = states(checkout)
    assert two.fetch_key(DRIVER, two.plan.families[DRIVER]) != before
    assert not two.sources[DRIVER].fetch_done


def test_what_is_read_in_a_package_counts_where_make_has_it() -> None:
    """Also of a family that is no DKMS package."""
    data = {"source": {"root": "src"}, "make": {"arguments": ["SHA={sha}"]}, "modules": [{"name": "a", "file": "a.ko"}]}
    family = Family("plain", data, ())

    package = MainPackage.from_document(PACKAGE)

    def hashed(**changes: Any) -> str:
        return made_hash(recipe_of(family, "1.0", replace(package, **changes)))

    first, second = (hashed(variables={"sha": sha}) for sha in ("a", "b"))
    assert first != second
    assert hashed() == hashed(url="https://elsewhere.test")


def test_words_for_parts() -> None:
    before, now = {"toolkit": "a", "old": "x", "strip": "s"}, {"toolkit": "b", "new": "y", "strip": "s"}
    assert changed_parts(before, now) == ("new", "old", "toolkit"), "what one of the two lacks differs, too"
    assert part_words(changed_parts(before, now)) == "new, old, the toolkit"


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """In a run, by its time, size and place."""
    file = tmp_path / "a"
    file.write_bytes(b"one")
    hashes = FileHashes(tmp_path)
    first = hashes.get("a")
    file.write_bytes(b"two")
    later = file.stat().st_mtime_ns + 10_000_000  # a clock may be too coarse to tell the two
    os.utime(file, ns=(later, later))
    assert hashes.get("a") != first
    assert hashes.read("a") == b"two"
