"""The kernel of a toolkit, read from its registry by a few small requests; nothing is pulled.

openshift/driver-toolkit writes ``/etc/driver-toolkit-release.json`` in its last
layer. The file is believed, as it comes from what the compiler will see; labels
copy build arguments and may be empty or old: they are compared, nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.core.errors import FoundryError
from tasks.core.names import OCI_ARCH
from tasks.core.references import Reference
from tasks.formats import layers, toolkit_release
from tasks.formats.layers import Found
from tasks.formats.manifest import MAX_CONFIG, MAX_MANIFEST, Index, Manifest, choose, parse_config, parse_manifest
from tasks.formats.toolkit_release import ToolkitRelease
from tasks.services.registry.client import Registry
from tasks.services.registry.windows import read_layer

_KERNEL_LABEL = "kernel-version"


@dataclass(frozen=True)
class ToolkitFacts:
    """What a toolkit says of itself; `label_kernel` is the label's word where that is another one."""

    release: ToolkitRelease
    label_kernel: str


def read_toolkit(registry: Registry, reference: Reference, arch: str) -> ToolkitFacts:
    """Kernel, RT kernel and RHEL version of the toolkit for `arch` (``x86_64``, ``aarch64``).

    Reads manifest, config, and layers from the last to the first until the file is found.

    Raises FoundryError ``toolkit-release-missing``, those of `tasks.formats.toolkit_release.parse`,
    ``manifest-…``, ``platform-missing``, ``layer-…``, and what `Registry.manifest` raises.
    """
    manifest = image_manifest(registry, reference, arch)
    if manifest.config.size > MAX_CONFIG:
        raise FoundryError(f"{reference}: its config has {manifest.config.size} bytes", reason="manifest-malformed")
    config = parse_config(registry.blob(reference.repository, manifest.config.digest, MAX_CONFIG))
    if config.architecture != OCI_ARCH[arch]:
        raise FoundryError(
            f"{reference} is for {config.architecture}, not for {OCI_ARCH[arch]}", reason="platform-missing",
            hint="correct the catalogue",
        )
    content = _release_file(registry, reference, manifest)
    try:
        release = toolkit_release.parse(content, arch)
    except FoundryError as error:
        raise FoundryError(
            f"{reference}: {error.message}", reason=error.reason,
            hint=error.hint or "it can't be compiled in: correct `dtk` in the catalogue, or tell who made the toolkit",
        ) from error
    label = config.labels.get(_KERNEL_LABEL, "")
    return ToolkitFacts(release, "" if _same_kernel(label, release.kernel, arch) else label)


def image_manifest(registry: Registry, reference: Reference, arch: str) -> Manifest:
    """The manifest of one platform, through an index where there is one."""
    wanted = reference.digest or reference.tag
    for _ in range(2):
        fetched = registry.manifest(reference.repository, wanted)
        document = parse_manifest(fetched.data, fetched.media_type)
        if isinstance(document, Manifest):
            return document
        wanted = _platform(document, arch, reference)
    raise FoundryError(f"{reference} is an index of indexes", reason="manifest-unsupported")


def _platform(index: Index, arch: str, reference: Reference) -> str:
    entry = choose(index, OCI_ARCH[arch])
    if entry.size > MAX_MANIFEST:
        raise FoundryError(f"{reference}: its manifest has {entry.size} bytes", reason="manifest-malformed")
    return entry.digest


def _release_file(registry: Registry, reference: Reference, manifest: Manifest) -> bytes:
    def look(chunks: Iterator[bytes]) -> Found:
        found = layers.look(chunks, toolkit_release.PATH)
        if found.kind is not layers.FILE:
            for _ in chunks:  # to the end, where the digest is compared: what is missing is as good as what is there
                pass
        return found

    for layer in reversed(manifest.layers):
        if layer.foreign:
            raise FoundryError(f"{reference} has a layer that its registry does not keep", reason="layer-foreign")
        found = read_layer(registry, reference.repository, layer, look)
        if found.content is not None:
            return found.content
        if found.kind is layers.HIDDEN:
            break
    raise FoundryError(
        f"{reference} has no /{toolkit_release.PATH}", reason="toolkit-release-missing",
        hint="is it a driver toolkit? Correct `dtk` in the catalogue",
    )


def _same_kernel(label: str, kernel: str, arch: str) -> bool:
    return label.strip() in ("", kernel, kernel.removesuffix(f".{arch}"))
