"""The catalogue: which toolkit and kernels each release has; and the kernel list, which names no toolkits.

The classes are schemas/catalogue.schema.json and schemas/kernels.schema.json, field by field and in the order in
which an entry is written. An empty field is one that the file does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry.base.versions import is_real_time

# Which field of an entry has the kernel, by the matrix's word for it.
DEFAULT = "default"
FLAVOURS = {DEFAULT: "kernel", "rt": "rt_kernel"}
Place = tuple[str, str]  # release and architecture


@dataclass(frozen=True)
class CatalogueEntry:
    """A release for an architecture, and for one of its streams where it has several.

    `dtk` and `payload` are references by digest; `node_kernel` is what the release's nodes have, and `mismatch` says
    that the toolkit is for another one.
    """

    version: str
    arch: str
    dtk: str = ""
    kernel: str = ""
    rt_kernel: str = ""
    rhel: str = ""
    stream: str = ""
    payload: str = ""
    node_kernel: str = ""
    mismatch: bool = False

    @property
    def place(self) -> Place:
        """Release and architecture."""
        return self.version, self.arch

    def kernel_of(self, flavour: str) -> str:
        """The toolkit's kernel of a flavour; empty where it has none."""
        return self.kernels.get(flavour, "")

    def on_nodes(self, flavour: str = DEFAULT) -> str:
        """The kernel of a flavour that the release's nodes have, which a mismatch says is not the toolkit's."""
        differs = flavour == DEFAULT and self.mismatch and self.node_kernel
        return self.node_kernel if differs else self.kernel_of(flavour)

    @property
    def kernels(self) -> dict[str, str]:
        """The toolkit's kernels by flavour; what can't be the name of a real-time kernel is none."""
        found = {flavour: kernel for flavour, name in FLAVOURS.items() if (kernel := getattr(self, name))}
        return {flavour: kernel for flavour, kernel in found.items()
                if flavour == DEFAULT or is_real_time(kernel, self.kernel)}


@dataclass(frozen=True)
class KernelList:
    """The kernels of the releases' nodes, and by name the bases of their toolkits: `digest` and `created`."""

    bases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    releases: tuple[CatalogueEntry, ...] = ()

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> KernelList:
        """From a checked document."""
        return KernelList(document["bases"], entries_of(document["releases"]))


def entries_of(documents: Iterable[Mapping[str, Any]]) -> tuple[CatalogueEntry, ...]:
    """The entries of a checked document."""
    return tuple(CatalogueEntry(**one) for one in documents)
