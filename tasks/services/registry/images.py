"""What a registry says of one image under its digest: manifest and configuration, by two small requests."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.core.errors import FoundryError
from tasks.core.names import KEY_LABEL
from tasks.formats.manifest import MAX_CONFIG, ImageConfig, Manifest, parse_config, parse_manifest
from tasks.services.registry.push import NOT_THERE, Writer

_NO_IMAGE = ("manifest-malformed", "manifest-unsupported", "image-config-malformed")


def image_at(writer: Writer, digest: str) -> tuple[Manifest, ImageConfig] | None:
    """The image under a digest; None when the registry says that it has none, or something that is no image.

    Raises what `Registry.manifest` raises: an answer that can't be had is never "not there".
    """
    try:
        fetched = writer.registry.manifest(writer.repository, digest, scope=writer.scope)
        manifest = parse_manifest(fetched.data, fetched.media_type)
        if not isinstance(manifest, Manifest):
            return None
        size = min(manifest.config.size, MAX_CONFIG)
        return manifest, parse_config(writer.registry.blob(writer.repository, manifest.config.digest, size))
    except FoundryError as error:
        if error.reason in (*NOT_THERE, *_NO_IMAGE):
            return None
        raise


def has_image(writer: Writer, digest: str, key: str) -> bool:
    """Whether the registry has an image under the digest that bears the key."""
    return labels_of(writer, digest).get(KEY_LABEL) == key


def labels_of(writer: Writer, digest: str) -> Mapping[str, str]:
    """The labels of the image under a digest; none where there is no image."""
    found = image_at(writer, digest)
    return found[1].labels if found is not None else {}
