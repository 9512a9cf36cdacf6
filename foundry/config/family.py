"""One driver family, as its file and the profile describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foundry.config.patches import Patch

# What packages say where nobody wrote a licence down.
_NO_LICENSE = frozenset({"unknown", "none", "(none)", "noassertion"})


@dataclass(frozen=True, eq=False)
class Family:
    """One driver family with the profile's changes merged in (schemas/family.schema.json).

    Hashed by identity, so that what follows from a family alone can be found out once.
    `file` is where it is written down.
    """

    name: str
    data: Mapping[str, Any]
    patches: tuple[Patch, ...]
    file: str = ""

    def __getitem__(self, item: str) -> Any:
        return self.data[item]

    def source_root(self, driver: str) -> str:
        """The folder of the sources inside the package, or a pattern for it; empty: where dkms.conf is."""
        root: str = self.data["source"].get("root", "")
        return root.replace("{driver}", driver)

    def license_of(self, said: str) -> str:
        """A package's licence: what it says, else the family's; empty where neither knows one."""
        return str(self.data.get("license", "")) if said.strip().lower() in _NO_LICENSE else said

    @property
    def dkms(self) -> bool:
        """Whether the package's own ``dkms.conf`` says how it is made."""
        return bool(self.data["source"].get("dkms", False))
