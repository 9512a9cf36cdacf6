"""What a ledger of elsewhere says of an image is a claim; here is what can be judged of it without a registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from foundry.plan.keys import key_of

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SKEW = timedelta(minutes=10)  # how far the clocks of machines may differ


def fault_of(row: Mapping[str, Any]) -> str:
    """Why no registry could make a row of a ledger true; empty when one could."""
    if row["key"] != key_of(row.get("key_inputs", {})):
        return "its key is not that of its inputs"
    return fault_of_time(row.get("published", ""))


def fault_of_time(text: str) -> str:
    """Why this can't be the time when an image was published: one to come would make a row win for ever."""
    try:
        when = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        when = None
    if when is None:
        return "it does not say when it was published"
    return "it was published in the future" if when > datetime.now(UTC) + _SKEW else ""
