"""Times as records, labels and ledgers have them: ``2025-01-02T03:04:05Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def utc(when: datetime | float) -> str:
    """A time in UTC, to the second; a number is one of seconds since 1970. OverflowError beyond the year 9999."""
    moment = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    """This moment."""
    return utc(datetime.now(UTC))


def parse_utc(text: str) -> datetime | None:
    """The time that a text of this form says; None for any other text, and for a time that there is not."""
    try:
        return datetime.fromisoformat(text) if _FORM.fullmatch(text) else None
    except ValueError:
        return None


def within_32_bits(seconds: int) -> int:
    """A time that a package says, in seconds since 1970, moved to the nearest that RPM's headers and locks can hold."""
    return min(max(0, seconds), (1 << 32) - 1)
