"""What is in a cell's image (CycloneDX 1.6, JSON): modules, firmware, BusyBox, and each further file by its hash.

The same image gives the same bytes: its number is made from the digest, its time is the image's own.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from foundry.base.files import parse_json, sha256_bytes
from foundry.formats.images.rootfs import Entry

if TYPE_CHECKING:
    from cyclonedx.model import ExternalReference
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

TYPE = "https://cyclonedx.org/bom"
BUSYBOX_LICENSE = "GPL-2.0-only"  # its LICENSE file
_MODULES, _FIRMWARE, _BUSYBOX = "opt/lib/modules/", "opt/lib/firmware/", ("bin/busybox", "usr/bin/busybox")
_SHA256 = "SHA-256"


@dataclass(frozen=True)
class Part:
    """Software in the image: `license` in SPDX's words or the package's own, `sources` are URL → SHA-256 (or empty).

    `kind` is that of its package URL (``rpm``, ``deb``, ``generic``).
    """

    name: str
    version: str
    license: str
    sources: Mapping[str, str]
    kind: str
    cpe: str = ""


@dataclass(frozen=True)
class Image:
    """The image: repository's last name, tag, digest, when it was created (``2025-01-02T03:04:05Z``), its files."""

    name: str
    tag: str
    digest: str
    created: str
    files: Mapping[str, Entry]


def predicate(image: Image, driver: Part, busybox: Part | None) -> Mapping[str, Any]:
    """The bill of materials. `driver` is where modules and firmware come from; `busybox` is None for another base."""
    from cyclonedx.output.json import JsonV1Dot6

    found: Mapping[str, Any] = parse_json(JsonV1Dot6(_bom(image, driver, busybox)).output_as_string().encode())
    return found


def file_hashes(bill: Mapping[str, Any]) -> set[str]:
    """The SHA-256 of each file that a bill of materials names."""
    return {one["content"] for part in bill.get("components", ()) for one in part.get("hashes", ())
            if one.get("alg") == _SHA256}


def _bom(image: Image, driver: Part, busybox: Part | None) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    version = image.digest
    itself = Component(
        name=image.name, version=version, type=ComponentType.CONTAINER, bom_ref=f"image@{version}",
        purl=PackageURL("oci", name=image.name, version=version, qualifiers={"tag": image.tag}),
    )
    bill = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, version), components=list(_components(image, driver, busybox)),
        metadata=BomMetaData(component=itself, timestamp=datetime.fromisoformat(image.created)),
    )
    bill.register_dependency(itself, bill.components)
    return bill


def _components(image: Image, driver: Part, busybox: Part | None) -> Iterator[Component]:
    """One for each content: BusyBox's programs are hundreds of names of one file."""
    from cyclonedx.model.component import ComponentType

    paths = defaultdict(list)
    for path, entry in image.files.items():
        if entry.kind == "file":
            paths[sha256_bytes(entry.content)].append(path)
    for digest, names in sorted(paths.items(), key=lambda one: min(one[1])):
        path = min(names)
        if busybox is not None and not {*names}.isdisjoint(_BUSYBOX):
            yield _component(busybox.name, path, digest, ComponentType.APPLICATION, busybox)
        elif path.startswith(_MODULES) and path.endswith(".ko"):
            name = path.rpartition("/")[2].removesuffix(".ko")
            yield _component(name, path, digest, ComponentType.DEVICE_DRIVER, driver)
        elif path.startswith(_FIRMWARE):
            yield _component(path.removeprefix(_FIRMWARE), path, digest, ComponentType.FIRMWARE, driver)
        else:
            yield _component(path, path, digest, ComponentType.FILE)


def _component(name: str, path: str, digest: str, kind: ComponentType, part: Part | None = None) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    component = Component(
        name=name, type=kind, bom_ref=path, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        properties=[Property(name="kmod-foundry:path", value=f"/{path}")],
    )
    if part is not None:
        component.version, component.cpe = part.version, part.cpe or None
        component.purl = PackageURL(part.kind, name=part.name, version=part.version)
        component.licenses.add(LicenseFactory().make_from_string(part.license))
        component.external_references.update(_sources(part.sources))
    return component


def _sources(sources: Mapping[str, str]) -> Iterator[ExternalReference]:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri

    for url, digest in sources.items():
        yield ExternalReference(
            type=ExternalReferenceType.SOURCE_DISTRIBUTION, url=XsUri(url),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else None)
