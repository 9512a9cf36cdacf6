"""A time by which several steps must be done, all of them together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason


@dataclass
class Deadline:
    """`seconds` from now on for `what`; `hint` says how to have more."""

    what: str
    seconds: float
    hint: str
    log: Path | None = None
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds that are left; FoundryError ``timeout`` where none are."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    @property
    def is_over(self) -> bool:
        """Whether none are left."""
        return time.monotonic() >= self.until

    def missed(self) -> FoundryError:
        """The error of a step that was not done in time."""
        return FoundryError(f"{self.what} took longer than {self.seconds:g} s and was ended", reason=Reason.TIMEOUT,
                            hint=self.hint, log=self.log, retry=True)
