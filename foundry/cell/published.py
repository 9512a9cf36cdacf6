"""The image that a cell publishes: this checkout's image file, or what a registry of the profile has of it already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.names import depends_of, signature_of
from foundry.base.reasons import Reason
from foundry.cell import image
from foundry.plan.rows import Row
from foundry.plan.state import CellState
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.images.rootfs import Entry
    from foundry.registry.push import Content, Writer

_MAX_IMAGE = 2 << 30  # bytes of an image that is copied from one registry to another


@dataclass(frozen=True)
class Facts:
    """Of an image: config digest, size in bytes, in-tree modules that it needs, who signed its own."""

    config_digest: str = ""
    size: int = 0
    depends: tuple[str, ...] = ()
    signature: Mapping[str, str] | None = None


class Published:
    """The image to publish: that of this checkout, or where it is already published that of a registry."""

    def __init__(self, foundry: Foundry, state: CellState, row: Row | None, log: Path) -> None:
        self.foundry, self.state, self.log = foundry, state, log
        self._whole: Content | None = None
        self._from: Writer | None = None
        self.digest = row.digest if row is not None else state.image.digest if state.image is not None else ""
        self.row = row
        if not self.digest:
            raise FoundryError(f"{state.cell.name} has no image yet", reason=Reason.IMAGE_MISSING,
                               hint=f"run `doit build:{state.cell.driver}`")

    def adopt(self, writer: Writer, digest: str) -> None:
        """What a registry has under the same key is what is published everywhere."""
        self.digest, self._whole, self._from = digest, None, writer

    def whole(self) -> Content:
        """Manifest and blobs, read when they are first needed."""
        if self._whole is None:
            self._whole = self._local() or self._remote()
        return self._whole

    def _local(self) -> Content | None:
        from foundry.formats.images.oci import read_archive
        from foundry.registry.push import content_of

        path = self.foundry.cell_folder(self.state.cell) / image.IMAGE_FILE
        if not path.exists():
            return None
        made = read_archive(path)
        if made.digest != self.digest:
            return None
        return content_of(made)

    def _remote(self) -> Content:
        from foundry.registry.push import fetch_content

        source = self.source()
        if source is not None:
            return fetch_content(source.registry, source.repository, self.digest, _MAX_IMAGE)
        raise FoundryError(f"the image of {self.state.cell.name} is not here", reason=Reason.IMAGE_MISSING,
                           hint=f"run `doit build:{self.state.cell.driver}`")

    def source(self) -> Writer | None:
        """Where it is published already: what was adopted, or the first target of the profile that the row names.

        It is copied from nowhere else.
        """
        if self._from is not None:
            return self._from
        family, names = self.state.cell.family.name, self.row.registries if self.row is not None else ()
        named = [target for target in self.foundry.registries.targets(family) if target.is_in(names)]
        return self.foundry.registries.writer(named[0]) if named else None

    def facts(self) -> Facts:
        """What is known of it without a request."""
        from foundry.formats.images.manifest import parse_config

        if self.row is not None:
            return Facts(self.row.config_digest, self.row.size, self.row.depends, self.row.signature)
        if self._whole is not None:
            config = json.loads(self._whole.manifest)["config"]["digest"]
            labels = parse_config(self._whole.blobs[config]).labels
            size = len(self._whole.manifest) + sum(len(blob) for blob in self._whole.blobs.values())
            return Facts(config, size, depends_of(labels), signature_of(labels))
        known = self.state.image
        if known is None or known.digest != self.digest:
            return Facts()
        return Facts(known.config_digest, known.size, known.depends, known.signature)


def files_of(content: Content) -> Mapping[str, Entry]:
    """What is in an image, by path. FoundryError ``manifest-unsupported`` of an index."""
    from foundry.formats.images.manifest import Manifest, parse_manifest
    from foundry.formats.images.rootfs import unpack

    manifest = parse_manifest(content.manifest, content.media_type)
    if not isinstance(manifest, Manifest):
        raise FoundryError(f"{content.digest} is an index, not an image", reason=Reason.MANIFEST_UNSUPPORTED)
    return unpack(content.blobs[layer.digest] for layer in manifest.layers)
