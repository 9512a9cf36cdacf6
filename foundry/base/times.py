"""Times as records, labels and ledgers have them: ``2025-01-02T03:04:05Z``."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason

CLOCKS_DIFFER = timedelta(minutes=10)  # how far those of machines may
_OLDEST_PLAUSIBLE = 1_750_000_000  # June 2025: a clock before it can't judge today's signatures and ledgers
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def utc(when: datetime | float) -> str:
    """A time in UTC, to the second; a number is one of seconds since 1970. OverflowError beyond the year 9999."""
    moment = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    """This moment."""
    return utc(datetime.now(UTC))


def require_clock(said: float | None = None, who: str = "") -> None:
    """OutsideError ``clock`` where this machine's clock can't be right: years behind, or far from what `who` said.

    Times that are written go to other machines, and what they say is judged by ours.
    """
    here = time.time()
    fault = f"{who} it is {utc(said)}, and" if said is not None and abs(here - said) > CLOCKS_DIFFER.seconds else ""
    if fault or here < _OLDEST_PLAUSIBLE:
        raise OutsideError(f"{fault} by this machine's clock it is {utc(here)}".strip(), reason=Reason.CLOCK,
                           hint="set the clock (timedatectl set-ntp true)")


def parse_utc(text: str) -> datetime | None:
    """The time that a text of this form says; None for any other text, and for a time that there is not."""
    try:
        return datetime.fromisoformat(text) if _FORM.fullmatch(text) else None
    except ValueError:
        return None


def within_32_bits(seconds: int) -> int:
    """A time that a package says, in seconds since 1970, moved to the nearest that RPM's headers and locks can hold."""
    return min(max(0, seconds), (1 << 32) - 1)
