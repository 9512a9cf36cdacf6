"""Reading lists and images for `doit toolkit` and `doit dtk:kernels`: in parallel, patiently, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import remove_stale
from foundry.base.parallel import Outcome, Pen, in_parallel
from foundry.base.reasons import Reason
from foundry.config.settings import Releases
from foundry.net.transport import RetryPolicy
from foundry.plan.catalogue import Release
from foundry.run.context import Foundry

_RETRIES = 4
_SECONDS_BETWEEN = 1.0  # lines of progress
# With these there is no use in going on with other images: the server or the way to it is the trouble.
_ENDS = frozenset({
    Reason.HTTP_UNREACHABLE, Reason.HTTP_TIMEOUT, Reason.HTTP_TRUNCATED, Reason.HTTP_FAILED, Reason.HTTP_404,
    Reason.HTTP_STATUS, Reason.HTTP_REDIRECT, Reason.HTTP_RANGE, Reason.HTTP_TOO_LARGE, Reason.REGISTRY_UNAUTHORIZED,
    Reason.REGISTRY_DENIED, Reason.REGISTRY_AUTH, Reason.REGISTRY_MALFORMED, Reason.CREDENTIALS_UNREADABLE,
    Reason.AWS_CREDENTIALS, Reason.AWS_DENIED, Reason.AWS_REGION, Reason.AWS_ACCOUNT, Reason.AWS_UNREACHABLE,
    Reason.AWS_FAILED,
})


@dataclass
class RefreshRun:
    """A run of one command: what it has read, and how long it may take."""

    foundry: Foundry
    started: float
    command: str  # as users write it
    pen: Pen = field(default_factory=Pen)
    done: int = 0
    jobs: int = 0
    told: float = 0.0
    results: dict[Any, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Releases:
        """Those of `releases`."""
        return self.foundry.settings.releases

    @property
    def policy(self) -> RetryPolicy:
        """Of one server: the threads share its pauses, and all ends at the time limit."""
        seconds = self.foundry.settings.network_timeout
        until = self.started + self.settings.timeout
        return RetryPolicy(retries=_RETRIES, total=seconds, pause=seconds, until=until)

    @contextmanager
    def begun(self, log: Path) -> Iterator[None]:
        """The run, with a new log and answers beside it. Raises OutsideError that says when the time is over."""
        log.unlink(missing_ok=True)
        for folder in (log.parent, log.parent / "answers"):
            remove_stale(folder)
        try:
            yield
        except OutsideError as error:
            raise self._late(error) from error
        finally:
            self.pen.close()

    def _late(self, error: OutsideError) -> OutsideError:
        """The error itself, or that the time is over."""
        if time.monotonic() < self.started + self.settings.timeout:
            return error
        return OutsideError(
            f"`doit {self.command}` takes longer than {self.settings.timeout} s"
            f" ({self.done} of {self.jobs} images read; last: {error.message})", reason=Reason.TOOLKIT_TIMEOUT,
            hint="nothing was changed; run it again, what was read is kept (or raise `releases.timeout`)",
            log=error.log, retry=True,
        )

    def read(self, jobs: Sequence[Any], work: Callable[[Any], Any]) -> None:
        """Do the jobs in parallel; what they give is in `results`. Raises their last error, which counts the others."""
        self.jobs = len(jobs)
        errors: list[FoundryError] = []
        for outcome in in_parallel(jobs, work, threads=self.settings.parallel, stopping=self.foundry.ending):
            if outcome.error is None:
                self.results[outcome.job] = outcome.value
            else:
                errors.append(outcome.error)
                if outcome.error.retry or outcome.error.reason in _ENDS:
                    break
            self._progress(outcome)
        if errors:
            errors[-1].message += f" (and {len(errors) - 1} more, see the log)" if errors[1:] else ""
            raise errors[-1]

    def _progress(self, outcome: Outcome[Any, Any]) -> None:
        self.done += 1
        now = time.monotonic()
        if self.foundry.verbosity and (now - self.told >= _SECONDS_BETWEEN or self.done == self.jobs):
            self.told = now
            name = outcome.job if isinstance(outcome.job, Release) else ""
            print(f"  read {self.done} of {self.jobs}  {name}".rstrip(), flush=True)
