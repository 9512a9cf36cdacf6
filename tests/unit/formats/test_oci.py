"""OCI archives: read, checked, and written with settled bytes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, sha256_bytes
from foundry.formats.images.oci import read_archive, with_annotations, write_archive

TYPE = "application/vnd.oci.image.manifest.v1+json"


def blob(data: bytes) -> tuple[str, bytes]:
    return f"sha256:{sha256_bytes(data)}", data


def archive(path: Path, *, flip: str = "", drop: str = "", manifests: int = 1) -> Path:
    layer_digest, layer = blob(b"layer")
    config_digest, config = blob(canonical_json({
        "architecture": "amd64", "config": {"Labels": {"a": "b"}}, "rootfs": {"diff_ids": [layer_digest]},
    }))
    manifest_digest, manifest = blob(canonical_json({
        "config": {"digest": config_digest}, "layers": [{"digest": layer_digest}],
    }))
    entries = [{"mediaType": TYPE, "digest": manifest_digest, "size": len(manifest)}] * manifests
    files = {"index.json": json.dumps({"manifests": entries}).encode(), "oci-layout": b"{}"}
    for name, (digest, data) in {
        "layer": (layer_digest, layer), "config": (config_digest, config), "manifest": (manifest_digest, manifest),
    }.items():
        if name != drop:
            files[f"blobs/sha256/{digest[7:]}"] = data + b" " if name == flip else data
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_read(tmp_path: Path) -> None:
    image = read_archive(archive(tmp_path / "a.tar"))
    assert image.labels == {"a": "b"}
    assert image.architecture == "amd64"
    assert image.diff_ids == (f"sha256:{sha256_bytes(b'layer')}",)


def test_written_bytes_are_settled(tmp_path: Path) -> None:
    image = read_archive(archive(tmp_path / "a.tar"))
    for name in ("b.tar", "c.tar"):
        write_archive(image, tmp_path / name, "localhost/x:1", 1700000000)
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()
    assert read_archive(tmp_path / "b.tar") == image


@pytest.mark.parametrize("fault", [
    {"flip": "layer"}, {"flip": "config"}, {"flip": "manifest"}, {"drop": "layer"}, {"drop": "config"},
    {"drop": "manifest"}, {"manifests": 2}, {"manifests": 0},
])
def test_damage_is_found(tmp_path: Path, fault: dict[str, str]) -> None:
    with pytest.raises(FoundryError) as raised:
        read_archive(archive(tmp_path / "a.tar", **fault))  # type: ignore[arg-type]  # reason: one of each kind
    assert raised.value.reason == "oci-damaged"


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no tar")
    for name in ("x", "missing"):
        with pytest.raises(FoundryError, match=r"not an OCI archive|no whole tar archive"):
            read_archive(tmp_path / name)


def test_annotations_are_ours(tmp_path: Path) -> None:
    """What an engine noted of its own store makes no other image."""
    image = read_archive(archive(tmp_path / "a.tar"))
    noted = with_annotations(image, {"base": "sha256:from-elsewhere", "other": "kept"})
    ours, both = with_annotations(image, {"base": "ours"}), with_annotations(noted, {"base": "ours"})
    assert json.loads(both.blobs[both.digest])["annotations"] == {"base": "ours", "other": "kept"}
    assert with_annotations(ours, {"other": "kept"}) == both
    assert both.digest == blob(both.blobs[both.digest])[0] != image.digest
    write_archive(both, tmp_path / "b.tar", "x:y", 1)
    again = read_archive(tmp_path / "b.tar")
    assert (again.digest, again.size, again.config_digest) == (both.digest, both.size, image.config_digest)
    assert image.digest not in again.blobs
