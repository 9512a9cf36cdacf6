"""How every command ends: with its exit code, or with the sentence on what went wrong and the code of that."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from foundry.base.errors import EXIT_INTERRUPTED, FoundryError, from_os
from tasks.commands import workflow

P = ParamSpec("P")


def told(execute: Callable[P, int]) -> Callable[P, int]:
    """Say what a command raises that users can mend, and that it was interrupted."""

    @wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return execute(*args, **kwargs)
        except (FoundryError, OSError) as problem:
            return tell(problem)
        except KeyboardInterrupt:
            return tell_interrupted()

    return wrapped


def heed_signals() -> None:
    """From now on SIGTERM and SIGHUP interrupt this process as Ctrl-C does.

    While it stops, only a further Ctrl-C counts: it ends the process at once, and the next run clears up.
    `nohup` has SIGHUP ignored, and the work goes on when the terminal closes.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    for further in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal sends two
        signal.signal(further, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    raise KeyboardInterrupt


def tell_interrupted() -> int:
    """Say it on standard error; the exit code."""
    print("interrupted; what was finished stays, run again to go on", file=sys.stderr)
    return EXIT_INTERRUPTED


def tell(problem: FoundryError | OSError) -> int:
    """Say it on standard error, and where GitHub Actions shows it; the exit code."""
    error = problem if isinstance(problem, FoundryError) else from_os(problem)
    print(f"error: {error.render()}", file=sys.stderr)
    workflow.tell_fault(error)
    return error.exit_code
