"""Jobs in a bounded number of threads; who waits for them can be stopped while they wait for a network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

T = TypeVar("T")
R = TypeVar("R")
_LOOK = 0.1  # seconds


class Pen:
    """Lets threads write files as long as somebody wants them: once it is put down, no write is begun or half-done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write in here; FoundryError ``interrupted`` when nobody waits for it any more."""
        with self._lock:
            if self._down:
                raise FoundryError("interrupted", reason=Reason.INTERRUPTED)
            yield

    def close(self) -> None:
        """Wait for the write that is being done; there is none after it."""
        with self._lock:
            self._down = True


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """How a job ended: with a value, or with an error."""

    job: T
    value: R | None
    error: FoundryError | None


def in_parallel(
    jobs: Sequence[T], work: Callable[[T], R], *, threads: int, stopping: threading.Event,
) -> Iterator[Outcome[T, R]]:
    """The jobs' outcomes as they end; ends early when it is closed or `stopping` is set.

    No more than `threads` are worked on at once. The threads are daemons: a process that is to end does not wait
    for a server. What they send and receive counts for the caller. A defect of ours in a job is raised here.
    """
    waiting, done = queue.SimpleQueue[T](), queue.SimpleQueue[Outcome[T, R] | BaseException]()
    ended = threading.Event()
    for job in jobs:
        waiting.put(job)

    def loop() -> None:
        while not (ended.is_set() or stopping.is_set()):
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            done.put(_tried(job, work))

    for _ in range(min(threads, len(jobs))):
        threading.Thread(target=copy_context().run, args=[loop], daemon=True).start()
    try:
        for _ in jobs:
            outcome = _next(done, stopping)
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        ended.set()


def _tried(job: T, work: Callable[[T], R]) -> Outcome[T, R] | BaseException:
    try:
        return Outcome(job, work(job), None)
    except FoundryError as error:
        return Outcome(job, None, error)
    except BaseException as error:
        return error


def _next(
    done: queue.SimpleQueue[Outcome[T, R] | BaseException], stopping: threading.Event
) -> Outcome[T, R] | BaseException:
    while True:
        try:
            return done.get(timeout=_LOOK)
        except queue.Empty:
            if stopping.is_set():
                raise FoundryError("interrupted", reason=Reason.INTERRUPTED) from None
