"""What a ledger of elsewhere says of an image is a claim; here is what can be judged of it without a registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from foundry.base.times import parse_utc
from foundry.plan.keys import key_of

_SKEW = timedelta(minutes=10)  # how far the clocks of machines may differ


def fault_of(key: str, key_inputs: Mapping[str, str], published: str) -> str:
    """Why no registry could make a row of a ledger true; empty when one could."""
    if key != key_of(key_inputs):
        return "its key is not that of its inputs"
    return fault_of_time(published)


def fault_of_time(text: str) -> str:
    """Why this can't be the time when an image was published: one to come would make a row win for ever."""
    when = parse_utc(text)
    if when is None:
        return "it does not say when it was published"
    return "it was published in the future" if when > datetime.now(UTC) + _SKEW else ""
