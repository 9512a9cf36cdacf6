"""OCI image archives: read, checked, and written with settled bytes.

Formats: OCI image layout and image manifest specifications, version 1.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, open_file, parse_json, sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import DOCKER_MANIFEST, OCI_MANIFEST, parse_config
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.tarstream import Kind, TarStream

_MAX_IMAGE = 2 << 30  # bytes
_PIECE = 1 << 20
_LAYERS = {  # media types of layers with gzip, by that of the manifest
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Image:
    """One image of an archive. `size` is that of manifest, config and layers as stored, in bytes."""

    digest: str
    config_digest: str
    diff_ids: tuple[str, ...]
    layers: tuple[str, ...]
    labels: Mapping[str, str]
    architecture: str
    size: int
    blobs: Mapping[str, bytes]
    manifest_type: str


def read_archive(path: Path) -> Image:
    """The single image of an OCI archive, every blob checked against its digest.

    Raises FoundryError (``oci-damaged``, ``image-too-large``) for anything else.
    """
    try:
        files = _members(path)
        index = parse_json(files["index.json"])
        [entry] = index["manifests"]
        blobs = {
            f"sha256:{name.rpartition('/')[2]}": data
            for name, data in files.items() if name.startswith("blobs/sha256/")
        }
        for digest, data in blobs.items():
            if digest != f"sha256:{sha256_bytes(data)}":
                raise FoundryError(f"{path.name}: a blob differs from its digest {digest}", reason=Reason.OCI_DAMAGED)
        return _image(blobs, entry["digest"], entry["mediaType"])
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise FoundryError(
            f"{path.name} is not an OCI archive of one image: {error!r}", reason=Reason.OCI_DAMAGED
        ) from error


def image_of(manifest: bytes, manifest_type: str, blobs: Mapping[str, bytes]) -> Image:
    """The image of a manifest that can be parsed, and of the blobs that it names.

    FoundryError (``image-config-malformed``).
    """
    digest = f"sha256:{sha256_bytes(manifest)}"
    parse_config(blobs[parse_json(manifest)["config"]["digest"]])
    made = _image({**blobs, digest: manifest}, digest, manifest_type)
    if len(made.diff_ids) != len(made.layers):
        raise FoundryError(f"{digest} has {len(made.layers)} layers, and its configuration {len(made.diff_ids)}",
                           reason=Reason.IMAGE_CONFIG_MALFORMED)
    return made


def with_parts(image: Image, labels: Mapping[str, str], layers: Mapping[int, bytes] = MappingProxyType({})) -> Image:
    """The image with these labels, and no others, and with these layers (plain tars, by place) instead of its own.

    All else in manifest and configuration stays as it is, the time of creation, too.
    """
    manifest, config = parse_json(image.blobs[image.digest]), parse_json(image.blobs[image.config_digest])
    blobs = {name: blob for name, blob in image.blobs.items() if name not in (image.digest, image.config_digest)}
    config["config"] = {**(config.get("config") or {}), "Labels": dict(labels)}
    for place, plain in layers.items():
        data = _gzip(plain)
        media_type = _LAYERS.get(image.manifest_type, _LAYERS[OCI_MANIFEST])
        manifest["layers"][place], blobs = _described(media_type, data, blobs)
        config["rootfs"]["diff_ids"][place] = f"sha256:{sha256_bytes(plain)}"
    described, blobs = _described(manifest["config"]["mediaType"], canonical_json(config), blobs)
    manifest["config"] |= described
    return image_of(canonical_json(manifest), image.manifest_type, blobs)


def _described(media_type: str, data: bytes, blobs: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The descriptor of a blob, and the blobs with it."""
    digest = f"sha256:{sha256_bytes(data)}"
    return {"mediaType": media_type, "digest": digest, "size": len(data)}, {**blobs, digest: data}


def _gzip(plain: bytes) -> bytes:
    """With neither a name nor a time in the header: the same bytes with the same zlib."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(plain)
    return packed.getvalue()


def with_annotations(image: Image, annotations: Mapping[str, str]) -> Image:
    """The image with these annotations in its manifest, in place of what it has under the same names."""
    manifest = parse_json(image.blobs[image.digest])
    manifest["annotations"] = {**manifest.get("annotations", {}), **annotations}
    data = canonical_json(manifest)
    digest = f"sha256:{sha256_bytes(data)}"
    blobs = {name: blob for name, blob in image.blobs.items() if name != image.digest}
    size = image.size - len(image.blobs[image.digest]) + len(data)
    return replace(image, digest=digest, blobs={**blobs, digest: data}, size=size)


def write_archive(image: Image, path: Path, name: str, mtime: int) -> None:
    """Write the image as an OCI archive whose bytes depend on nothing but the arguments.

    `name` is what a container engine calls the image when it loads it.
    """
    index = {
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": image.manifest_type, "digest": image.digest,
            "size": len(image.blobs[image.digest]), "annotations": {REF_NAME: name},
        }],
    }
    wanted = sorted({image.digest, image.config_digest, *image.layers})
    files = {
        "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}), "index.json": canonical_json(index),
        **{f"blobs/sha256/{digest.partition(':')[2]}": image.blobs[digest] for digest in wanted},
    }
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(files):
            info = tarfile.TarInfo(file)
            info.size, info.mtime, info.mode = len(files[file]), mtime, 0o644
            tar.addfile(info, io.BytesIO(files[file]))


def _image(blobs: Mapping[str, bytes], digest: str, manifest_type: str) -> Image:
    manifest: Mapping[str, Any] = parse_json(blobs[digest])
    config_digest: str = manifest["config"]["digest"]
    config: Mapping[str, Any] = parse_json(blobs[config_digest])
    layers = tuple(layer["digest"] for layer in manifest["layers"])
    sizes = [len(blobs[part]) for part in (digest, config_digest, *layers)]
    return Image(
        digest, config_digest, tuple(config["rootfs"]["diff_ids"]), layers,
        (config.get("config") or {}).get("Labels") or {}, config["architecture"], sum(sizes), blobs, manifest_type,
    )


def _members(path: Path) -> dict[str, bytes]:
    budget = Budget(path.name, Reason.OCI_DAMAGED, Reason.IMAGE_TOO_LARGE, _MAX_IMAGE)
    files: dict[str, bytes] = {}
    with open_file(path) as stream:
        tar = TarStream(decompress.pieces(iter(lambda: stream.read(_PIECE), b""), "none", budget), budget)
        for member in tar:
            if member.kind is Kind.FILE:
                budget.keep(member.size)
                files[member.name.decode(errors="surrogateescape").removeprefix("./")] = tar.read()
    return files
