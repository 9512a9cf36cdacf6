"""What a package would do on a node besides its module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HostSideEffect:
    """One thing: what kind, where it stands in the package, and the line (empty for a file of the package)."""

    kind: str
    where: str
    text: str
