"""Ledgers that somebody forged, in the registry, at GitHub, in this checkout: no image of theirs is published.

The attacker can write a ledger's tag or a release's asset, and has a registry of his own with images that bear
today's keys, which anyone can compute from a clone. Both registries and the stand-in for GitHub are asked for real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.names import KEY_LABEL
from foundry.ledger import ledgers, publish
from foundry.ledger.adoption import adopt
from foundry.plan.ledger import SCHEMA
from foundry.plan.rows import row_from
from foundry.plan.state import PENDING, PUBLISHED
from foundry.registry.document import get_document, put_document
from foundry.run.context import Foundry, open_foundry
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.front import Front, front, says
from tests.harness.github import github_fake
from tests.harness.github_state import Asset, GitHub, Release
from tests.harness.registry import Pusher, real_registry
from tests.integration.pushing import writer

DRIVER = "2.22.2.0"
ONE, OTHER = f"{DRIVER}-{OLD}", f"{DRIVER}-{NEW}"
MINE, THEIRS = "mine/kmod", "theirs/kmod"


@dataclass
class World:
    """A checkout that publishes to one registry, and the attacker's registry."""

    checkout: Checkout
    mine: Front
    theirs: Front

    def foundry(self) -> Foundry:
        return open_foundry(self.checkout.root)

    def image(self, cell: str, key: str | None = None, salt: str = "") -> str:
        """An image in the profile's own registry; its digest."""
        return image(self.mine, MINE, key or key_of(self.foundry(), cell), cell + salt)

    def evil(self, cell: str) -> str:
        """An image with today's key in the attacker's registry."""
        return image(self.theirs, THEIRS, key_of(self.foundry(), cell), "evil")

    def keep(self, *rows: Mapping[str, Any], repository: str = MINE, **more: Any) -> None:
        """Put a ledger beside the images."""
        put_document(writer(self.mine, repository), ledgers.ledger_tag(DRIVER), document(*rows, **more),
                     ledgers.MEDIA_TYPE)

    def kept(self) -> list[dict[str, Any]]:
        data = get_document(writer(self.mine, MINE), ledgers.ledger_tag(DRIVER), ledgers.MEDIA_TYPE)
        return [] if data is None else list(json.loads(data)["cells"])

    def row(self, cell: str, digest: str, **changes: Any) -> dict[str, Any]:
        """A row as this checkout would write it for the cell today."""
        foundry = self.foundry()
        state = foundry.states.cells[cell]
        assert state.key is not None
        return {
            "kernel": state.cell.kernel, "arch": "x86_64", "key": state.key.key, "key_inputs": dict(state.key.parts),
            "digest": digest, "tags": list(publish.tags(foundry, state.cell)),
            "registries": [f"registry.test/{MINE}"], "releases": list(state.cell.releases),
            "toolkit": state.cell.toolkit, "content_sha256": "2" * 64, "published": "2026-01-02T03:04:05Z", **changes,
        }


def image(registry: Front, repository: str, key: str, salt: str) -> str:
    return str(Pusher(registry.upstream, repository).image([salt.encode()], labels={KEY_LABEL: key})["digest"])


def key_of(foundry: Foundry, cell: str) -> str:
    key = foundry.states.cells[cell].key
    assert key is not None
    return key.key


def document(*rows: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"schema": SCHEMA, "driver": DRIVER, "family": "neuron", "cells": rows, **more}).encode()


def states(foundry: Foundry) -> dict[str, str]:
    foundry.states.forget([DRIVER])
    return {name: state.state for name, state in foundry.states.cells.items()}


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with real_registry(tmp_path_factory.mktemp("mine")) as mine, \
            real_registry(tmp_path_factory.mktemp("theirs")) as theirs:
        yield mine, theirs


