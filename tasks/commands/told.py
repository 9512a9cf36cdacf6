"""How every command ends: with its exit code, or with the sentence on what went wrong and the code of that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from foundry.base.errors import EXIT_INTERRUPTED, FoundryError, from_os
from tasks import session
from tasks.commands import workflow

P = ParamSpec("P")


def told(execute: Callable[P, int]) -> Callable[P, int]:
    """Say what a command raises that users can mend; stop what an interrupted one has started."""

    @wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return execute(*args, **kwargs)
        except (FoundryError, OSError) as problem:
            return tell(problem)
        except KeyboardInterrupt:
            one = session.opened()
            if one is not None:
                one.stop()
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED

    return wrapped


def tell(problem: FoundryError | OSError) -> int:
    """Say it on standard error, and where GitHub Actions shows it; the exit code."""
    error = problem if isinstance(problem, FoundryError) else from_os(problem)
    print(f"error: {error.render()}", file=sys.stderr)
    workflow.tell_fault(error)
    return error.exit_code
