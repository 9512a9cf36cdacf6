"""The kernel of a toolkit, read from its registry by a few small requests; nothing is pulled.

openshift/driver-toolkit writes ``/etc/driver-toolkit-release.json`` in its last
layer. The file is believed, as it comes from what the compiler will see; labels
copy build arguments and may be empty or old: they are compared, nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from foundry.base.errors import FoundryError
from foundry.base.names import OCI_ARCH
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.formats.images import layers
from foundry.formats.images.layers import Found
from foundry.formats.images.manifest import Descriptor, Manifest
from foundry.formats.openshift import toolkit_release
from foundry.formats.openshift.toolkit_release import ToolkitRelease
from foundry.registry.client import Registry
from foundry.registry.images import image_config, image_manifest
from foundry.registry.windows import read_layer

_KERNEL_LABEL = "kernel-version"
_LARGEST_LAYER = 64 << 20  # bytes, of those that are read whole


@dataclass(frozen=True)
class ToolkitFacts:
    """What a toolkit says of itself; `label_kernel` is the label's word where that is another one."""

    release: ToolkitRelease
    label_kernel: str


def read_toolkit(registry: Registry, reference: Reference, arch: str, *, with_config: bool = True) -> ToolkitFacts:
    """Kernel, RT kernel and RHEL version of the toolkit for `arch` (``x86_64``, ``aarch64``).

    Reads manifest, config, and layers from the last to the first until the file is found. Without
    `with_config` the config, which says the architecture and has the label to compare with, is read only if
    the kernel's name lacks its architecture: for toolkits that a release image of that architecture names.

    Raises FoundryError ``toolkit-release-missing``, those of `foundry.formats.openshift.toolkit_release.parse`,
    ``manifest-…``, ``platform-missing``, ``layer-…``, and what `Registry.manifest` raises.
    """
    manifest = image_manifest(registry, reference, arch)
    labels = _labels(registry, reference, manifest, arch) if with_config else None
    content = image_file(registry, reference, manifest, toolkit_release.PATH)
    if content is None:
        raise FoundryError(
            f"{reference} has no /{toolkit_release.PATH}", reason=Reason.TOOLKIT_RELEASE_MISSING,
            hint="is it a driver toolkit? Correct `dtk` in the catalogue",
        )
    try:
        release = toolkit_release.parse(content, arch)
    except FoundryError as error:
        raise FoundryError(
            f"{reference}: {error.message}", reason=error.reason,
            hint=error.hint or "it can't be compiled in: correct `dtk` in the catalogue, or tell who made the toolkit",
        ) from error
    if labels is None and not release.names_arch:
        labels = _labels(registry, reference, manifest, arch)
    label = (labels or {}).get(_KERNEL_LABEL, "")
    return ToolkitFacts(release, "" if _same_kernel(label, release.kernel, arch) else label)


def image_file(
    registry: Registry, reference: Reference, manifest: Manifest, path: str, *, max_bytes: int = 1 << 20,
    layers_read: int | None = None, proven: bool = False,
) -> bytes | None:
    """One file of an image, from the last layer down; None when it has none.

    Of each layer no more is read than is needed, so its digest can't be compared; `proven`: each is read to its end,
    and nothing of it is used before its digest was compared. `layers_read` looks into so many layers at most.
    """
    def look(chunks: Iterator[bytes]) -> Found:
        found = layers.look(chunks, path, max_file=max_bytes)
        if found.kind is not layers.FILE:
            for _ in chunks:  # to the end, where the digest is compared: what is missing is as good as what is there
                pass
        return found

    for layer in tuple(reversed(manifest.layers))[:layers_read]:
        if layer.foreign:
            raise FoundryError(f"{reference} has a layer that its registry does not keep", reason=Reason.LAYER_FOREIGN)
        found = look(iter([_whole_layer(registry, reference, layer)])) if proven else \
            read_layer(registry, reference.repository, layer, look)
        if found.content is not None:
            return found.content
        if found.kind is layers.HIDDEN:
            break
    return None


def _whole_layer(registry: Registry, reference: Reference, layer: Descriptor) -> bytes:
    if layer.size > _LARGEST_LAYER:
        raise FoundryError(f"{reference} has a layer of {layer.size} bytes, {_LARGEST_LAYER} are the limit",
                           reason=Reason.LAYER_TOO_LARGE)
    return registry.blob(reference.repository, layer.digest, layer.size)


def _labels(registry: Registry, reference: Reference, manifest: Manifest, arch: str) -> Mapping[str, str]:
    config = image_config(registry, reference, manifest)
    if config.architecture != OCI_ARCH[arch]:
        raise FoundryError(
            f"{reference} is for {config.architecture}, not for {OCI_ARCH[arch]}", reason=Reason.PLATFORM_MISSING,
            hint="correct the catalogue",
        )
    return config.labels


def _same_kernel(label: str, kernel: str, arch: str) -> bool:
    return label.strip() in ("", kernel, kernel.removesuffix(f".{arch}"))
