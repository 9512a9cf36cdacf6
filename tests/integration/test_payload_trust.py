"""Attacks on `doit toolkit`: who lies about a release image must not decide which toolkit compiles the modules."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.harness.clone import Clone
from tests.harness.front import Asked, Fault, hang_up, says, send
from tests.harness.openshift import (
    IMAGES,
    NEW,
    OLD,
    PAYLOADS,
    REFERENCES,
    TOOLKIT_FILE,
    OpenShift,
    failed,
    filler,
    image_stream,
    signed_text,
    untouched,
)
from tests.harness.registry import LAYER, OCI_CONFIG, OCI_MANIFEST, release_file, tar_of
from tests.harness.rpmtools import Key, sign_message

PLACE = ("4.18.15", "x86_64")
EVIL = f"quay.io/evil/toolkit@sha256:{'e' * 64}"


def refused(world: OpenShift, clone: Clone, *words: str, code: int = 3) -> None:
    """The release is refused with these words, nothing changes, and no foreign image is asked for.

    Exit code 1: it alone is left out. What is forged ends the refresh.
    """
    world.registry.requests.clear()
    with untouched(clone):
        failed(clone.doit("toolkit"), code, "FAILED toolkit: 4.18.15 x86_64: ", *words)
    assert "evil" not in "".join(path for _, path, _ in world.registry.requests)


# -- what names code is read to its end ----------------------------------------------


def layer_of(toolkit: str) -> bytes:
    content = {REFERENCES: image_stream({"driver-toolkit": toolkit}, "4.18.15"), "release-manifests/x": filler(1 << 19)}
    return gzip.compress(tar_of(content), mtime=0)


def gives(data: bytes, size: int, *, ranges: bool) -> Fault:
    """What a registry answers that has other bytes for a blob of that size, as many as there should be."""
    padded = (data + filler(size))[:size]

    def fault(handler: Asked) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", "")) if ranges else None
        if asked is None:
            send(handler, 200, padded)
            return
        begin, end = int(asked[1]), int(asked[2])
        send(handler, 206, padded[begin:end + 1], Content_Range=f"bytes {begin}-{end}/{size}")

    return fault


@pytest.mark.parametrize("ranges", [True, False])
def test_a_forged_beginning_of_the_layer_that_names_the_toolkit(world: OpenShift, tmp_path: Path, ranges: bool) -> None:
    """The toolkit is one of the right repository, so the layer's digest alone tells."""
    layer = layer_of(world.toolkit(OLD, salt="right"))
    world.payloads[PLACE] = world.push([layer], repository=PAYLOADS)
    forged = world.toolkit(OLD, salt="forged")
    world.registry.always(hashlib.sha256(layer).hexdigest(), gives(layer_of(forged), len(layer), ranges=ranges))
    clone = world.clone(tmp_path, ["4.18"])
    refused(world, clone, "arrives as", "the registry, or something before it, is damaged")
    assert world.registry.count(forged.partition("@")[2]) == 0
    assert not list((clone.build / "toolkits").glob("payload-*")), "nothing of it is kept"


def test_the_layer_is_paid_once_a_payload(world: OpenShift, tmp_path: Path) -> None:
    """Also where the run fails afterwards: what was read is kept by the payload's digest."""
    toolkit, node = world.toolkit(OLD), world.node({"ostree.linux": OLD})
    content = {REFERENCES: image_stream({"driver-toolkit": toolkit, "rhel-coreos": node}, "4.18.15"),
               "release-manifests/x": filler(1 << 20)}
    layer = gzip.compress(tar_of(content), mtime=0)
    world.payloads[PLACE] = world.push([layer], repository=PAYLOADS)
    blob = hashlib.sha256(layer).hexdigest()
    clone = world.clone(tmp_path, ["4.18"])
    world.registry.sent = 0
    world.registry.faults.append((node.partition("@")[2], says(403)))
    assert clone.doit("toolkit").code == 3
    assert world.registry.count(blob) == 1
    assert len(layer) < world.registry.sent < len(layer) + (64 << 10)
    assert clone.doit("toolkit").code == 0
    assert clone.doit("toolkit").code == 0
    assert world.registry.count(blob) == 1


def test_a_layer_that_is_too_large_is_not_begun(world: OpenShift, tmp_path: Path) -> None:
    config = {"mediaType": OCI_CONFIG, "digest": f"sha256:{'1' * 64}", "size": 2}
    layer = {"mediaType": LAYER, "digest": f"sha256:{'2' * 64}", "size": 1 << 40}
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    world.registry.always(digest, says(200, data, Content_Type=OCI_MANIFEST))
    world.payloads[PLACE] = f"quay.io/{PAYLOADS}@{digest}"
    refused(world, world.clone(tmp_path, ["4.18"]), f"a layer of {1 << 40} bytes", code=1)
    assert world.registry.count("/blobs/") == 0


def test_what_was_read_before_layers_were_proven_is_read_again(world: OpenShift, tmp_path: Path) -> None:
    """A record of an older version, which may come from a forged beginning."""
    payload = world.release("4.18.15", OLD)
    clone = world.clone(tmp_path, ["4.18"])
    forged = {"schema": 1, "stage": "payload", "inputs": {}, "outputs": {}, "reference": payload, "arch": "x86_64",
              "streams": {"driver-toolkit": {"toolkit": EVIL, "node": None}}}
    folder = clone.build / "toolkits"
    folder.mkdir(parents=True)
    (folder / f"payload-{payload.rpartition(':')[2]}-x86_64.json").write_text(json.dumps(forged))
    assert clone.doit("toolkit").code == 0
    assert clone.catalogue()[0]["dtk"] != EVIL


