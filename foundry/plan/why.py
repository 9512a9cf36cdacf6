"""Why a cell is in its state: a reason for machines, words for people."""

from __future__ import annotations

from dataclasses import dataclass

from foundry.base.reasons import Reason


@dataclass(frozen=True)
class Why:
    """Why something is as it is: a reason for machines, words for people, the parts of the key that changed."""

    code: Reason
    text: str
    changed: tuple[str, ...] = ()


CURRENT = Why(Reason.UP_TO_DATE, "up to date")
NOT_BUILT = Why(Reason.NOT_BUILT, "not built yet")
IN_LEDGER = Why(Reason.PUBLISHED, "in the ledger")
FORCED = Why(Reason.FORCED, "FORCE_BUILD is set")
NOT_FETCHED = Why(Reason.NOT_FETCHED, "not fetched yet")
NOT_PROVEN = Why(Reason.NOT_PROVEN, "not booted yet")
PUBLISHED_UNPROVEN = Why(Reason.NOT_PROVEN, "in the ledger, but never booted")
NO_CERTIFICATE = Why(Reason.CERTIFICATE_MISSING, "the certificate that modules are signed for is not there yet")
BASE_NOT_LOCKED = Why(Reason.BASE_NOT_LOCKED, "the base image is not locked yet")
