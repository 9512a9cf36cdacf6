"""The base image: its digest, its build time and the BusyBox in it, read from its registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from foundry.base.errors import FoundryError
from foundry.base.names import OCI_ARCH
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.base.times import utc
from foundry.formats.images import busybox
from foundry.formats.images.layers import ABSENT
from foundry.formats.images.manifest import Manifest
from foundry.registry.client import Registry
from foundry.registry.images import image_config, image_manifest
from foundry.registry.windows import read_layer

_LABEL = "busybox.version"
_FIRST_YEAR = 1970


@dataclass(frozen=True)
class Base:
    """`digest` is that of the name, an index where it has one; `created` as locks have it; `busybox` may be empty."""

    digest: str
    created: str
    busybox: str


def read_base(registry: Registry, reference: Reference, arches: Sequence[str], *, with_busybox: bool) -> Base:
    """The facts of a base image, which must be the same for all of `arches`; `created` is the first one's.

    Raises FoundryError ``base-created-missing``, ``base-without-busybox``, ``base-contradicts``,
    ``platform-missing``, ``layer-…``, and what reading from registries raises.
    """
    digest = reference.digest or registry.manifest(reference.repository, reference.tag or "latest").digest
    pinned = reference.at(digest)
    created, versions = "", set()
    for arch in arches:
        manifest = image_manifest(registry, pinned, arch)
        config = image_config(registry, pinned, manifest)
        if config.architecture != OCI_ARCH[arch]:
            raise FoundryError(f"{pinned} is for {config.architecture}, not for {OCI_ARCH[arch]}",
                               reason=Reason.PLATFORM_MISSING, hint="correct `base.name` in the family file")
        created = created or _created(config.created, pinned)
        if with_busybox:
            version = _version(registry, pinned, manifest)
            if (label := config.labels.get(_LABEL, version)) != version:
                raise FoundryError(f"{pinned}: its label {_LABEL} is {ascii(label)[:80]}, its program is {version}",
                                   reason=Reason.BASE_CONTRADICTS, hint="tell who made the image, or take another base")
            versions.add(version)
    if len(versions) > 1:
        raise FoundryError(f"{pinned} has BusyBox {' and '.join(sorted(versions))} for different architectures",
                           reason=Reason.BASE_CONTRADICTS, hint="take another base, or one architecture")
    return Base(digest, created, "".join(versions))


def _version(registry: Registry, reference: Reference, manifest: Manifest) -> str:
    """Of the topmost program; a layer that hides it ends the search."""
    found = frozenset[str]()
    for layer in reversed(manifest.layers):
        if layer.foreign:
            raise FoundryError(f"{reference} has a layer that its registry does not keep", reason=Reason.LAYER_FOREIGN)
        one = read_layer(registry, reference.repository, layer, busybox.look)
        if one.kind is not ABSENT:
            found = one.versions
            break
    if len(found) != 1:
        what = f"says to be {' and '.join(sorted(found))}" if found else "can't be found"
        raise FoundryError(
            f"{reference}: its BusyBox {what} ({' or '.join(busybox.PATHS)})", reason=Reason.BASE_WITHOUT_BUSYBOX,
            hint="take another base, or leave `base.busybox` and the labels of BusyBox out of the family file",
        )
    return next(iter(found))


def _created(text: str | None, reference: Reference) -> str:
    try:
        when = datetime.fromisoformat(text or "")
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        when = None
    if when is None or when.year < _FIRST_YEAR:
        raise FoundryError(f"{reference} does not say when it was made", reason=Reason.BASE_CREATED_MISSING,
                           hint="take another base image")
    return utc(when)
