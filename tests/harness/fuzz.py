"""How many examples tests of properties try: few in the suite, many with `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import settings

FACTOR = int(os.environ.get("KMOD_FUZZ", "1"))


def load_profile() -> None:
    """For the tests that name no number of examples."""
    settings.register_profile("project", examples(100))
    settings.load_profile("project")


def examples(number: int) -> settings:
    """So many examples in the suite, without a limit on the time of one; none are kept between runs."""
    return settings(max_examples=number * FACTOR, deadline=None, database=None)
