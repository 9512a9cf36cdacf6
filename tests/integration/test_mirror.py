"""From a real registry to a real registry: what is sent, what is not, and what is done about faults on either side."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.references import Reference
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.mirror import Copied, mirror, tag_digest
from foundry.registry.push import Writer
from tests.harness.front import Asked, Fault, Front, front, hang_up, says
from tests.harness.registry import OCI_INDEX, OCI_MANIFEST, Pusher, real_registry, token_issuer
from tests.harness.secrets import PASSWORD, USER
from tests.integration.pushing import PATIENCE, digest_of, stored

MB = 1 << 20
REPOSITORY, MIRROR = "openshift/toolkit", "mine/toolkit"
BLOBS, UPLOADS, MANIFESTS = "/blobs/sha256:", "/blobs/uploads/", "/manifests/"


class World:
    """Two registries, each behind a front."""

    def __init__(self, source: Front, dest: Front, storage: Path) -> None:
        self.source, self.dest, self.storage = source, dest, storage
        self.notes: list[str] = []
        self.environ = {"HOME": "/nonexistent"}
        self.pusher = Pusher(source.upstream, REPOSITORY)

    def copy(self, digest: str, *tags: str) -> Copied:
        self.writer = Writer(self._registry("dest.test", self.dest), MIRROR)
        return mirror(self._registry("source.test", self.source), Reference("source.test", REPOSITORY, digest=digest),
                      self.writer, tags or ("4.16.30-x86_64",))

    def _registry(self, host: str, one: Front) -> Registry:
        return Registry(host, Credentials(self.environ), address=one.address, policy=PATIENCE,
                        note=self.notes.append)

    def held(self, reference: str, token: str = "") -> bytes | None:
        """The mirror's manifest, asked by other means."""
        headers = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://{self.dest.upstream}/v2/{MIRROR}/manifests/{reference}"
        answer = requests.get(url, headers=headers, timeout=30)
        return answer.content if answer.status_code == 200 else None

    def left(self) -> list[Path]:
        """What uploads that did not end have left of their bytes."""
        return [file for file in stored(self.storage, "_uploads") if file.name == "data"]

    def blob(self, digest: str) -> bytes:
        return requests.get(f"http://{self.dest.upstream}/v2/{MIRROR}/blobs/{digest}", timeout=30).content


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with real_registry(tmp_path / "source") as source, real_registry(tmp_path / "dest") as dest, \
            front(source) as one, front(dest) as two:
        yield World(one, two, tmp_path / "dest" / "storage")


def test_an_image_arrives_as_it_is(world: World) -> None:
    layers = [os.urandom(MB), gzip.compress(b"x" * 1000), b""]
    image = world.pusher.image(layers)
    copied = world.copy(image["digest"], "4.16.30-x86_64", "4.16.31-x86_64")
    assert copied.blobs == 3, "the empty one is not counted"
    assert copied.bytes == world.writer.sent.bytes
    for tag in ("4.16.30-x86_64", "4.16.31-x86_64"):
        held = world.held(tag)
        assert held is not None and digest_of(held) == image["digest"]
        assert tag_digest(world.writer.registry, MIRROR, tag) == image["digest"]
    assert [world.blob(digest_of(layer)) for layer in layers] == layers
    assert world.dest.count(UPLOADS, "PATCH") == 0
    assert world.dest.count(UPLOADS, "PUT") == world.dest.count(UPLOADS, "POST") == 4
    assert world.source.count(BLOBS, "GET") == 3, "nothing is asked for the empty one"
    assert tag_digest(world.writer.registry, MIRROR, "4.16.32-x86_64") == ""


