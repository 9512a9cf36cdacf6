"""What a machine pushed before it died: found in a real registry by tags and keys, and nothing else is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry.base.errors import OutsideError
from foundry.base.names import KEY_LABEL
from foundry.fleet.orphans import adopt_orphans
from foundry.ledger import ledgers
from foundry.plan.state import PENDING, PUBLISHED
from foundry.run.context import Foundry, open_foundry
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.front import Front, front
from tests.harness.ledgers import ledger_document
from tests.harness.registry import Pusher, real_registry

DRIVER = "2.22.2.0"
ONE, OTHER = f"{DRIVER}-{OLD}", f"{DRIVER}-{NEW}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Front]:
    with real_registry(tmp_path / "registry") as address, front(address) as running:
        yield running


@pytest.fixture
def foundry(registry: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Foundry:
    """It publishes to two repositories, and knows that nothing is published yet."""
    checkout = Checkout(tmp_path / "checkout")
    checkout.write("config/profiles/local.yaml", json.dumps({
        "image_repository": "localhost/kmod", "addresses": {"registry.test": registry.address},
        "publish": [{"registry": "registry.test", "repository": name} for name in ("first", "second")]}))
    checkout.write(f"build/local/release/{DRIVER}/images.json",
                   ledger_document())
    monkeypatch.setenv("KMOD_PROFILE", "local")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return open_foundry(checkout.root)


def push(registry: Front, foundry: Foundry, cell: str, *repositories: str, key: str = "") -> str:
    """An image with the cell's key of today, or another one, under the cell's tag; its digest."""
    state = foundry.states.cells[cell]
    assert state.key is not None
    found = {Pusher(registry.upstream, name).image(
        [b"layer of " + cell.encode()], labels={KEY_LABEL: key or state.key.key}, tag=state.cell.tag)["digest"]
        for name in repositories}
    [digest] = found
    return str(digest)


def states(foundry: Foundry) -> dict[str, str]:
    return {name: state.state for name, state in foundry.states.cells.items()}


def test_what_all_registries_have_is_adopted(registry: Front, foundry: Foundry) -> None:
    digest = push(registry, foundry, ONE, "first", "second")
    push(registry, foundry, OTHER, "first")
    registry.requests.clear()
    assert adopt_orphans(foundry) == [ONE]
    assert states(foundry) == {ONE: PUBLISHED, OTHER: PENDING}
    [row] = ledgers.ledger_of(foundry, DRIVER).sorted_rows()
    assert (row.digest, row.registries) == (digest, ("registry.test/first", "registry.test/second"))
    assert row.size > 0 and row.config_digest.startswith("sha256:")
    assert {method for method, _, _ in registry.requests} == {"GET"}
    assert len(registry.requests) == 2 + 2 * 3, "a list and three looks, in each repository"
    assert adopt_orphans(foundry) == []


@pytest.mark.parametrize("repositories", [("first",), ("first", "second")])
def test_images_of_other_inputs_are_left_alone(
    registry: Front, foundry: Foundry, repositories: tuple[str, ...]
) -> None:
    push(registry, foundry, ONE, *repositories, key="0" * 64)
    assert adopt_orphans(foundry) == []
    assert states(foundry)[ONE] == PENDING


def test_different_images_in_two_registries_are_no_answer(registry: Front, foundry: Foundry) -> None:
    push(registry, foundry, ONE, "first")
    state = foundry.states.cells[ONE]
    assert state.key is not None
    Pusher(registry.upstream, "second").image([b"another"], labels={KEY_LABEL: state.key.key}, tag=state.cell.tag)
    assert adopt_orphans(foundry) == []


def test_nobody_is_asked_where_nothing_is_pending(registry: Front, foundry: Foundry) -> None:
    for cell in (ONE, OTHER):
        push(registry, foundry, cell, "first", "second")
    assert sorted(adopt_orphans(foundry)) == sorted([ONE, OTHER])
    registry.requests.clear()
    assert adopt_orphans(foundry) == []
    assert registry.requests == []


def test_a_registry_that_can_not_be_read(registry: Front, foundry: Foundry) -> None:
    registry.always("tags/list", lambda handler: handler.send_error(403))
    with pytest.raises(OutsideError):
        adopt_orphans(foundry)
    assert states(foundry) == {ONE: PENDING, OTHER: PENDING}
