"""Bytes that go over the network, counted where sockets are read and written, and noted for the task they are for.

Counted: what this process sends and receives over HTTP, headers with it, before TLS adds its own, attempts that failed
too (`foundry.net.connection`); what podman pulls, by the sizes of the blobs it had to get (`foundry.podman.store`).
Not counted: botocore's few kilobytes when AWS is asked for an account or a token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from operator import add

_KILO = 1000.0


@dataclass(frozen=True)
class Traffic:
    """Bytes received, sent and pulled by podman; `unknown` counts pulls of which nobody says how large they were."""

    received: int = 0
    sent: int = 0
    pulled: int = 0
    unknown: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*map(add, astuple(self), astuple(other)))

    def __bool__(self) -> bool:
        return any(astuple(self))


NOTHING = Traffic()


class Meter:
    """Counts traffic. Safe to use from several threads."""

    def __init__(self) -> None:
        self._now = NOTHING
        self._lock = threading.Lock()

    def count(self, more: Traffic) -> None:
        """Add to what was counted."""
        with self._lock:
            self._now += more

    def read(self) -> Traffic:
        """What was counted until now."""
        with self._lock:
            return self._now


TOTAL = Meter()  # of this process
_meter: ContextVar[Meter] = ContextVar("_meter", default=TOTAL)


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter for what goes over the network in the block, and in threads that were given its context."""
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def count(*, received: int = 0, sent: int = 0, pulled: int = 0, unknown: int = 0) -> None:
    """Note bytes, for the process and for the task at hand."""
    more = Traffic(received, sent, pulled, unknown)
    TOTAL.count(more)
    meter = _meter.get()
    if meter is not TOTAL:
        meter.count(more)


def size(number: int) -> str:
    """Bytes for people, in powers of 1000: ``0 B``, ``1.5 kB``, ``2.0 GB``."""
    if number < _KILO:
        return f"{number} B"
    amount = float(number)
    for unit in ("kB", "MB"):
        amount /= _KILO
        if round(amount, 1) < _KILO:
            return f"{amount:.1f} {unit}"
    return f"{amount / _KILO:.1f} GB"