def test_no_blob_is_held_in_memory(world: World, tmp_path: Path) -> None:
    """The test's servers keep bodies, so that they must be others' processes: no fronts here."""
    layer = os.urandom(64 * MB)
    image = world.pusher.image([layer])
    digest = digest_of(layer)
    del layer
    world.source.address, world.dest.address = world.source.upstream, world.dest.upstream
    tracemalloc.start()
    try:
        copied = world.copy(image["digest"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert copied.bytes > 64 * MB
    assert peak < 8 * MB
    assert digest_of(world.blob(digest)) == digest


def test_what_is_there_is_not_sent(world: World) -> None:
    base, own = os.urandom(MB), os.urandom(MB)
    first, second = world.pusher.image([base]), world.pusher.image([base, own])
    world.copy(first["digest"], "first")
    before, asked = world.dest.taken, world.source.count(digest_of(base), "GET")
    copied = world.copy(second["digest"], "second")
    assert copied.there == 1 and copied.blobs == 2, "layer and config are new"
    manifest = world.held("second")
    assert manifest is not None
    assert world.dest.taken - before == copied.bytes + len(manifest)
    assert world.source.count(digest_of(base), "GET") == asked
    uploads = world.dest.count(UPLOADS)
    again = world.copy(second["digest"], "second")
    assert (again.blobs, again.bytes, again.there) == (0, 0, 3)
    assert world.dest.count(UPLOADS) == uploads


def test_an_index_keeps_its_digest(world: World) -> None:
    layers = {"amd64": os.urandom(1000), "arm64": os.urandom(1000)}
    index = world.pusher.index({arch: world.pusher.image([layer], arch=arch) for arch, layer in layers.items()})
    copied = world.copy(index["digest"], "4.16.30-x86_64", "4.16.30-aarch64")
    assert copied.blobs == 4
    held = world.held("4.16.30-aarch64")
    assert held is not None and digest_of(held) == index["digest"]
    for entry in json.loads(held)["manifests"]:
        child = world.held(entry["digest"])
        assert child is not None and digest_of(child) == entry["digest"]
    assert all(world.blob(digest_of(layer)) == layer for layer in layers.values())


def damaged(world: World, change: Callable[[bytes], bytes]) -> Fault:
    """The source gives other bytes, with a length that fits them."""
    def fault(handler: Asked) -> None:
        data = requests.get(f"http://{world.source.upstream}{handler.path}", timeout=30).content
        says(200, change(data))(handler)

    return fault


@pytest.mark.parametrize("change", [
    lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data + b"more", lambda data: data[:-1]])
def test_what_is_not_its_digest_never_arrives(world: World, change: Callable[[bytes], bytes]) -> None:
    world.dest.address = world.dest.upstream  # a front would wait for the rest of a body that broke off
    layer = os.urandom(MB)
    image = world.pusher.image([layer])
    world.source.always(f"GET /v2/{REPOSITORY}/blobs/{digest_of(layer)}", damaged(world, change))
    with pytest.raises(FoundryError) as caught:
        world.copy(image["digest"])
    short = len(change(layer)) < len(layer)
    assert caught.value.reason == ("http-truncated" if short else "digest-mismatch")
    assert world.held("4.16.30-x86_64") is None
    wrong = change(layer)
    blobs = [file.read_bytes() for file in stored(world.storage, "blobs")]
    assert blobs and layer not in blobs and wrong not in blobs, "the config alone"


def cut_off(world: World, size: int) -> Fault:
    """The source gives the beginning, then resets."""
    def fault(handler: Asked) -> None:
        data = requests.get(f"http://{world.source.upstream}{handler.path}", timeout=30).content
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:size])
        handler.wfile.flush()
        hang_up(handler)

    return fault


def test_a_source_that_resets_in_mid_blob(world: World) -> None:
    world.dest.address = world.dest.upstream
    layer = os.urandom(4 * MB)
    image = world.pusher.image([layer])
    world.source.faults.append((digest_of(layer), cut_off(world, MB)))
    world.copy(image["digest"])
    assert world.blob(digest_of(layer)) == layer
    assert world.source.count(digest_of(layer), "GET") == 2
    assert len(world.notes) == 1 and "source.test" not in world.notes[0] and world.source.address in world.notes[0]


