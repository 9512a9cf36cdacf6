"""What a registry says of one image: manifest and configuration, by two small requests."""

from __future__ import annotations

from collections.abc import Mapping

from foundry.base.errors import FoundryError
from foundry.base.names import KEY_LABEL, OCI_ARCH
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.formats.images.manifest import (
    MAX_CONFIG,
    MAX_MANIFEST,
    ImageConfig,
    Index,
    Manifest,
    choose,
    parse_config,
    parse_manifest,
)
from foundry.registry.client import Registry
from foundry.registry.repository import NOT_THERE, Repository

_NO_IMAGE = (Reason.MANIFEST_MALFORMED, Reason.MANIFEST_UNSUPPORTED, Reason.IMAGE_CONFIG_MALFORMED)


def has_image(place: Repository, digest: str, key: str) -> bool:
    """Whether the registry has an image under the digest that bears the key."""
    return labels_of(place, digest).get(KEY_LABEL) == key


def labels_of(place: Repository, digest: str) -> Mapping[str, str]:
    """The labels of the image under a digest; none where the registry says that there is none, or no image.

    Raises what `Registry.manifest` raises: an answer that can't be had is never "not there".
    """
    try:
        fetched = place.registry.manifest(place.repository, digest, scope=place.scope)
        manifest = parse_manifest(fetched.data, fetched.media_type)
        if not isinstance(manifest, Manifest):
            return {}
        size = min(manifest.config.size, MAX_CONFIG)
        return parse_config(place.registry.blob(place.repository, manifest.config.digest, size)).labels
    except FoundryError as error:
        if error.reason in (*NOT_THERE, *_NO_IMAGE):
            return {}
        raise


def image_manifest(registry: Registry, reference: Reference, arch: str) -> Manifest:
    """The manifest of one platform, through an index where there is one."""
    wanted = reference.digest or reference.tag
    for _ in range(2):
        fetched = registry.manifest(reference.repository, wanted)
        document = parse_manifest(fetched.data, fetched.media_type)
        if isinstance(document, Manifest):
            return document
        wanted = _platform(document, arch, reference)
    raise FoundryError(f"{reference} is an index of indexes", reason=Reason.MANIFEST_UNSUPPORTED)


def platform_reference(registry: Registry, reference: Reference, arch: str) -> Reference:
    """The image of one platform behind an index, by its own digest; an image that is no index is itself.

    Raises FoundryError as `image_manifest` does.
    """
    fetched = registry.manifest(reference.repository, reference.digest or reference.tag)
    document = parse_manifest(fetched.data, fetched.media_type)
    return reference if isinstance(document, Manifest) else reference.at(_platform(document, arch, reference))


def _platform(index: Index, arch: str, reference: Reference) -> str:
    entry = choose(index, OCI_ARCH[arch])
    if entry.size > MAX_MANIFEST:
        raise FoundryError(f"{reference}: its manifest has {entry.size} bytes", reason=Reason.MANIFEST_MALFORMED)
    return entry.digest


def image_config(registry: Registry, reference: Reference, manifest: Manifest) -> ImageConfig:
    """The configuration of an image."""
    if manifest.config.size > MAX_CONFIG:
        raise FoundryError(f"{reference}: its config has {manifest.config.size} bytes",
                           reason=Reason.MANIFEST_MALFORMED)
    return parse_config(registry.blob(reference.repository, manifest.config.digest, MAX_CONFIG))
