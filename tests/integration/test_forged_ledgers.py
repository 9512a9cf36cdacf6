"""Ledgers that somebody forged, in the registry, at GitHub, in this checkout: no image of theirs is published.

The attacker can write a ledger's tag or a release's asset, and has a registry of his own with images that bear
today's keys, which anyone can compute from a clone. Both registries and the stand-in for GitHub are asked for real.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.names import KEY_LABEL
from foundry.config.patches import Patch
from foundry.ledger import ledgers, publish, verify
from foundry.ledger.adoption import adopt
from foundry.plan.keys import key_of as key_of_parts
from foundry.plan.keys import patches_hash
from foundry.plan.ledger import SCHEMA, Ledger
from foundry.plan.rows import row_from
from foundry.plan.state import PENDING, PUBLISHED
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.document import Document, get_document, put_document
from foundry.registry.push import Writer
from foundry.release import source_tarballs
from foundry.release.github_release import _Changed as Changed
from foundry.release.github_release import _take_over as take_over
from foundry.release.github_release import _tarball as tarball
from foundry.run.context import Foundry, open_foundry
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.front import Front, front, says
from tests.harness.github import github_fake
from tests.harness.github_state import Asset, GitHub, Release
from tests.harness.registry import OCI_MANIFEST, Pusher, real_registry, token_issuer
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

    def labelled(self, change: Callable[[str], str]) -> str:
        """An image in the profile's own registry whose label is nearly today's key."""
        return self.image(ONE, key=change(key_of(self.foundry(), ONE)))

    def evil(self, cell: str) -> str:
        """An image with today's key in the attacker's registry."""
        return image(self.theirs, THEIRS, key_of(self.foundry(), cell), "evil")

    def keep(self, *rows: Mapping[str, Any], repository: str = MINE, **more: Any) -> None:
        """Put a ledger beside the images."""
        put_document(writer(self.mine, repository), ledgers.ledger_tag(DRIVER), Document(document(*rows, **more)),
                     ledgers.MEDIA_TYPE)

    def kept(self) -> list[dict[str, Any]]:
        found = get_document(writer(self.mine, MINE), ledgers.ledger_tag(DRIVER), ledgers.MEDIA_TYPE)
        return [] if found is None else list(json.loads(found.data)["cells"])

    def tag(self, digest: str, tag: str) -> None:
        """Put a tag on an image of the profile's own registry, in place of what it was on."""
        where = f"http://{self.mine.upstream}/v2/{MINE}/manifests"
        found = requests.get(f"{where}/{digest}", headers={"Accept": OCI_MANIFEST}, timeout=30)
        done = requests.put(f"{where}/{tag}", data=found.content, headers={"Content-Type": OCI_MANIFEST}, timeout=30)
        assert done.status_code == 201

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