def test_a_mirror_that_resets_in_mid_blob(world: World) -> None:
    layer = os.urandom(4 * MB)
    image = world.pusher.image([layer])
    world.dest.cuts.append((f"PUT /v2/{MIRROR}{UPLOADS}", MB))
    world.copy(image["digest"])
    assert world.blob(digest_of(layer)) == layer
    assert world.source.count(digest_of(layer), "GET") == 2, "begun anew as a whole"
    assert world.writer.sent.bytes < 5 * MB, "counted once"


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("side, part", [("source", "GET /v2/"), ("dest", "PUT /v2/"), ("dest", "POST /v2/"),
                                        ("dest", "HEAD /v2/")])
def test_faults_that_pass(world: World, side: str, part: str, status: int) -> None:
    image = world.pusher.image([os.urandom(1000)])
    one: Front = getattr(world, side)
    for _ in range(2):
        one.faults.append((part, says(status, b"", **{"Retry-After": "1"} if status == 429 else {})))
    world.copy(image["digest"])
    assert one.faults == [] and len(world.notes) == 2
    held = world.held("4.16.30-x86_64")
    assert held is not None and digest_of(held) == image["digest"]


def test_a_mirror_that_stays_ill(world: World) -> None:
    image = world.pusher.image([os.urandom(1000)])
    world.dest.always(f"PUT /v2/{MIRROR}{UPLOADS}", says(503))
    with pytest.raises(OutsideError) as caught:
        world.copy(image["digest"])
    assert caught.value.reason == "http-status"
    assert world.held("4.16.30-x86_64") is None
    assert world.left() == []


def test_blobs_that_get_lost(world: World) -> None:
    """The mirror says that it has no such blob when it gets the manifest: all are asked for and sent again."""
    image = world.pusher.image([os.urandom(1000)])
    unknown = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}).encode()
    world.dest.faults.append((f"PUT /v2/{MIRROR}{MANIFESTS}", says(400, unknown)))
    world.copy(image["digest"])
    assert world.held("4.16.30-x86_64") is not None


def test_tokens_on_both_sides(tmp_path: Path) -> None:
    """Each side's token is its own; one that ends in mid-run is made anew."""
    with token_issuer(tmp_path / "issuer") as issuer, real_registry(tmp_path / "a", issuer.setting()) as source, \
            real_registry(tmp_path / "b", issuer.setting()) as dest, front(source) as one, front(dest) as two:
        world = World(one, two, tmp_path / "b")
        file = tmp_path / "auth.json"
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        file.write_text(json.dumps({"auths": {"source.test": {"auth": pair}, "dest.test": {"auth": pair}}}))
        world.environ["REGISTRY_AUTH_FILE"] = str(file)
        world.pusher.token = issuer.token([f"repository:{REPOSITORY}:pull,push"])
        layer = os.urandom(MB)
        image = world.pusher.image([layer])
        challenge = f'Bearer realm="{issuer.url}/token",service="test-registry"'
        ended = says(401, b"", **{"WWW-Authenticate": challenge})
        world.source.faults.append((f"GET /v2/{REPOSITORY}/blobs/{digest_of(layer)}", ended))
        world.dest.faults.append((f"digest={digest_of(layer)}", ended))
        world.copy(image["digest"])
        held = world.held("4.16.30-x86_64", issuer.token([f"repository:{MIRROR}:pull"]))
        assert held is not None and digest_of(held) == image["digest"]
        scopes = {f"repository:{REPOSITORY}:pull", f"repository:{MIRROR}:pull,push"}
        assert {scope for scope, _ in issuer.asked} == scopes
        world.environ.pop("REGISTRY_AUTH_FILE")
        with pytest.raises(OutsideError) as caught:
            world.copy(image["digest"])
        assert caught.value.reason == "registry-unauthorized" and caught.value.hint


def test_redirects_get_no_credentials(tmp_path: Path) -> None:
    with real_registry(tmp_path / "a") as source, real_registry(tmp_path / "b") as dest, \
            front(source, redirects=True) as one, front(dest) as two:
        world = World(one, two, tmp_path / "b")
        layer = os.urandom(MB)
        image = world.pusher.image([layer])
        world.copy(image["digest"])
        assert world.blob(digest_of(layer)) == layer
        assert len(one.elsewhere_requests) == 2
        assert not any("Authorization" in headers for _, headers in one.elsewhere_requests)
