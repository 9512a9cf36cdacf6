"""Signed statements beside an image in a real registry; with and without the registry's own lists of referrers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.attestations.bundle import BUNDLE_TYPE, Statement, make_bundle
from foundry.formats.images.manifest import Descriptor
from foundry.registry import referrers
from foundry.registry.push import Content
from foundry.registry.referrers import attach, attached, fallback_tag
from foundry.signing.image_key import ImageSigner, PublicKey, open_image_signer, read_public_keys
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.harness.front import Asked, Front, says, send
from tests.integration.pushing import sample, writer

FIRST, SECOND = "https://example.com/first", "https://example.com/second"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def signer(tmp_path: Path) -> ImageSigner:
    return signer_in(tmp_path / "keys")


def signer_in(folder: Path) -> ImageSigner:
    write_image_pair(folder)
    [public] = read_public_keys([PUBLIC_FILE], folder)
    return open_image_signer(IMAGE_KEY_FILE, public, {}, folder)


def pushed(one: Front) -> Content:
    content = sample(100)
    writer(one, "statements").push(content, "image")
    return content


def described(content: Content) -> Descriptor:
    return Descriptor(content.media_type, content.digest, len(content.manifest))


def bundles(content: Content, signer: ImageSigner, *kinds: str, text: str = "x") -> dict[str, bytes]:
    return {kind: make_bundle(Statement(content.digest, kind, {"text": text}).to_bytes(), signer.sign,
                              signer.public.fingerprint) for kind in kinds}


def said(one: Front, content: Content, *keys: PublicKey) -> dict[str, list[str]]:
    found = attached(writer(one, "statements"), content.digest, keys)
    return {kind: [json.loads(signed.payload)["predicate"]["text"] for signed in of_kind]
            for kind, of_kind in found.items()}


class Lists:
    """What a registry with lists of its own answers, of what was pushed through it."""

    def __init__(self, one: Front) -> None:
        self.entries: list[dict[str, Any]] = []
        one.always("PUT /v2/statements/manifests/sha256:", self.take)
        one.always("GET /v2/statements/referrers/", self.give)
        self.one = one

    def take(self, handler: Asked) -> None:
        from tests.harness.front import forward

        body = handler.body or b""
        document = json.loads(body)
        self.entries.append({
            "mediaType": document["mediaType"], "digest": handler.path.rpartition("/")[2], "size": len(body),
            "artifactType": document["artifactType"], "annotations": document["annotations"]})
        forward(handler, self.one, handler.body, {})

    def give(self, handler: Asked) -> None:
        send(handler, 200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}).encode(),
             **{"Content-Type": INDEX})


@pytest.mark.parametrize("lists", [False, True], ids=["without lists", "with lists"])
def test_statements_come_back(one: Front, signer: ImageSigner, tmp_path: Path, lists: bool) -> None:
    content = pushed(one)
    if lists:
        Lists(one)
    ours = writer(one, "statements")
    assert len(attach(ours, described(content), bundles(content, signer, FIRST, SECOND), signer.public)) == 2
    assert said(one, content, signer.public) == {FIRST: ["x"], SECOND: ["x"]}
    assert (ours.tagged(fallback_tag(content.digest)) is None) == lists
    # once; another one of the same kind beside it; another key's beside both
    one.requests.clear()
    assert attach(ours, described(content), bundles(content, signer, FIRST, SECOND), signer.public) == []
    assert not one.count("", "PUT") and not one.count("", "POST")
    assert len(attach(ours, described(content), bundles(content, signer, FIRST, text="y"), signer.public)) == 1
    other = signer_in(tmp_path / "other")
    assert len(attach(ours, described(content), bundles(content, other, FIRST), other.public)) == 1
    assert said(one, content, signer.public) == {FIRST: ["x", "y"], SECOND: ["x"]}
    assert said(one, content, other.public) == {FIRST: ["x"]}
    assert said(one, content) == {}


def test_a_key_that_signs_otherwise_each_time_attaches_once(one: Front, signer: ImageSigner) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key, content = generate_private_key(SECP256R1()), pushed(one)
    public = PublicKey("0" * 64, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
                       key.public_key())
    token = ImageSigner(public, _sign=lambda data: key.sign(data, ECDSA(SHA256())))
    made, again = bundles(content, token, FIRST), bundles(content, token, FIRST)
    assert made != again
    ours = writer(one, "statements")
    assert len(attach(ours, described(content), made, public)) == 1
    assert attach(ours, described(content), again, public) == []


def test_what_others_attached_stays_and_is_not_read(one: Front, signer: ImageSigner) -> None:
    """Something else than a bundle, one that is broken, one that is gone."""
    content, ours = pushed(one), writer(one, "statements")
    strangers: list[dict[str, Any]] = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": f"sha256:{n}" + "0" * 63, "size": 7,
         "artifactType": kind, "annotations": {"whose": "theirs"}}
        for n, kind in enumerate(["application/vnd.example+json", BUNDLE_TYPE])]
    broken = Content(*_artifact(b"no bundle"))
    ours.push(broken, broken.digest)
    strangers.append({"mediaType": broken.media_type, "digest": broken.digest, "size": len(broken.manifest),
                      "artifactType": BUNDLE_TYPE})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": strangers[2:]}).encode()
    _put(one, fallback_tag(content.digest), index)
    attach(ours, described(content), bundles(content, signer, FIRST), signer.public)
    assert said(one, content, signer.public) == {FIRST: ["x"]}
    found = ours.tagged(fallback_tag(content.digest))
    assert found is not None and json.loads(found.data)["manifests"][0] == strangers[2]


@pytest.mark.parametrize("status", [400, 405, 415])
def test_a_registry_that_takes_no_referrers(one: Front, signer: ImageSigner, status: int) -> None:
    content = pushed(one)
    one.always("PUT /v2/statements/manifests/sha256:", says(status, b'{"errors": [{"code": "MANIFEST_INVALID"}]}'))
    with pytest.raises(FoundryError) as raised:
        attach(writer(one, "statements"), described(content), bundles(content, signer, FIRST), signer.public)
    assert "registry.test" in raised.value.message and raised.value.hint, raised.value.render()
    assert writer(one, "statements").tagged(fallback_tag(content.digest)) is None


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_an_answer_that_says_nothing_is_no_empty_list(one: Front, signer: ImageSigner, status: int) -> None:
    content = pushed(one)
    one.always("GET /v2/statements/referrers/", says(status))
    with pytest.raises(FoundryError):
        said(one, content, signer.public)


def test_a_statement_that_is_too_large(one: Front, signer: ImageSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pushed(one)
    monkeypatch.setattr(referrers, "LARGEST", 100)
    with pytest.raises(FoundryError) as raised:
        attach(writer(one, "statements"), described(content), bundles(content, signer, FIRST), signer.public)
    assert raised.value.reason == "document-too-large" and FIRST in raised.value.message


def _artifact(data: bytes) -> tuple[bytes, str, str, dict[str, bytes]]:
    from tests.integration.pushing import digest_of

    empty = b"{}"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": BUNDLE_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(empty), "size": 2},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": digest_of(data), "size": len(data)}]}).encode()
    return manifest, "application/vnd.oci.image.manifest.v1+json", digest_of(manifest), {
        digest_of(empty): empty, digest_of(data): data}


def _put(one: Front, tag: str, index: bytes) -> None:
    import requests

    done = requests.put(f"http://{one.upstream}/v2/statements/manifests/{tag}", data=index,
                        headers={"Content-Type": INDEX}, timeout=30)
    assert done.status_code == 201, done.text