# -- which images a release may name ------------------------------------------------


@pytest.mark.parametrize("name, image", [
    ("driver-toolkit", EVIL), ("driver-toolkit", f"evil.example/{IMAGES}@sha256:{'e' * 64}"),
    ("driver-toolkit", f"quay.io/openshift-release-dev/ocp-v4.0-art-dev-evil@sha256:{'e' * 64}"),
    ("driver-toolkit", f"quay.io:443/{IMAGES}@sha256:{'e' * 64}"), ("driver-toolkit-10", EVIL), ("rhel-coreos", EVIL),
])
def test_an_image_of_another_place(world: OpenShift, tmp_path: Path, name: str, image: str) -> None:
    if image == EVIL:  # one that is there, and is what it says
        files = {TOOLKIT_FILE: release_file(OLD)}
        image = world.push([tar_of(files)], repository="evil/toolkit", labels={"ostree.linux": OLD})
    world.release("4.18.15", OLD, more={name: image})
    clone = world.clone(tmp_path, ["4.18"])
    for _ in range(2):  # the second time from the record
        refused(world, clone, f"is {image}, which is not in quay.io/{IMAGES} or", "`releases.images`")


def test_the_places_of_images_are_a_setting(world: OpenShift, tmp_path: Path) -> None:
    toolkit = world.push([tar_of({TOOLKIT_FILE: release_file(OLD)})], repository="okd/scos-content")
    node = world.node({"ostree.linux": OLD})
    world.payloads[PLACE] = world.payload({"driver-toolkit": toolkit, "rhel-coreos": node})
    refused(world, world.clone(tmp_path, ["4.18"]), "okd/scos-content")
    clone = world.clone(tmp_path, ["4.18"], releases={"images": ["quay.io/okd/scos-content", f"quay.io/{IMAGES}"]})
    assert clone.doit("toolkit").code == 0
    assert clone.catalogue()[0]["dtk"] == toolkit


def test_a_release_image_of_another_place(world: OpenShift, tmp_path: Path) -> None:
    good = world.release("4.18.15", OLD)
    for place in ("evil.example/openshift-release-dev/ocp-release", "quay.io/evil/ocp-release"):
        world.payloads[PLACE] = f"{place}@{good.partition('@')[2]}"
        refused(world, world.clone(tmp_path, ["4.18"]), f"the release image is {place}@", "`releases.repository`")


def test_the_release_image_of_another_release(world: OpenShift, tmp_path: Path, key: Key) -> None:
    """Signed as it is: a list that gives an old release under a new name would bring back its toolkit."""
    world.payloads[PLACE] = old = world.release("4.16.30", OLD)
    world.sign(old, key)
    clone = world.clone(tmp_path, ["4.18"], releases={"signatures": world.signing(key)})
    for _ in range(2):
        refused(world, clone, f"{old} says that it is '4.16.30'")


# -- signatures ----------------------------------------------------------------------


def signed(world: OpenShift, folder: Path, key: Key) -> tuple[Clone, str]:
    """A checkout that wants signatures by the key, and a release that has none yet."""
    payload = world.release("4.18.15", NEW)
    return world.clone(folder, ["4.18"], releases={"signatures": world.signing(key)}), payload


def test_a_good_signature(world: OpenShift, tmp_path: Path, key: Key) -> None:
    clone, payload = signed(world, tmp_path, key)
    world.sign(payload, key)
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert [entry["payload"] for entry in clone.catalogue()] == [payload]
    world.lists.requests.clear()
    assert clone.doit("toolkit").code == 0
    assert world.lists.count("/signatures/") == 0, "what is in the catalogue is not asked for again"


@pytest.mark.parametrize("case, words", [
    ("none", "it has no signature"), ("another key", "the signature was made by the key"),
    ("another digest", "the signature is one for"), ("garbage", "the signature can't be read"),
])
def test_a_bad_signature(world: OpenShift, tmp_path: Path, key: Key, other: Key, case: str, words: str) -> None:
    """Nothing of the release image is read, and nothing changes; all other cases: tests/unit/catalogue."""
    clone, payload = signed(world, tmp_path, key)
    message = {"none": None, "another key": sign_message(signed_text(payload), other),
               "another digest": sign_message(signed_text(payload[:-4] + "0000"), key), "garbage": filler(500)}[case]
    if message is not None:
        world.files[world.signature(payload)] = message
    refused(world, clone, words, code=1 if case == "none" else 3)
    assert world.registry.count(PAYLOADS) == 0


def test_what_can_not_be_had_is_no_missing_signature(world: OpenShift, tmp_path: Path, key: Key, other: Key) -> None:
    clone, payload = signed(world, tmp_path, key)
    world.sign(payload, key)
    for path, fault, words in (("signature-1", says(500), "500"), ("signature-1", hang_up, "signature-1"),
                               ("/key", says(404), "404"), ("/key", says(200, b"<html>"), "is damaged"),
                               ("/key", says(200, other.file.read_bytes()), "was made by the key")):
        world.lists.standing[:] = [(path, fault)]
        refused(world, clone, words)
    world.lists.standing.clear()
    assert clone.doit("toolkit").code == 0


def test_signatures_are_of_the_kernel_list_too(world: OpenShift, tmp_path: Path, key: Key) -> None:
    clone, payload = signed(world, tmp_path, key)
    run = clone.doit("dtk:kernels")
    assert run.code == 1 and f"{payload}: it has no signature" in run.out, run.text
    assert not (clone.root / "driver-toolkit/kernels.json").exists()
