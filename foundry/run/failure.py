"""What is left of a failure: `failure.json` beside the stage's record, with the machine-readable reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError, from_os
from foundry.base.files import pretty_json, write_atomic
from foundry.plan.failures import FAILURE_FILE


@contextmanager
def noted(folder: Path, **facts: Any) -> Iterator[None]:
    """Note how the block fails, all that the error says besides `facts`; an older note goes."""
    failure = folder / FAILURE_FILE
    failure.unlink(missing_ok=True)
    try:
        yield
    except (FoundryError, OSError) as problem:
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = str(folder)  # a write to an open file does not say where
        error = problem if isinstance(problem, FoundryError) else from_os(problem)
        note: Mapping[str, Any] = {
            **facts, "reason": error.reason, "message": error.message, "hint": error.hint,
            "log": str(error.log or ""), "replay": error.replay, "retry": error.retry,
        }
        with suppress(OSError):  # on a full disk the failure itself is what matters
            write_atomic(failure, pretty_json(note))
        raise error from problem
