"""Manifests, indexes and configurations: what podman writes, what registries send, and what must be refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.images import manifest
from foundry.formats.images.manifest import (
    ACCEPT,
    Descriptor,
    Index,
    Manifest,
    Platform,
    choose,
    parse_config,
    parse_manifest,
)

OCI, DOCKER, OCI_INDEX, DOCKER_LIST = ACCEPT
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DIGEST = "sha256:" + "ab" * 32


def blob(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"mediaType": LAYER, "digest": f"sha256:{number:064x}", "size": number, **more}


def image(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI, "config": blob(1), "layers": [blob(2), blob(3)], **more}


def entry(number: int, platform: str, **more: Any) -> dict[str, Any]:
    names = zip(("os", "architecture", "variant"), platform.split("/"), strict=False)
    return blob(number, mediaType=OCI, platform=dict(names), **more)


def index(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}


def parsed(document: Any, content_type: str = "") -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), content_type)


def reason(document: Any, content_type: str = "") -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(FoundryError) as caught:
        parse_manifest(data, content_type)
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value.reason


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def test_an_image() -> None:
    found = parsed(image(annotations={"a": "b"}))
    assert isinstance(found, Manifest)
    assert found.config == Descriptor(LAYER, f"sha256:{1:064x}", 1)
    assert [layer.size for layer in found.layers] == [2, 3]
    assert (found.media_type, found.annotations) == (OCI, {"a": "b"})
    assert not found.config.foreign


def test_an_index() -> None:
    found = parsed(index(entry(1, "linux/arm64/v8"), blob(2)))
    assert isinstance(found, Index)
    assert [one.platform for one in found.entries] == [Platform("linux", "arm64", "v8"), None]


@pytest.mark.parametrize("media_type", [OCI, DOCKER])
def test_the_type_is_the_documents_own(media_type: str) -> None:
    """What the server calls it counts only where the document says nothing."""
    document = image(mediaType=media_type)
    for sent in ("", media_type, media_type.upper(), f"{media_type}; charset=utf-8", "application/json", "text/plain"):
        assert parsed(document, sent).media_type == media_type
        assert parsed(without(document, "mediaType"), media_type).media_type == media_type
    for sent in set(ACCEPT) - {media_type}:
        assert reason(document, sent) == "manifest-malformed"


def test_without_any_type() -> None:
    assert isinstance(parsed(without(image(), "mediaType")), Manifest)
    assert isinstance(parsed(without(index(entry(1, "linux/amd64")), "mediaType"), "application/json"), Index)
    assert reason({"schemaVersion": 2}) == "manifest-malformed"
    assert reason(without(image(), "mediaType"), OCI_INDEX) == "manifest-malformed"
    assert reason(index(), OCI) == "manifest-malformed"


def test_one_document_for_two_readers() -> None:
    for document in (image(manifests=[]), without(image(manifests=[]), "mediaType")):
        assert reason(document) == "manifest-malformed"


SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def test_schema_1() -> None:
    for document, sent in (({"schemaVersion": 1, "fsLayers": []}, ""), ({"schemaVersion": 1}, SCHEMA1),
                           (image(), SCHEMA1), (image(mediaType=SCHEMA1), "")):
        assert reason(document, sent) == "manifest-unsupported"


def test_other_types() -> None:
    for media_type in ("application/vnd.cncf.helm.config.v1+json", "text/html", "x" * 1000, "a\nb"):
        assert reason(image(mediaType=media_type)) == "manifest-unsupported"


def test_foreign_layers_are_marked() -> None:
    foreign = ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
               "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")
    found = parsed(image(layers=[blob(1), *(blob(2, mediaType=kind) for kind in foreign),
                                 blob(3, urls=["https://mirror/x"]), blob(4, urls=[]), blob(5, urls=None)]))
    assert isinstance(found, Manifest)
    assert [layer.foreign for layer in found.layers] == [False, True, True, True, False, False]
    assert found.layers[3].urls == ("https://mirror/x",)


@pytest.mark.parametrize("change", [
    {"mediaType": ""}, {"mediaType": 1}, {"mediaType": None}, {"mediaType": "tar"}, {"mediaType": "a/b\n"},
    {"digest": ""}, {"digest": None}, {"digest": "ab" * 32}, {"digest": DIGEST[:-1]}, {"digest": DIGEST + "0"},
    {"digest": DIGEST + "\n"}, {"digest": DIGEST.upper()}, {"digest": "sha512:" + "ab" * 64}, {"digest": [DIGEST]},
    {"size": -1}, {"size": "1"}, {"size": 1.0}, {"size": True}, {"size": None},
    {"urls": "https://x"}, {"urls": [1]}, {"urls": {}}, {"annotations": []}, {"annotations": {"a": 1}},
    {"annotations": {"a": None}}, {"platform": "linux"}, {"platform": {"os": 1}}, {"platform": {"os": "li\nnux"}},
    {"platform": {"os": "x" * 100}}, {"annotations": {str(n): "" for n in range(1001)}},
])
def test_broken_descriptors(change: dict[str, Any]) -> None:
    broken = {**blob(1), **change}
    assert reason(image(config=broken)) == "manifest-malformed"
    assert reason(image(layers=[blob(1), broken])) == "manifest-malformed"
    assert reason(index(broken)) == "manifest-malformed"


@pytest.mark.parametrize("document", [
    [], "x", 1, None, {}, image(schemaVersion=3), image(schemaVersion="2"), image(schemaVersion=True),
    image(schemaVersion=2.0), without(image(), "schemaVersion"), without(image(), "config"), without(image(), "layers"),
    image(layers={}), image(layers="x"), image(layers=[None]), image(config=[]),
    image(layers=[blob(n) for n in range(1001)]),
    index(*(blob(n) for n in range(1001))), index(mediaType=OCI), image(mediaType=OCI_INDEX), image(mediaType=7),
    image(annotations={"a": "x" * 70_000}), b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{\0}\0",
    b'{"schemaVersion": NaN}', b'{"a": "\\ud800"}', b"<html>", b" " * (5 << 20), b'{"a": 1' + b"0" * 5000 + b"}",
])
def test_no_manifests(document: Any) -> None:
    assert reason(document) == "manifest-malformed"


def test_most_layers() -> None:
    found = parsed(image(layers=[blob(n) for n in range(1000)]))
    assert isinstance(found, Manifest)
    assert len(found.layers) == 1000


# -- one of several -----------------------------------------------------------


def chosen(architecture: str, *entries: dict[str, Any], os: str = "linux") -> int:
    found = parsed(index(*entries))
    assert isinstance(found, Index)
    return choose(found, architecture, os).size


ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def test_choose() -> None:
    several = (entry(1, "linux/s390x"), entry(2, "windows/amd64"), entry(3, "linux/amd64"), entry(4, "linux/arm64/v8"))
    assert chosen("amd64", *several) == 3
    assert chosen("amd64", *several, os="windows") == 2
    assert chosen("arm64", *several) == 4


@pytest.mark.parametrize(("architecture", "platforms", "expected"), [
    ("amd64", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"], 2),
    ("amd64", ["linux/amd64/v3", "linux/amd64/v2"], 0),
    ("amd64", ["linux/amd64", "linux/amd64"], 0),
    ("arm64", ["linux/arm64/v9", "linux/arm64/v8", "linux/arm64"], 2),
    ("arm64", ["linux/arm64/v9", "linux/arm64/v8"], 1),
    ("arm64", ["linux/arm/v8", "linux/arm64/v9"], 1),
    ("amd64", ["linux/amd64/v8", "linux/amd64/v2"], 0),
])
def test_variants(architecture: str, platforms: list[str], expected: int) -> None:
    assert chosen(architecture, *(entry(at, name) for at, name in enumerate(platforms))) == expected


def test_attestations_are_no_images() -> None:
    assert chosen("amd64", entry(1, "linux/amd64", annotations=ATTESTATION), entry(2, "linux/amd64")) == 2
    with pytest.raises(FoundryError, match=r"there is linux/s390x$"):
        chosen("unknown", entry(1, "unknown/unknown"), entry(2, "linux/s390x"), os="unknown")


def test_no_image_for_the_platform() -> None:
    with pytest.raises(FoundryError, match=r"no image for linux/arm64; there is linux/amd64, linux/arm/v7$") as caught:
        chosen("arm64", entry(1, "linux/amd64"), entry(2, "linux/arm/v7"), entry(3, "unknown/unknown"), blob(4),
               entry(5, "linux/s390x", annotations=ATTESTATION), entry(6, "linux/amd64"))
    assert caught.value.reason == "platform-missing"
    with pytest.raises(FoundryError, match="there is none with a platform"):
        chosen("amd64", blob(1))
    with pytest.raises(FoundryError, match="and 80 more"):
        chosen("amd64", *(entry(n, f"linux/m{n}") for n in range(100)))


# -- configurations -----------------------------------------------------------

CONFIG: dict[str, Any] = {
    "architecture": "amd64", "os": "linux", "created": "2025-01-02T03:04:05Z",
    "config": {"Labels": {"a": "b", "text": "two\nlines"}, "Env": ["A=b"]},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]}, "history": [{"x": 1}],
}


def test_a_configuration() -> None:
    found = parse_config(json.dumps(CONFIG).encode())
    assert (found.os, found.architecture, found.created) == ("linux", "amd64", "2025-01-02T03:04:05Z")
    assert found.labels == CONFIG["config"]["Labels"]
    assert found.diff_ids == (DIGEST, DIGEST)


@pytest.mark.parametrize("change", [{"config": None}, {"config": {}}, {"config": {"Labels": None}}])
def test_without_labels(change: dict[str, Any]) -> None:
    found = parse_config(json.dumps({**without(CONFIG, "created"), **change}).encode())
    assert found.labels == {}
    assert found.created is None


@pytest.mark.parametrize("change", [
    {"os": None}, {"os": 1}, {"architecture": None}, {"architecture": "a b"}, {"created": 1}, {"config": []},
    {"config": {"Labels": []}}, {"config": {"Labels": {"a": 1}}}, {"rootfs": None}, {"rootfs": {}},
    {"rootfs": {"type": "layers"}}, {"rootfs": {"type": "other", "diff_ids": []}},
    {"rootfs": {"type": "layers", "diff_ids": [1]}}, {"rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}},
    {"rootfs": {"type": "layers", "diff_ids": [DIGEST] * 1001}},
])
def test_broken_configurations(change: dict[str, Any]) -> None:
    with pytest.raises(FoundryError) as caught:
        parse_config(json.dumps({**CONFIG, **change}).encode())
    assert caught.value.reason == "image-config-malformed"


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000, b" " * (9 << 20), b"null"])
def test_no_configurations(data: bytes) -> None:
    with pytest.raises(FoundryError) as caught:
        parse_config(data)
    assert caught.value.reason == "image-config-malformed"


def test_what_skopeo_writes(tmp_path: Path) -> None:
    """An image of one layer, copied into both forms by the tool that most registries' content comes from."""
    from foundry.base.files import sha256_bytes
    from tests.unit.formats.test_layers import tar

    layer = tar(("etc/x", b"x"))
    config = json.dumps({**CONFIG, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256_bytes(layer)}"]},
                         "history": []}).encode()
    document = json.dumps(image(
        config=named("application/vnd.oci.image.config.v1+json", config),
        layers=[named("application/vnd.oci.image.layer.v1.tar", layer)],
    )).encode()
    root = tmp_path / "layout"
    (root / "blobs/sha256").mkdir(parents=True)
    for data in (layer, config, document):
        (root / "blobs/sha256" / sha256_bytes(data)).write_bytes(data)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (root / "index.json").write_text(json.dumps(index(named(OCI, document))))
    for form, media_type in (("oci", OCI), ("v2s2", DOCKER)):
        dest = tmp_path / form
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"--format={form}", f"oci:{root}",
                        f"dir:{dest}"], check=True, capture_output=True)
        found = parse_manifest((dest / "manifest.json").read_bytes(), media_type)
        assert isinstance(found, Manifest)
        assert found.media_type == media_type
        assert len(found.layers) == 1
        read = parse_config((dest / found.config.digest.partition(":")[2]).read_bytes())
        assert read.labels == CONFIG["config"]["Labels"]
        assert read.diff_ids == (f"sha256:{sha256_bytes(layer)}",)


def named(media_type: str, data: bytes) -> dict[str, Any]:
    from foundry.base.files import sha256_bytes

    return {"mediaType": media_type, "digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}


def test_limits_are_those_of_registries() -> None:
    assert manifest.MAX_MANIFEST == 4 << 20
    assert manifest.MAX_CONFIG == 8 << 20
