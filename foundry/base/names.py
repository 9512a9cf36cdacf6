"""Names that enter or leave this project: kernels, image tags, container names, task names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_MODULE = re.compile(r"[A-Za-z0-9_]{1,64}")  # 64 - sizeof(unsigned long): kernel, include/linux/moduleparam.h
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._-]")
_KERNEL = re.compile(r"[0-9]+\.[0-9]+[0-9A-Za-z._+~-]*")
KERNEL_LIMIT = 100  # characters
TAG_LIMIT = 128  # OCI distribution specification: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
ADOPTED_LABEL = "kmod-foundry.adopted"  # the label of an image that others built: the digest that it had
DEPENDS_LABEL = "kmod-foundry.depends"  # the label with the kernel's own modules that an image's need, if any
KEY_LABEL = "kmod-foundry.key"  # the label of an image that has its key
RESIGNED_LABEL = "kmod-foundry.resigned"  # the label of an image whose modules others signed: the digest that it had
SIGNATURE_LABELS = {  # the labels of an image with signed modules, by what a ledger calls them
    "signer": "kmod-foundry.signer", "certificate": "kmod-foundry.certificate", "hash": "kmod-foundry.signature-hash",
}
OCI_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}  # uname -m → OCI architecture

# What kernels end in, and the machine that it means: RPM's names, and Debian's.
_SUFFIXES = {
    ".x86_64": "x86_64", ".aarch64": "aarch64", ".ppc64le": "ppc64le", ".s390x": "s390x",
    "-amd64": "x86_64", "-arm64": "aarch64",
}

# Files of a release.
LEDGER_FILE = "images.json"
LEDGER_BUNDLE = "images.json.sigstore.json"  # its signature
TABLES_FILE = "images.md"  # the long tables of notes that would not fit
CHECKSUMS_FILE = "SHA256SUMS"
CHECKSUMS_BUNDLE = "SHA256SUMS.sigstore.json"  # its signature
ATTESTATIONS_FILE = "attestations.sigstore.jsonl"  # signed statements about images, a bundle a line
BUNDLE_FILE = "kmm.tar.gz"  # Kubernetes manifests
VERIFY_FILE = "verify.tar.gz"  # what users verify images with
SIGNING_FILE = "module-signing.der"  # the certificate that modules are signed with; in images below /licenses


def depends_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The kernel's own modules that an image's need, by its label; a word that names no module is left out."""
    return tuple(sorted({name for name in labels.get(DEPENDS_LABEL, "").split() if _MODULE.fullmatch(name)}))


def signature_labels(facts: Mapping[str, str]) -> dict[str, str]:
    """The labels that say who signed an image's modules."""
    return {label: facts[name] for name, label in SIGNATURE_LABELS.items()}


def signature_of(labels: Mapping[str, str]) -> dict[str, str] | None:
    """Who signed an image's modules, by its labels; None where nobody did."""
    found = {name: labels.get(label, "") for name, label in SIGNATURE_LABELS.items()}
    return found if all(found.values()) else None


def cell_name(driver: str, kernel: str) -> str:
    """The name of a cell: of its folder and of its tasks."""
    return f"{driver}-{kernel}"


def image_tag(driver: str, kernel: str) -> str:
    """``<driver>-<kernel>`` with every character that a tag can't hold as ``_``."""
    return tag_of(cell_name(driver, kernel))


def tag_of(text: str) -> str:
    """The text with every character that a tag can't hold as ``_``."""
    return _NOT_IN_TAGS.sub("_", text)[:TAG_LIMIT]


def is_kernel(text: str) -> bool:
    """Whether `text` can be a kernel as ``uname -r`` prints it: the rule of schemas/common.schema.json."""
    return len(text) <= KERNEL_LIMIT and ".." not in text and _KERNEL.fullmatch(text) is not None


def kernel_arch(kernel: str) -> str:
    """The architecture in a kernel's name, or an empty string."""
    name = kernel.partition("+")[0]
    # `+` also stands in Debian's versions (6.12.5+deb12-cloud-amd64), before the suffix
    return next((arch for end, arch in _SUFFIXES.items() if kernel.endswith(end) or name.endswith(end)), "")


def kernel_tag(kernel: str) -> str:
    """The tag of what belongs to a kernel whatever the architecture: its name without that."""
    name, plus, variant = kernel.partition("+")
    for end in _SUFFIXES:
        if kernel.endswith(end):
            return tag_of(kernel.removesuffix(end))
        if name.endswith(end):
            return tag_of(f"{name.removesuffix(end)}{plus}{variant}")
    return tag_of(kernel)


def near(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that says what may have been meant; empty where nothing is like it."""
    from difflib import get_close_matches

    found = get_close_matches(word, sorted(set(known)), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(found)}?" if found else ""
