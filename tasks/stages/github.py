"""Stage github: a driver's release on GitHub, with its notes and assets."""

from __future__ import annotations

from tasks.stages.context import Foundry


def released_ledger(foundry: Foundry, driver: str) -> bytes | None:
    return None
