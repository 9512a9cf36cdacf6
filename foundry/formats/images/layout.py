"""OCI image layouts: an image as a folder of blobs, each a file that is never held in memory as a whole.

Format: OCI image layout specification, version 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, open_file, parse_json, read_file, sha256_bytes, write_atomic
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import OCI_INDEX, ImageConfig, Manifest, parse_config, parse_manifest

REF_NAME = "org.opencontainers.image.ref.name"  # an entry's tag
_PIECE = 1 << 20  # bytes
_AGAIN = "remove the image's folder and build again"


@dataclass(frozen=True)
class Layout:
    """One image in a folder."""

    folder: Path
    digest: str
    data: bytes
    manifest: Manifest
    config: ImageConfig

    @property
    def size(self) -> int:
        """Bytes of manifest, configuration and layers as they are stored."""
        return len(self.data) + self.manifest.config.size + sum(layer.size for layer in self.manifest.layers)

    @property
    def files(self) -> list[str]:
        """The files that the image is, relative to the folder."""
        parts = (self.digest, self.manifest.config.digest, *(layer.digest for layer in self.manifest.layers))
        return ["index.json", "oci-layout", *dict.fromkeys(blob_file(digest) for digest in parts)]

    @property
    def blobs(self) -> Mapping[str, BlobFile]:
        """Configuration and layers by digest."""
        parts = (self.manifest.config, *self.manifest.layers)
        return {part.digest: BlobFile(self.folder / blob_file(part.digest), part.digest, part.size) for part in parts}


@dataclass(frozen=True)
class BlobFile:
    """A blob that is read when it is sent, and refused before its last piece if it is not what its digest says."""

    path: Path
    digest: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        found, last = hashlib.sha256(), b""
        with open_file(self.path) as stream:
            while piece := stream.read(_PIECE):
                found.update(piece)
                if last:
                    yield last
                last = piece
        if f"sha256:{found.hexdigest()}" != self.digest:
            raise FoundryError(f"{self.path} differs from its digest", reason=Reason.OCI_DAMAGED,
                               hint=_AGAIN)
        yield last


class Gathered:
    """A layout with many images that is being written: what is in it is the same, in whatever order it came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[tuple[str, str], Mapping[str, object]] = {}

    def add(self, manifest: bytes, media_type: str, blobs: Mapping[str, bytes], tags: Iterable[str] = ()) -> None:
        """Keep a manifest or index and its blobs; without a tag something else in the layout leads to it."""
        digest = f"sha256:{sha256_bytes(manifest)}"
        for name, data in {**blobs, digest: manifest}.items():
            path = self.folder / blob_file(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for tag in tags:
            self._entries[tag, digest] = {
                "mediaType": media_type, "digest": digest, "size": len(manifest), "annotations": {REF_NAME: tag}}

    def close(self) -> None:
        """Write the index."""
        entries = [self._entries[name] for name in sorted(self._entries)]
        (self.folder / "index.json").write_bytes(canonical_json(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        (self.folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))


def blob_file(digest: str) -> str:
    """Where a blob is in a layout."""
    return f"blobs/sha256/{digest.partition(':')[2]}"


def read_layout(folder: Path) -> Layout:
    """The single image of a layout; manifest and configuration are checked against their digests.

    Raises FoundryError ``oci-damaged``, and what parsing them raises.
    """
    try:
        [entry] = parse_json(read_file(folder / "index.json"))["manifests"]
        data = _checked(folder, entry["digest"])
        manifest = parse_manifest(data, entry["mediaType"])
        assert isinstance(manifest, Manifest)  # noqa: S101 - a file of ours
        config = parse_config(_checked(folder, manifest.config.digest))
    except (KeyError, ValueError, TypeError, AssertionError, OSError) as error:
        raise FoundryError(f"{folder} is no OCI layout of one image: {error!r}", reason=Reason.OCI_DAMAGED,
                           hint=_AGAIN) from error
    return Layout(folder, entry["digest"], data, manifest, config)


def _checked(folder: Path, digest: str) -> bytes:
    data = read_file(folder / blob_file(digest))
    if digest != f"sha256:{sha256_bytes(data)}":
        raise FoundryError(f"{folder}: a blob differs from its digest {digest}", reason=Reason.OCI_DAMAGED, hint=_AGAIN)
    return data


def annotate(folder: Path, annotations: Mapping[str, str]) -> Layout:
    """Put annotations into the manifest, in place of what it has under the same names; the image as it is then."""
    old = read_layout(folder)
    document = parse_json(old.data)
    data = canonical_json({**document, "annotations": {**document.get("annotations", {}), **annotations}})
    digest = f"sha256:{sha256_bytes(data)}"
    write_atomic(folder / blob_file(digest), data)
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": old.manifest.media_type, "digest": digest, "size": len(data)}]}
    write_atomic(folder / "index.json", canonical_json(index))
    if digest != old.digest:
        (folder / blob_file(old.digest)).unlink(missing_ok=True)
    return read_layout(folder)