@pytest.fixture
def world(checkout: Checkout, upstreams: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("KMOD_PROFILE", "local")
    with front(upstreams[0]) as mine, front(upstreams[1]) as theirs:
        checkout.write("config/profiles/local.yaml", {
            "image_repository": "localhost/kmod", "publish": [{"registry": "registry.test", "repository": MINE}],
            "addresses": {"registry.test": mine.address, "evil.test": theirs.address}})
        one = World(checkout, mine, theirs)
        one.keep()
        one.mine.requests.clear()
        yield one


def forgeries(world: World) -> dict[str, tuple[dict[str, Any], str]]:
    """Rows that are not true, and what is said of each."""
    evil = {"registries": [f"evil.test/{THEIRS}"]}
    none = "no registry of this profile has an image"
    return {
        "a foreign registry": (world.row(ONE, world.evil(ONE), **evil), "it is in no registry of this profile"),
        "a foreign image under our name": (world.row(ONE, world.evil(ONE)), none),
        "both": (world.row(ONE, world.evil(ONE), registries=[*evil["registries"], f"registry.test/{MINE}"]), none),
        "a name that begins as ours": (
            world.row(ONE, world.evil(ONE), registries=[f"registry.test/{MINE}-old"]), "it is in no registry of this"),
        "an image of another cell": (world.row(ONE, world.image(OTHER)), none),
        "an image with another key": (world.row(ONE, world.image(ONE, key="0" * 64)), none),
        "a key of other inputs": (
            world.row(ONE, world.image(ONE, key="0" * 64), key="0" * 64), "its key is not that of its inputs"),
        "a time to come": (
            world.row(ONE, world.image(ONE), published="9999-01-01T00:00:00Z"), "it was published in the future"),
        "no time": (world.row(ONE, world.image(ONE), published="zzz"), "it does not say when"),
    }


KINDS = ["a foreign registry", "a foreign image under our name", "both", "a name that begins as ours",
         "an image of another cell", "an image with another key", "a key of other inputs", "a time to come", "no time"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_in_the_registry(world: World, kind: str) -> None:
    """A forged row is not adopted, its cell stays pending, and the next ledger that is written lacks it."""
    row, said = forgeries(world)[kind]
    honest = world.row(OTHER, world.image(OTHER))
    world.keep(row, honest)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    assert states(foundry) == {ONE: PENDING, OTHER: PUBLISHED}
    [warning] = foundry.journal.warnings
    assert "1 of 2 rows of 2.22.2.0 are not believed" in warning and said in warning
    ledgers.store(foundry, DRIVER)
    assert [(one["kernel"], one["digest"]) for one in world.kept()] == [(NEW, honest["digest"])]
    assert world.theirs.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_that_is_forged_later(world: World, kind: str) -> None:
    """A checkout that has a ledger already merges what the registry has when it writes: the honest row stays."""
    forged, _ = forgeries(world)[kind]
    honest = world.row(ONE, world.image(ONE, salt="honest"))
    world.keep(honest)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    world.keep({**forged, "published": max(forged["published"], "2026-01-02T03:04:06Z")})
    ledgers.store(foundry, DRIVER)
    assert [row["digest"] for row in world.kept()] == [honest["digest"]]
    assert (states(foundry)[ONE], len(foundry.journal.warnings)) == (PUBLISHED, 1)
    assert world.theirs.requests == []


def test_a_ledger_in_the_second_registry(world: World) -> None:
    world.checkout.publishes(MINE, "mine/second", address=world.mine.address)
    honest = world.row(OTHER, world.image(OTHER))
    world.keep(honest)
    world.keep(world.row(ONE, world.evil(ONE)), repository="mine/second")
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    ledgers.store(foundry, DRIVER)
    assert [row["digest"] for row in world.kept()] == [honest["digest"]]
    assert "second" in foundry.journal.warnings[0]


def test_what_is_true_of_a_row_is_kept(world: World) -> None:
    """Of the registries that a row names those stay that have the image; it is proven once."""
    world.checkout.publishes(MINE, "mine/third", address=world.mine.address)
    names = [f"evil.test/{THEIRS}", f"registry.test/{MINE}", "registry.test/mine/third"]
    world.keep(world.row(ONE, world.image(ONE), registries=names))
    foundry = world.foundry()
    world.mine.requests.clear()
    ledgers.fetch_missing(foundry, [DRIVER])
    [row] = ledgers.ledger_of(foundry, DRIVER).sorted_rows()
    assert row.registries == (f"registry.test/{MINE}",)
    asked = [(method, path) for method, path, _ in world.mine.requests]
    assert len(asked) == 1 + 2 + 1, "the ledger; manifest and config; a manifest that the other one lacks"
    world.mine.requests.clear()
    ledgers.store(foundry, DRIVER)
    assert world.mine.count(f"{MINE}/manifests/sha256:") == 0
    assert (states(foundry)[ONE], world.theirs.requests) == (PUBLISHED, [])


@pytest.mark.parametrize("changes, requests", [
    ({}, 0), ({"key": "0" * 64}, 2), ({"digest": "sha256:" + "0" * 64}, 2), ({"registries": ()}, 2),
])
def test_what_was_proven_is_believed_of_the_same_image_alone(
    world: World, changes: dict[str, Any], requests: int
) -> None:
    """Of the same digest with the same key, in the registries where it was seen."""
    row = row_from(world.row(ONE, world.image(ONE)))
    world.mine.requests.clear()
    rows, refused = adopt(world.foundry(), "neuron", {ONE: row}, {ONE: replace(row, **changes)})
    assert (rows, refused) == ({ONE: row}, {})
    assert len(world.mine.requests) == requests


@pytest.mark.parametrize("answer", [500, 403])
def test_an_answer_that_can_not_be_had_is_an_error(world: World, answer: int) -> None:
    """Never "not believed": nothing is written, here or there."""
    row = world.row(ONE, world.image(ONE))
    world.keep(row)
    world.mine.always("manifests/sha256:", says(answer))
    foundry = world.foundry()
    with pytest.raises(OutsideError):
        ledgers.fetch_missing(foundry, [DRIVER])
    assert not ledgers.ledger_file(foundry, DRIVER).exists()
    world.mine.standing.clear()
    assert [one["digest"] for one in world.kept()] == [row["digest"]]


@pytest.mark.parametrize("names", [
    [f"evil.test/{THEIRS}"], [f"evil.test/{THEIRS}", f"registry.test/{MINE}"], [f"registry.test/{MINE}"],
])
def test_nothing_is_copied_from_elsewhere(world: World, names: list[str]) -> None:
    """Even a ledger of this checkout that is forged gets no foreign image into the profile's second registry."""
    world.checkout.publishes(MINE, "mine/second", address=world.mine.address)
    profile = json.loads((world.checkout.root / "config/profiles/local.yaml").read_text())
    profile["addresses"]["evil.test"] = world.theirs.address
    world.checkout.write("config/profiles/local.yaml", profile)
    world.checkout.write(f"build/local/release/{DRIVER}/images.json",
                         document(world.row(ONE, world.evil(ONE), registries=names)).decode())
    foundry = world.foundry()
    with pytest.raises(FoundryError) as caught:
        publish.push(foundry, foundry.states.cells[ONE].cell)
    assert caught.value.reason == "image-missing"
    assert world.theirs.requests == []
    assert world.mine.count("", "PUT") == 0


# -- GitHub ------------------------------------------------------------------


@pytest.fixture
def hub(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    profile = json.loads((world.checkout.root / "config/profiles/local.yaml").read_text())
    world.checkout.write("config/profiles/local.yaml", {**profile, "github_repository": "acme/images"})
    with github_fake() as fake:
        fake.token = "token"
        for name, value in (("GITHUB_API_URL", fake.url), ("GITHUB_TOKEN", "token"), ("GITHUB_REPOSITORY", fake.repo)):
            monkeypatch.setenv(name, value)
        yield fake
        assert fake.violations == []


def release(hub: GitHub, *rows: Mapping[str, Any], **more: Any) -> None:
    """A published release with a ledger."""
    tag = f"neuron-driver-{DRIVER}"
    hub.releases.append(Release(1, tag, name=tag, body="", published_at="2026-01-02T03:04:05Z",
                                assets=[Asset(2, "images.json", document(*rows, **more))]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_at_github(world: World, hub: GitHub, kind: str) -> None:
    """Nothing of a forged asset gets into this checkout, or into the registry."""
    row, said = forgeries(world)[kind]
    release(hub, row)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    [warning] = foundry.journal.warnings
    assert warning.startswith("the GitHub release of 2.22.2.0: ") and said in warning
    ledgers.store(foundry, DRIVER)
    assert (world.kept(), states(foundry)[ONE], world.theirs.requests) == ([], PENDING, [])


def test_the_registrys_ledger_wins(world: World, hub: GitHub) -> None:
    """Also where GitHub's row is later and true, as that of an older image is; what the registry lacks is taken."""
    honest = world.row(ONE, world.image(ONE, salt="honest"))
    older = world.row(ONE, world.image(ONE, salt="older"), published="2026-06-02T03:04:05Z")
    other = world.row(OTHER, world.image(OTHER))
    world.keep(honest, sources={"busybox-1.tar.gz": source("a")})
    release(hub, older, other, sources={"busybox-1.tar.gz": source("b"), "busybox-2.tar.gz": source("b")})
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    ledger = ledgers.ledger_of(foundry, DRIVER)
    assert [row.digest for row in ledger.sorted_rows()] == [honest["digest"], other["digest"]]
    assert {name: entry["sha256"][0] for name, entry in ledger.sources.items()} == {
        "busybox-1.tar.gz": "a", "busybox-2.tar.gz": "b"}
    assert foundry.journal.warnings == []


def source(digit: str) -> dict[str, Any]:
    return {"kind": "busybox", "key": "1" * 64, "sha256": digit * 64, "size": 1}
