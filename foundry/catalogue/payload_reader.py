"""What an OpenShift release is made of, and the kernel of its nodes, by a few small requests."""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.catalogue.toolkit_reader import image_file
from foundry.formats.openshift import image_references, node_image
from foundry.formats.openshift.image_references import Payload
from foundry.registry.client import Registry
from foundry.registry.images import image_config, image_manifest


def read_payload(registry: Registry, reference: Reference, arch: str) -> Payload:
    """The toolkits (and node images) of a release image, by its manifest and its last layer, which is read whole.

    What stands there decides which toolkit compiles, so nothing of it is used before the layer's digest was compared.

    Raises FoundryError ``payload-malformed``, ``payload-without-toolkit``, ``payload-without-references``,
    and what reading images raises.
    """
    manifest = image_manifest(registry, reference, arch)
    data = image_file(registry, reference, manifest, image_references.PATH, max_bytes=image_references.MAX_BYTES,
                      proven=True)
    if data is None:
        raise FoundryError(
            f"{reference} has no /{image_references.PATH}", reason=Reason.PAYLOAD_WITHOUT_REFERENCES,
            hint="is it a release image of OpenShift? `releases.exclude` leaves a release out",
        )
    try:
        return image_references.parse(data)
    except FoundryError as error:
        raise FoundryError(f"{reference}: {error.message}", reason=error.reason, hint=error.hint) from error


def read_node_kernel(registry: Registry, reference: Reference, arch: str) -> str:
    """The kernel of a node image; empty when it does not say."""
    manifest = image_manifest(registry, reference, arch)
    labels = image_config(registry, reference, manifest).labels
    kernel = node_image.kernel_of_labels(labels, arch)
    if kernel or not node_image.has_packages(labels):
        return kernel
    data = image_file(registry, reference, manifest, node_image.PATH, max_bytes=node_image.MAX_BYTES, layers_read=1)
    return node_image.kernel_of_packages(data, arch) if data is not None else ""
