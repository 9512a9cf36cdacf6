"""Why a cell is in its state: a slug for machines, words for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Why:
    """Why something is as it is: a slug for machines, words for people, the parts of the key that changed."""

    code: str
    text: str
    changed: tuple[str, ...] = ()


CURRENT = Why("up-to-date", "up to date")
NOT_BUILT = Why("not-built", "not built yet")
IN_LEDGER = Why("published", "in the ledger")
FORCED = Why("forced", "FORCE_BUILD is set")
