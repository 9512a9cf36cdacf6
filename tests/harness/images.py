"""What is in an image that a build left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundry.formats.images.manifest import Manifest, parse_manifest
from foundry.formats.images.oci import read_archive
from foundry.formats.images.rootfs import Entry, unpack


@dataclass(frozen=True)
class Contents:
    """Labels, architecture, and all files by path without leading slash."""

    labels: Mapping[str, str]
    architecture: str
    files: Mapping[str, Entry]


def image_of(archive: Path) -> Contents:
    """The one image of an ``image.oci.tar``."""
    image = read_archive(archive)
    manifest = parse_manifest(image.blobs[image.digest])
    assert isinstance(manifest, Manifest)
    return Contents(image.labels, image.architecture, unpack(image.blobs[one.digest] for one in manifest.layers))