_EVIL = [f"evil.test/{THEIRS}"]
_NONE = "no registry of this profile has an image"
# Rows that are not true, and what is said of each.
FORGERIES: dict[str, tuple[Callable[[World], dict[str, Any]], str]] = {
    "a foreign registry": (
        lambda world: world.row(ONE, world.evil(ONE), registries=_EVIL), "it is in no registry of this profile"),
    "a foreign image under our name": (lambda world: world.row(ONE, world.evil(ONE)), _NONE),
    "both": (lambda world: world.row(ONE, world.evil(ONE), registries=[*_EVIL, f"registry.test/{MINE}"]), _NONE),
    "a name that begins as ours": (
        lambda world: world.row(ONE, world.evil(ONE), registries=[f"registry.test/{MINE}-old"]),
        "it is in no registry of this"),
    "an image of another cell": (lambda world: world.row(ONE, world.image(OTHER)), _NONE),
    "an image with another key": (lambda world: world.row(ONE, world.image(ONE, key="0" * 64)), _NONE),
    "a key of other inputs": (
        lambda world: world.row(ONE, world.image(ONE, key="0" * 64), key="0" * 64),
        "its key is not that of its inputs"),
    "a time to come": (
        lambda world: world.row(ONE, world.image(ONE), published="9999-01-01T00:00:00Z"),
        "it was published in the future"),
    "no time": (lambda world: world.row(ONE, world.image(ONE), published="zzz"), "it does not say when"),
    # true images with their own keys, but of something else than the row says
    "another cell, whole": (
        lambda world: {**world.row(OTHER, world.image(OTHER)), "kernel": OLD, "tags": [ONE]},
        "something else as the kernel"),
    "another architecture": (
        lambda world: world.row(ONE, world.image(ONE), arch="aarch64"), "something else as the platform"),
    "another package": (
        lambda world: world.row(ONE, world.image(ONE), content_sha256="9" * 64),
        "something else as the driver package"),
    "another toolkit": (
        lambda world: world.row(ONE, world.image(ONE), toolkit=f"evil.test/x@sha256:{'9' * 64}"),
        "else as the toolkit"),
    "a tag of something else": (
        lambda world: world.row(ONE, world.image(ONE), tags=[OTHER]), "not with the cell's own"),
    "its tag not first": (
        lambda world: world.row(ONE, world.image(ONE), tags=["latest", ONE]), "not with the cell's own"),
    "what is no tag": (
        lambda world: world.row(ONE, world.image(ONE), tags=[ONE, "x](https://evil.test)"]), "not with the cell's own"),
    # labels that are nearly the key
    "a key in capitals": (lambda world: world.row(ONE, world.labelled(str.upper)), _NONE),
    "a key with a space": (lambda world: world.row(ONE, world.labelled(" {}".format)), _NONE),
    "a key with a line end": (lambda world: world.row(ONE, world.labelled("{}\n".format)), _NONE),
    "the beginning of a key": (lambda world: world.row(ONE, world.labelled(lambda key: key[:12])), _NONE),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_ledger_in_the_registry(world: World, kind: str) -> None:
    """A forged row is not adopted, its cell stays pending, and the next ledger that is written lacks it."""
    make, said = FORGERIES[kind]
    row = make(world)
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


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_ledger_that_is_forged_later(world: World, kind: str) -> None:
    """A checkout that has a ledger already merges what the registry has when it writes: the honest row stays."""
    forged = FORGERIES[kind][0](world)
    honest = world.row(ONE, world.image(ONE, salt="honest"))
    world.keep(honest)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    world.keep({**forged, "published": max(forged["published"], "2026-01-02T03:04:06Z")})
    ledgers.store(foundry, DRIVER)
    assert [row["digest"] for row in world.kept()] == [honest["digest"]]
    assert (states(foundry)[ONE], len(foundry.journal.warnings)) == (PUBLISHED, 1)
    assert world.theirs.requests == []


def test_a_ledger_of_another_family(world: World) -> None:
    """The family decides where images are looked for, and the release that is written: nothing is taken over."""
    world.keep(world.row(ONE, world.image(ONE)), family="habanalabs")
    foundry = world.foundry()
    with pytest.raises(FoundryError) as caught:
        ledgers.fetch_missing(foundry, [DRIVER])
    assert caught.value.reason == "document-malformed"
    assert "is the ledger of habanalabs 2.22.2.0, not of neuron 2.22.2.0" in caught.value.message
    assert not ledgers.ledger_file(foundry, DRIVER).exists()


def test_patches_that_are_not_those_of_their_hash(world: World) -> None:
    """They would stand in the source tarball of a release, in the place of what an image was built with."""
    edit = {"file": "neuron_cdev.c", "find": "x", "replace": "y", "matches": 1}
    patch: dict[str, Any] = {"id": "one", "why": "it is so", "edits": [edit]}
    forged = {**patch, "edits": [{**edit, "replace": "system(evil)"}]}
    name = patches_hash((Patch.from_config(patch),))
    for kept, there in ((patch, True), (forged, False)):
        inputs = {**world.row(ONE, "")["key_inputs"], "patches": name}
        before = key_of_parts(inputs)
        world.keep(world.row(ONE, world.image(ONE, key=before), key=before, key_inputs=inputs), series={name: [kept]})
        foundry = world.foundry()
        ledgers.ledger_file(foundry, DRIVER).unlink(missing_ok=True)
        ledgers.fetch_missing(foundry, [DRIVER])
        ledger = ledgers.ledger_of(foundry, DRIVER)
        assert (len(ledger.rows), name in ledger.series) == (1, there), "the row is an older one, and true"
        assert any("not those of their hash" in text for text in foundry.journal.warnings) == (not there)


@pytest.mark.parametrize("name, kind", [
    ("images.json", "driver"), ("stored.json", "busybox"), ("notes.md", "driver"), ("SHA256SUMS", "driver"),
    ("install.sh", "driver"), ("busybox-1.36.1.tar.bz2", "driver"), ("busybox-1.36.1.sh", "busybox"),
    ("x-2.22.2.0-modified-source.tar.gz", "busybox"), ("x-2.22.2x0-modified-source.tar.gz", "driver"),
])
def test_tarballs_with_names_of_something_else(world: World, name: str, kind: str) -> None:
    """They would be assets of the release and stand in its checksums, and files of that name be removed here."""
    row, honest = world.row(ONE, world.image(ONE)), "aws-neuronx-dkms-2.22.2.0-modified-source.tar.gz"
    world.keep(row)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    wanted = source_tarballs.keys(foundry, DRIVER, ledgers.ledger_of(foundry, DRIVER))
    ledgers.ledger_file(foundry, DRIVER).unlink()
    facts = {"sha256": "e" * 64, "size": 1}
    world.keep(row, sources={name: {"kind": kind, "key": wanted[kind], **facts},
                             honest: {"kind": "driver", "key": wanted["driver"], **facts}})
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    ledger = ledgers.ledger_of(foundry, DRIVER)
    assert list(ledger.sources) == list(source_tarballs.tarballs(foundry, DRIVER, ledger)) == [honest]
    assert any(f"{name} are no source tarballs of 2.22.2.0" in text for text in foundry.journal.warnings)


def test_a_tarball_that_nothing_makes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right name of a wrong kind of file: what is made of the same inputs takes its place."""
    row, name, right = world.row(ONE, world.image(ONE)), "busybox-1.36.1.tar.xz", "busybox-1.36.1.tar.bz2"
    world.keep(row)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    key = source_tarballs.keys(foundry, DRIVER, ledgers.ledger_of(foundry, DRIVER))["busybox"]
    forged = {name: {"kind": "busybox", "key": key, "sha256": "e" * 64, "size": 1}}
    ledgers.change(foundry, DRIVER, lambda ledger: replace(ledger, sources=forged))
    made = ledgers.ledger_file(foundry, DRIVER).with_name(right)
    made.write_bytes(b"BusyBox")
    monkeypatch.setattr(source_tarballs, "_make_driver", lambda *_: made)
    monkeypatch.setattr(source_tarballs, "_make_busybox", lambda *_: made)
    with pytest.raises(Changed):
        tarball(foundry, DRIVER, name)
    assert name not in ledgers.ledger_of(foundry, DRIVER).sources
    take_over(foundry, DRIVER, document(row, sources=forged))
    assert name not in ledgers.ledger_of(foundry, DRIVER).sources, "else this would go on without end"


def test_a_row_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger has 64 MiB at most, wherever its bytes are; more is an error, and nothing is written."""
    monkeypatch.setattr("foundry.registry.document._LARGEST_EMBEDDED", 100)
    monkeypatch.setattr("foundry.registry.document._MAX_DOCUMENT", 10_000)
    world.keep(world.row(ONE, world.image(ONE), releases=["4.16.30"] * 5_000))
    foundry = world.foundry()
    with pytest.raises(FoundryError) as caught:
        ledgers.fetch_missing(foundry, [DRIVER])
    assert caught.value.reason == "http-too-large"
    assert not ledgers.ledger_file(foundry, DRIVER).exists()


@pytest.mark.parametrize("text, said", [
    ("[" * 200_000, "nested too deep"), ('{"schema": NaN}', "is not JSON"), ("\x00", "is not JSON"),
    ("", "is not JSON"),
])
def test_a_ledger_that_is_none(world: World, text: str, said: str) -> None:
    put_document(writer(world.mine, MINE), ledgers.ledger_tag(DRIVER), Document(text.encode()), ledgers.MEDIA_TYPE)
    foundry = world.foundry()
    with pytest.raises(FoundryError) as caught:
        ledgers.fetch_missing(foundry, [DRIVER])
    assert said in caught.value.render()
    assert not ledgers.ledger_file(foundry, DRIVER).exists()


def test_one_cell_in_two_rows(world: World) -> None:
    """Whichever were taken, the other would be hidden."""
    digest = world.image(ONE)
    world.keep(world.row(ONE, digest), world.row(ONE, digest, published="2026-02-02T03:04:05Z"))
    with pytest.raises(FoundryError) as caught:
        ledgers.fetch_missing(world.foundry(), [DRIVER])
    assert "is there twice" in caught.value.render()


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
    rows, refused = adopt(world.foundry(), DRIVER, "neuron", {ONE: row}, {ONE: replace(row, **changes)})
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


# -- verify ------------------------------------------------------------------


def verdicts(foundry: Foundry) -> dict[str, tuple[str, ...]]:
    """What `doit verify --tags` says, by kernel."""
    images = list(verify.published(foundry, ledgers.all_ledgers(foundry).values()))
    found = verify.verify(foundry, images, tags_only=True)
    return {image.row.kernel: verdict.faults for image, verdict in zip(images, found, strict=True)}


def test_a_tag_that_was_replaced(world: World) -> None:
    """Each tag is looked at, in a fresh checkout, by a request each; what is as it was says nothing."""
    world.checkout.edit("config/defaults.yaml", "extra_tags: []", "extra_tags: ['{driver}-{release}']")
    rows = [world.row(ONE, world.image(ONE)), world.row(OTHER, world.image(OTHER))]
    world.keep(*rows)
    for row in rows:
        for tag in row["tags"]:
            world.tag(row["digest"], tag)
    foundry = world.foundry()
    assert verdicts(foundry) == {OLD: (), NEW: ()}
    evil, extra = world.image(ONE, salt="evil"), rows[0]["tags"][-1]
    assert extra.startswith(f"{DRIVER}-4.16.")
    world.tag(evil, ONE)
    world.tag(evil, extra)
    world.mine.requests.clear()
    assert verdicts(world.foundry()) == {OLD: (f"its tag {ONE} is {evil}", f"its tag {extra} is {evil}"), NEW: ()}
    assert len(world.mine.requests) == sum(len(row["tags"]) for row in rows)


def test_a_toolkit_of_somebody_else_is_not_started(world: World) -> None:
    """Who may push an image can name what it was made in: `doit verify` would pull and run that, and believe it."""
    digest = f"sha256:{'9' * 64}"
    inputs = {**world.row(ONE, "")["key_inputs"], "toolkit": digest}
    key = key_of_parts(inputs)
    world.keep(world.row(ONE, world.image(ONE, key=key), key=key, key_inputs=inputs, toolkit=f"evil.test/x@{digest}"))
    foundry = world.foundry()
    [image] = verify.published(foundry, ledgers.all_ledgers(foundry).values())
    faults = list(verify._gate_faults(foundry, image.cell, {}, world.checkout.root / "log"))
    where = "in no repository of the catalogue or `releases.images`: it is not started"
    assert faults == [f"its toolkit evil.test/x@{digest} is {where}"]
    assert world.theirs.requests == []


def test_a_tag_that_was_removed(world: World) -> None:
    digest, gone = world.image(ONE), f"{DRIVER}-gone"
    world.tag(digest, ONE)
    world.keep(world.row(ONE, digest, tags=[ONE, gone]))
    assert verdicts(world.foundry()) == {OLD: (f"its tag {gone} is not there",)}
    world.mine.always(f"manifests/{gone}", says(500))
    with pytest.raises(OutsideError):
        verdicts(world.foundry())


def test_reading_asks_for_no_right_to_push(world: World, tmp_path: Path) -> None:
    """What a plan, and `doit verify`, ask for is there for a role that may read, or for everybody."""
    with token_issuer(tmp_path / "issuer", anonymous=(MINE,)) as issuer, front("") as one, \
            real_registry(tmp_path / "registry", issuer.setting()) as one.upstream:
        token = issuer.token([f"repository:{MINE}:pull,push"])
        digest = str(Pusher(one.upstream, MINE, token=token).image(
            [b"x"], labels={KEY_LABEL: key_of(world.foundry(), ONE)}, tag=ONE)["digest"])
        world.checkout.publishes(MINE, address=one.address)
        registry = Registry("registry.test", Credentials({"HOME": "/nonexistent"}), address=one.upstream)
        put_document(Writer(registry, MINE), ledgers.ledger_tag(DRIVER), Document(document(world.row(ONE, digest))),
                     ledgers.MEDIA_TYPE)
        issuer.asked.clear()
        issuer.withheld = ("push",)
        foundry = world.foundry()
        ledgers.fetch_missing(foundry, [DRIVER])
        assert states(foundry)[ONE] == PUBLISHED
        assert verdicts(foundry) == {OLD: ()}
        assert {scope for scope, _ in issuer.asked} == {f"repository:{MINE}:pull"}
        assert {method for method, _, _ in one.requests} == {"GET"}


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


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_ledger_at_github(world: World, hub: GitHub, kind: str) -> None:
    """Nothing of a forged asset gets into this checkout, or into the registry."""
    make, said = FORGERIES[kind]
    row = make(world)
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
    [warning] = foundry.journal.warnings
    assert "1 other images than the registry's ledger" in warning and older["digest"] in warning


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_ledger_at_github_that_is_forged_before_a_release(world: World, hub: GitHub, kind: str) -> None:
    """What a release replaces is taken over first: only what is true of it."""
    honest = world.row(OTHER, world.image(OTHER))
    world.keep(honest)
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    make, said = FORGERIES[kind]
    forged = make(world)
    before = ledgers.ledger_file(foundry, DRIVER).read_bytes()
    take_over(foundry, DRIVER, document({**forged, "published": max(forged["published"], "2026-11-01T00:00:00Z")}))
    assert ledgers.ledger_file(foundry, DRIVER).read_bytes() == before
    [warning] = foundry.journal.warnings
    assert "the GitHub release of 2.22.2.0" in warning and said in warning


@pytest.mark.parametrize("changes, said", [
    ({"registries": [f"evil.test/{THEIRS}"]}, "it was published"), ({"published": "2026-11-01T00:00:00Z"}, "published"),
    ({"key": "0" * 64}, "its key is not that of its inputs"), ({"tags": ["latest"]}, "not with the cell's own"),
    ({}, ""),
])
def test_a_release_of_a_profile_that_publishes_nowhere(
    world: World, hub: GitHub, changes: dict[str, Any], said: str
) -> None:
    """Its notes name no foreign image, and its own rows, which have no time, are not replaced by later ones."""
    profile = json.loads((world.checkout.root / "config/profiles/local.yaml").read_text())
    world.checkout.write("config/profiles/local.yaml", {**profile, "publish": []})
    plain: dict[str, Any] = {"registries": [], "published": ""}
    own = world.row(OTHER, f"sha256:{'1' * 64}", **plain)
    world.checkout.write(f"build/local/release/{DRIVER}/images.json", document(own).decode())
    forged = world.row(ONE, world.evil(ONE), **{**plain, **changes})
    foundry, content = world.foundry(), document(forged, {**own, "digest": f"sha256:{'2' * 64}", **changes})
    if said:
        take_over(foundry, DRIVER, content)
        assert said in foundry.journal.warnings[0]
    else:
        with pytest.raises(Changed):  # as another checkout of the same profile has it
            take_over(foundry, DRIVER, content)
    rows = {row.kernel: row.digest for row in ledgers.ledger_of(foundry, DRIVER).sorted_rows()}
    assert rows == {NEW: own["digest"], **({} if said else {OLD: forged["digest"]})}


def test_a_release_rolls_nothing_back(world: World, hub: GitHub) -> None:
    """GitHub's row of a cell that this checkout has does not count, be it true and later; nor do its sources."""
    honest = world.row(ONE, world.image(ONE, salt="honest"))
    world.keep(honest, sources={"busybox-1.tar.gz": source("a")})
    foundry = world.foundry()
    ledgers.fetch_missing(foundry, [DRIVER])
    ledgers.store(foundry, DRIVER)
    before = ledgers.ledger_file(foundry, DRIVER).read_bytes()
    digest = world.image(ONE, salt="older")
    older = world.row(ONE, digest, published="2026-06-02T03:04:05Z",
                      revision={"number": 99, "digest": digest, "releases": honest["releases"]})
    take_over(foundry, DRIVER, document(older, sources={"busybox-1.tar.gz": source("b")}))
    assert ledgers.ledger_file(foundry, DRIVER).read_bytes() == before
    lacking = world.row(OTHER, world.image(OTHER))
    with pytest.raises(Changed):  # the release is then made of what is known now
        take_over(foundry, DRIVER, document(older, lacking))
    assert [row.digest for row in ledgers.ledger_of(foundry, DRIVER).sorted_rows()] == [
        honest["digest"], lacking["digest"]]


def test_a_registry_that_contradicts_the_release(world: World, hub: GitHub) -> None:
    """Who may push can write an image, its tag and its row, and not the release that was made of them before."""
    honest = world.row(ONE, world.image(ONE, salt="honest"))
    evil = world.row(ONE, world.image(ONE, salt="evil"), published="2026-06-02T03:04:05Z")
    world.tag(evil["digest"], ONE)
    world.keep(evil)
    release(hub, honest)
    assert verdicts(world.foundry()) == {OLD: (
        f"the GitHub release has {honest['digest']}, published {honest['published']}",)}
    hub.releases.clear()
    release(hub, {**honest, "published": "\x1b[2J\nok   all is well"})
    [[fault]] = verdicts(world.foundry()).values()
    assert fault.endswith("published ?[2J?ok   all is well"), "no line of its own, and nothing that a terminal acts on"


@pytest.mark.parametrize("other, changes, contradicts", [
    (False, {}, False), (True, {}, True),
    (True, {"key": "1" * 64, "published": "2025-01-01T00:00:00Z"}, False),  # what the ledger's row replaced
    (True, {"key": "1" * 64, "published": "2026-02-01T00:00:00Z"}, True),  # the ledger was rolled back
])
def test_what_contradicts_a_ledger(world: World, other: bool, changes: dict[str, Any], contradicts: bool) -> None:
    ledger, released = (
        Ledger(DRIVER, "neuron", {(OLD, "x86_64"): row_from(world.row(ONE, f"sha256:{digit * 64}", **more))})
        for digit, more in (("1", {}), ("2" if other else "1", changes)))
    assert bool(ledger.contradicted(released)) == contradicts


def source(digit: str) -> dict[str, Any]:
    return {"kind": "busybox", "key": "1" * 64, "sha256": digit * 64, "size": 1}
