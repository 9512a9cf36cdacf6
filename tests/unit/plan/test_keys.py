"""Keys: frozen in a golden file, and moved by every input that they should see and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from foundry.base.files import pretty_json
from foundry.config.load import load_config
from foundry.config.module import Module
from foundry.config.profile import Profile
from foundry.config.recipe import Recipe
from foundry.plan.changes import changed_parts
from foundry.plan.keys import CellKey, FileHashes, cell_key, made_hash, modules_hash
from foundry.plan.state import States
from foundry.plan.why import NO_CERTIFICATE
from tests.harness.checkout import LOCK, OLD, ROOT, Checkout
from tests.harness.signing import pair_named

GOLDEN = ROOT / "tests/unit/golden" / "keys.json"


def keys(checkout: Checkout) -> dict[str, CellKey]:
    states = States(load_config(checkout.root, Profile("local", "test")))
    found = {}
    for cell in states.plan.cells:
        key = cell_key(cell, states.config, FileHashes(checkout.root))
        assert isinstance(key, CellKey)
        found[cell.name] = key
    return found


def freeze(checkout: Checkout) -> None:
    """Settled stand-ins for the files whose content may change without a change of the key's form."""
    for name in ("container/Containerfile", "container/build-module.sh", "container/licenses/GPL-2.0.txt"):
        checkout.write(name, f"{name}\n")


def test_keys_are_as_they_were(checkout: Checkout) -> None:
    """A change of the golden file rebuilds every image of every user: say so in CHANGELOG.md."""
    freeze(checkout)
    found = {name: {"key": key.key, "module": key.module, "parts": key.parts, "labels": dict(key.labels)}
             for name, key in keys(checkout).items()}
    assert pretty_json(found).decode() == GOLDEN.read_text(encoding="utf-8")


def content(text: str) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.write(text, "changed\n")


def edited(name: str, old: str, new: str) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.edit(name, old, new)


FAMILY = "config/drivers/neuron.yaml"


@pytest.mark.parametrize("change, part, compiles", [
    (content("container/Containerfile"), "containerfile", False),
    (content("container/licenses/GPL-2.0.txt"), "licenses", False),
    (content("container/build-module.sh"), "build_script", True),
    (edited(FAMILY, "vendor: Amazon Web Services", "vendor: Someone"), "labels", False),
    (edited(FAMILY, "strip: debug", "strip: none"), "strip", True),
    (edited(FAMILY, "file: neuron.ko", "file: sub/neuron.ko"), "modules", True),
    (edited(FAMILY, "file: neuron.ko", "file: neuron.ko\n    destination: extra"), "modules", True),
    (edited(FAMILY, "strip: debug", "strip: debug\nmake: {arguments: [V=1]}"), "make", True),
    (edited(FAMILY, "root: usr/src/aws-neuron*-{driver}", "root: usr/src/neuron-{driver}"), "make", True),
    (edited(FAMILY, "replace: RHEL_RELEASE_CODE >= RHEL_RELEASE_VERSION(9, 4)\n        matches: 2",
            "replace: nothing\n        matches: 2"), "patches", True),
    (edited("config/locks/neuron.json", "2" * 64, "9" * 64), "package", True),
    (edited("config/locks/neuron.json", "e" * 64, "9" * 64), "base", False),
    (edited("driver-toolkit/driver-toolkit.json", "a" * 64, "9" * 64), "toolkit", True),
])
def test_what_moves_a_key(
    checkout: Checkout, change: Callable[[Checkout], None], part: str, compiles: bool
) -> None:
    name = f"2.22.2.0-{OLD}"
    before = keys(checkout)[name]
    change(checkout)
    after = keys(checkout)[name]
    assert before.key != after.key
    assert (before.module != after.module) is compiles
    moved = {name for name in after.parts if before.parts[name] != after.parts[name]}
    assert part in moved
    assert moved - {part} <= {"labels"}
    assert changed_parts(before.parts, after.parts)


def test_the_loading_order_moves_what_stands_for_the_modules() -> None:
    one, two = Module("one", "one.ko", ""), Module("two", "two.ko", "")
    recipes = Recipe((one, two)), Recipe((one, two), loading_order=("two", "one"))
    assert len({modules_hash(recipe) for recipe in recipes}) == 2
    assert len({made_hash(recipe) for recipe in recipes}) == 1


@pytest.mark.parametrize("change", [
    edited(FAMILY, "why: RHEL 9 kernels", "why: Some kernels"),
    edited(FAMILY, 'drivers: ">=2.16.7.0,<2.18.12.0"', 'drivers: ">=2.16.7.0,<2.18.13.0"'),
    edited("build-matrix.json", '"4.16", ', '"4.16.30", '),
    edited("config/defaults.yaml", "parallel: 0", "parallel: 3"),
    edited("config/defaults.yaml", "image_repository: localhost/{family}-driver", "image_repository: localhost/x"),
])
def test_what_moves_no_key(checkout: Checkout, change: Callable[[Checkout], None]) -> None:
    before = keys(checkout)
    change(checkout)
    assert {name: key.key for name, key in keys(checkout).items()} == {name: key.key for name, key in before.items()}


def test_a_missing_lock_is_not_fetched_yet(checkout: Checkout) -> None:
    checkout.write("config/locks/neuron.json", {**LOCK, "packages": {}})
    states = States(load_config(checkout.root, Profile("local", "test")))
    assert {state.reason for state in states.cells.values()} == {"not fetched yet"}
    checkout.write("config/locks/neuron.json", {"schema": 1, "packages": {}})
    states = States(load_config(checkout.root, Profile("local", "test")))
    assert {state.reason for state in states.cells.values()} == {"the base image is not locked yet"}


def test_no_label_is_empty(checkout: Checkout) -> None:
    for key in keys(checkout).values():
        assert all(value.strip() for value in key.labels.values())
        assert key.labels["org.opencontainers.image.created"] == "2025-05-19T22:27:13Z"
        assert json.dumps(dict(key.labels)).count("{") == 1


@pytest.mark.parametrize("left", ["nothing", "a folder", "a text", "its first half"])
def test_a_certificate_that_vanishes_is_not_taken_for_none(checkout: Checkout, left: str) -> None:
    """It was there when the configuration was read: nothing has a key then, and nothing is unsigned by that."""
    pair = pair_named("one")
    checkout.write("site.crt", pair.file.read_text())
    checkout.edit("config/defaults.yaml", 'signing: {key: "", certificate: ""}',
                  f"signing: {{key: {pair.key}, certificate: site.crt}}")
    config, file = load_config(checkout.root, Profile("local", "test")), checkout.root / "site.crt"
    known = States(config)
    assert {key.certificate for cell in known.plan.cells
            if isinstance(key := cell_key(cell, config, FileHashes(checkout.root)), CellKey)} == {config.certificate}
    text = file.read_bytes()
    file.unlink()
    if left == "a folder":
        file.mkdir()
    elif left != "nothing":
        file.write_bytes(b"text" if left == "a text" else text[:len(text) // 2])
    states = States(config)
    assert states.plan.cells and config.certificate == ""
    for cell in states.plan.cells:
        assert cell_key(cell, config, FileHashes(checkout.root)) == NO_CERTIFICATE
        state = states.of(cell)
        assert (state.key, state.why, state.signed, state.module_done) == (None, NO_CERTIFICATE, False, False)
