"""One kernel module of a driver."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True)
class Module:
    """A module: its name as `lsmod` shows it, its path in the built tree, its folder below ``/lib/modules/KERNEL``."""

    name: str
    file: str
    destination: str

    @property
    def base(self) -> str:
        """The file's own name."""
        return posixpath.basename(self.file)

    @property
    def installed(self) -> str:
        """The path below ``/lib/modules/KERNEL``."""
        return posixpath.join(self.destination, self.base)
