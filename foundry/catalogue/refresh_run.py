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
_MOST_IN_A_ROW = 3  # such errors, with no image read between them
# What one image is or lacks: the release is left out. Anything else, such as a digest or a signature that is wrong,
# means that somebody else's bytes arrive, and ends the refresh.
_OF_ONE_IMAGE = frozenset({
    Reason.IMAGE_MISSING, Reason.MANIFEST_MALFORMED, Reason.MANIFEST_UNSUPPORTED, Reason.IMAGE_CONFIG_MALFORMED,
    Reason.PLATFORM_MISSING, Reason.LAYER_MALFORMED, Reason.LAYER_TOO_LARGE, Reason.LAYER_FILE_TOO_LARGE,
    Reason.LAYER_NOT_A_FILE, Reason.LAYER_FOREIGN, Reason.PAYLOAD_MALFORMED, Reason.PAYLOAD_WITHOUT_REFERENCES,
    Reason.PAYLOAD_WITHOUT_TOOLKIT, Reason.NODE_KERNEL_UNKNOWN, Reason.TOOLKIT_RELEASE_MISSING,
    Reason.TOOLKIT_RELEASE_MALFORMED, Reason.TOOLKIT_KERNEL_INVALID, Reason.TOOLKIT_WRONG_ARCH,
    Reason.TOOLKIT_NOT_PUBLISHED, Reason.SIGNATURE_MISSING,
})
_UNCHANGED = "nothing was changed"
_SHOWN = 20  # releases that are left out, by name


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
    left_out: dict[Any, FoundryError] = field(default_factory=dict)

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
        if not self._is_late:
            return error
        return OutsideError(
            f"`doit {self.command}` takes longer than {self.settings.timeout} s"
            f" ({self.done} of {self.jobs} images read; last: {error.message})", reason=Reason.TOOLKIT_TIMEOUT,
            hint="nothing was changed; run it again, what was read is kept (or raise `releases.timeout`)",
            log=error.log, retry=True,
        )

    def read(self, jobs: Sequence[Any], work: Callable[[Any], Any]) -> None:
        """Do the jobs in parallel; `results` has what they give, `left_out` releases and toolkits that can't be read.

        Raises the error that makes going on useless, or what is read not to be trusted.
        """
        self.jobs = len(jobs)
        in_a_row, read = 0, len(self.results)
        for outcome in in_parallel(jobs, work, threads=self.settings.parallel, stopping=self.foundry.ending):
            error, job = outcome.error, outcome.job
            if error is None:
                self.results[job], in_a_row = outcome.value, 0
            else:
                of_the_way = error.retry or error.reason in _ENDS
                in_a_row += of_the_way
                self.left_out[job] = error
                if not (of_the_way or error.reason in _OF_ONE_IMAGE) or not _may_be_left_out(job) \
                        or in_a_row == _MOST_IN_A_ROW or self._is_late:
                    raise self._counted(error)
            self._progress(outcome)
        if in_a_row and len(self.results) == read:
            raise self._counted(next(reversed(self.left_out.values())))

    def warn_of_left_out(self) -> None:
        """Say which releases the refresh lacks. Raises FoundryError ``releases-left-out`` where there are any."""
        if not self.left_out:
            return
        names = [_name(job) for job in self.left_out]
        for name, error in list(zip(names, self.left_out.values(), strict=True))[:_SHOWN]:
            why, known = error.message.removeprefix(f"{name}: "), "releases.exclude" in error.hint
            self.foundry.journal.warn(f"{name} is left out of this refresh: {why} ({error.hint}"
                                      f"{'' if known else '; `releases.exclude` leaves it out for good'})")
        first = next(iter(self.left_out.values()))
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
        raise FoundryError(
            f"{shown}: left out of this refresh, all else is up to date", reason=Reason.RELEASES_LEFT_OUT,
            hint=f"what was known of them before stays; run `doit {self.command}` again, or see `releases.exclude`",
            log=first.log)

    @property
    def _is_late(self) -> bool:
        return time.monotonic() >= self.started + self.settings.timeout

    def _counted(self, error: FoundryError) -> FoundryError:
        more = len(self.left_out) - 1
        error.message += f" (and {more} more, see the log)" if more else ""
        if not error.hint.startswith(_UNCHANGED):
            error.hint = "; ".join(filter(None, (_UNCHANGED, error.hint)))
        return error

    def _progress(self, outcome: Outcome[Any, Any]) -> None:
        self.done += 1
        now = time.monotonic()
        if self.foundry.verbosity and (now - self.told >= _SECONDS_BETWEEN or self.done == self.jobs):
            self.told = now
            name = outcome.job if isinstance(outcome.job, Release) else ""
            print(f"  read {self.done} of {self.jobs}  {name}".rstrip(), flush=True)


def _may_be_left_out(job: Any) -> bool:
    """A release or the toolkit of one; without a base nothing can be built."""
    return isinstance(job, Release | tuple)


def _name(job: Any) -> str:
    return str(job) if isinstance(job, Release) else " ".join(job)
