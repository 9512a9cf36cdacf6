"""Locks: documents become values and the same bytes again, and what a run adds is in the file and in the run."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from foundry.base.errors import ConfigError
from foundry.base.files import pretty_json
from foundry.config.load import Config, load_config
from foundry.config.locks import Lock, LockedPackage, MainPackage
from foundry.config.profile import Profile
from tests.harness.checkout import LOCK, Checkout

FILE = "config/locks/neuron.json"
PACKAGE = MainPackage("name", "a.rpm", "https://example.org/a.rpm", "7" * 64, 1, "GPL-2.0")
WHOLE: dict[str, Any] = {
    **LOCK["packages"]["2.22.2.0"], "variables": {"sha": "a"},
    "further": {"firmware": LOCK["packages"]["2.28.0.0"]},
    "dkms": {"root": "src", "modules": [{"name": "a", "file": "a.ko", "destination": ""}], "make": [],
             "pre_build": ["./pre"], "exclusive": {"kernel": "x"}, "remarks": ["y"]},
    "node": [{"kind": "firmware", "where": "/lib/firmware/a", "text": ""}],
}


@pytest.fixture
def read(checkout: Checkout) -> Config:
    return load_config(checkout.root, Profile("local", "test"))


def document(checkout: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkout.root / FILE).read_text())
    return found


@pytest.mark.parametrize("lock", [
    LOCK, {"schema": 1, "packages": {}}, {**LOCK, "packages": {"1.0": WHOLE}},
    {**LOCK, "base": {**LOCK["base"], "busybox": {
        "version": "1", "source": "https://a", "source_backup": "https://b", "sha256": {"https://b": "0" * 64}}}},
])
def test_the_same_bytes_again(lock: dict[str, Any], read: Config) -> None:
    assert not read.validation.faults("lock", lock, FILE)
    assert Lock.from_document(lock).to_bytes() == pretty_json(lock)


def test_a_package_is_known_at_once(read: Config, checkout: Checkout) -> None:
    family = read.families["neuron"]
    before = read.recipe(family, "2.22.2.0")
    assert read.locks.change("neuron", lambda lock: lock.with_package("9.9", PACKAGE))
    assert not read.locks.change("neuron", lambda lock: lock.with_package("9.9", PACKAGE)), "it is there already"
    assert read.locks.of("neuron").packages["9.9"] == PACKAGE
    assert document(checkout)["packages"].keys() == {*LOCK["packages"], "9.9"}
    assert read.recipe(family, "2.22.2.0") is before


def test_what_others_write_stays_and_counts_from_the_next_run_on(read: Config, checkout: Checkout) -> None:
    """A key that was made with the base of the run's begin must not be that of an image with another one."""
    meanwhile = copy.deepcopy(LOCK)
    meanwhile["base"]["digest"] = "sha256:" + "1" * 64
    checkout.write(FILE, meanwhile)
    read.locks.change("neuron", lambda lock: lock.with_package("9.9", PACKAGE))
    assert document(checkout)["base"] == meanwhile["base"]
    assert read.locks.of("neuron").base == Lock.from_document(LOCK).base


def test_the_file_alone(read: Config, checkout: Checkout) -> None:
    assert read.locks.write("neuron", lambda lock: replace(lock, base=None))
    assert "base" not in document(checkout)
    assert read.locks.of("neuron") == Lock.from_document(LOCK)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}'])
def test_a_file_that_is_no_lock_is_not_replaced(text: str, read: Config, checkout: Checkout) -> None:
    (checkout.root / FILE).write_text(text)
    with pytest.raises(ConfigError, match=FILE):
        read.locks.change("neuron", lambda lock: lock.with_package("9.9", PACKAGE))
    assert (checkout.root / FILE).read_text() == text
    assert "9.9" not in read.locks.of("neuron").packages


def test_a_file_that_is_gone(read: Config, checkout: Checkout) -> None:
    (checkout.root / FILE).unlink()
    assert read.locks.change("neuron", lambda lock: lock.with_package("9.9", PACKAGE))
    assert document(checkout)["packages"].keys() == {"9.9"}


def test_many_threads(read: Config, checkout: Checkout) -> None:
    drivers = {f"9.{number}" for number in range(20)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda driver: read.locks.change(
            "neuron", lambda lock: lock.with_package(driver, PACKAGE)), drivers))
    assert drivers < read.locks.of("neuron").packages.keys()
    assert drivers < document(checkout)["packages"].keys()


def test_further_packages_are_plain() -> None:
    package = MainPackage.from_document(WHOLE)
    assert package.further == {"firmware": LockedPackage(**LOCK["packages"]["2.28.0.0"])}
