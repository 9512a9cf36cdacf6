"""The kernel of a node image (RHCOS and its kin), from its labels or its list of packages.

Old images have the label ``com.coreos.rpm.kernel``, later ones ``ostree.linux``; that may be the literal
``true``. Images made of layers (``io.openshift.metalayer``) keep their packages in the last one
(openshift/os, Containerfile).
"""

from __future__ import annotations

from collections.abc import Mapping

from foundry.base.files import parse_json
from foundry.base.names import is_kernel
from foundry.formats.openshift.toolkit_release import completed

PATH = "usr/share/openshift/base/meta.json"
MAX_BYTES = 16 << 20
_LABELS = ("com.coreos.rpm.kernel", "ostree.linux")
_METALAYER = "io.openshift.metalayer"
_PACKAGES = ("kernel-core", "kernel")
_FIELDS = 5  # name, epoch, version, release, architecture


def kernel_of_labels(labels: Mapping[str, str], arch: str) -> str:
    """The kernel that the labels name, architecture included; empty when they name none."""
    for name in _LABELS:
        kernel = completed(labels.get(name, "").strip(), arch)
        if is_kernel(kernel):
            return kernel
    return ""


def has_packages(labels: Mapping[str, str]) -> bool:
    """Whether the last layer has the list of packages."""
    return labels.get(_METALAYER, "").strip().lower() == "true"


def kernel_of_packages(data: bytes, arch: str) -> str:
    """The kernel in the list of packages, ``rpmdb.pkglist``; empty when there is none."""
    try:
        document = parse_json(data)
    except ValueError:
        return ""
    rows = document.get("rpmdb.pkglist") if isinstance(document, dict) else None
    packages = {
        row[0]: f"{row[2]}-{row[3]}.{row[4]}" for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, list) and len(row) == _FIELDS and all(isinstance(part, str) for part in row)
    }
    kernel = next((packages[name] for name in _PACKAGES if name in packages), "")
    return kernel if is_kernel(kernel) and kernel.endswith(f".{arch}") else ""
