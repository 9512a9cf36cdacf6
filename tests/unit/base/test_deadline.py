"""One limit on time for several steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.deadline import Deadline
from foundry.base.errors import FoundryError


def test_what_is_left() -> None:
    some = Deadline("the work", 60, "raise it")
    assert 59 < some.left() <= 60 and not some.is_over
    over = Deadline("the work", 0, "raise it", Path("x.log"))
    assert over.is_over
    with pytest.raises(FoundryError, match="the work took longer than 0 s") as caught:
        over.left()
    assert (caught.value.reason, caught.value.hint, caught.value.retry) == ("timeout", "raise it", True)
