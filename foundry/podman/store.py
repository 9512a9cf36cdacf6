"""Images in podman's local store: pulled once, removed when nobody needs them, never more than the disk may hold.

Only images that a run of ours pulled are ever removed; what was there before
stays. What was pulled is remembered in a file, so that a killed run's images go
with the next one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import pretty_json, read_json, write_atomic
from foundry.base.names import OCI_ARCH
from foundry.base.reasons import Reason
from foundry.net import traffic
from foundry.podman.engine import Engine

_GIB = 1 << 30
_LOOK_SECONDS = 1.0  # how often a thread that waits for room looks again


@dataclass(frozen=True)
class Stored:
    """Bytes of an image's blobs in its registry: each layer's, in order, and the config's."""

    layers: tuple[int, ...]
    config: int


class LocalImages:
    """Images by digest, shared by all stages of a run. Safe to use from several threads.

    `budget` is how many bytes the images that runs of ours pulled may take at once, 0 for no
    limit; `expected` says of an image that is not here how many it will take. Where `stored`
    says of an image what its registry has, what is pulled is counted (`foundry.net.traffic`).
    """

    def __init__(
        self, engine: Engine, remembered: Path, *, budget: int = 0, expected: Callable[[str], int] = lambda _: 0,
        stored: Callable[[str], Stored] | None = None,
    ) -> None:
        self.engine = engine
        self.remembered = remembered
        self.budget = budget
        self.expected = expected
        self.stored = stored
        found = read_json(remembered)
        self._pulled: set[str] = set(found) if isinstance(found, list) else set()
        self._present: set[str] = set()
        self._unneeded: set[str] = set()  # to be removed when nothing is pulled
        self._arches: dict[str, str] = {}
        self._users: Counter[str] = Counter()
        self._sizes: dict[str, int] | None = None
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def used(self, reference: str, arch: str, log: Path) -> Iterator[float]:
        """Have the image in the local store for the block; it may be removed after it to make room.

        Yields the seconds that it took to have it.

        Raises FoundryError when its registry can't give it (``image-…``), when it is for another
        architecture than `arch` (``image-wrong-platform``), or when the budget is too small for it
        alone (``max-disk``).
        """
        with self._lock:
            self._users[reference] += 1
        started = time.monotonic()
        try:
            self._need(reference, log)
            self._require(reference, OCI_ARCH[arch])
            yield time.monotonic() - started
        finally:
            with self._freed:
                self._users[reference] -= 1
                self._freed.notify_all()

    @contextmanager
    def kept(self, reference: str, log: Path) -> Iterator[None]:
        """Have the image in the local store for the block, in which no run removes one; raises as `used`."""
        while True:
            with self.engine.no_removals():
                if self.engine.has_image(reference):
                    yield
                    return
            self.refresh(reference, log)  # another checkout's run removed it since

    def drop(self, reference: str) -> None:
        """Remove the image if a run of ours pulled it; not while something is pulled or built, which that may disturb.

        Then it goes before the next pull of this run, or with a later `drop`.
        """
        with self._lock_of(reference):
            if not self._remove(reference, wait=False):
                self._unneeded.add(reference)

    def _drop_unneeded(self) -> None:
        """Remove what waited for others' pulls and builds; waits for them."""
        while True:
            with self._lock:
                if not self._unneeded:
                    return
                reference = self._unneeded.pop()
            with self._lock_of(reference):
                if not self._users[reference]:
                    self._remove(reference, wait=True)

    def _lock_of(self, reference: str) -> threading.Lock:
        with self._lock:
            return self._locks[reference]

    def refresh(self, reference: str, log: Path) -> None:
        """Have the image again, which somebody else removed since."""
        self._present.discard(reference)
        self._arches.pop(reference, None)
        self._need(reference, log)

    def pulled(self) -> list[str]:
        """What runs of ours have pulled and not yet removed."""
        return sorted(self._pulled)

    def _need(self, reference: str, log: Path) -> None:
        self._unneeded.discard(reference)
        if reference not in self._present:
            self._drop_unneeded()
        with self._lock_of(reference):
            if reference in self._present:
                return
            if not self.engine.has_image(reference):
                self._make_room(reference)
                self._remember(reference, pulled=True)
                try:
                    self._pull(reference, log)
                finally:
                    self._measure(reference)
            self._present.add(reference)

    def _pull(self, reference: str, log: Path) -> None:
        """Pull the image, and count the bytes of the blobs that were not here before."""
        before = set(self.engine.layers()) if self.stored is not None else set()
        self.engine.pull(reference, log=log)
        if self.stored is None:
            return
        try:
            stored, layers = self.stored(reference), self.engine.layers(reference)
            new = [size for layer, size in zip(layers, stored.layers, strict=True) if layer not in before]
            traffic.count(pulled=sum(new) + stored.config)
        except (FoundryError, ValueError):  # whatever it was, the image is here
            traffic.count(unknown=1)

    def _require(self, reference: str, wanted: str) -> None:
        """Under an index's digest podman's store has what was pulled last, for whatever architecture."""
        with self._lock:
            if not self._arches.get(reference):
                self._arches[reference] = self.engine.architecture_of(reference)
            found = self._arches[reference]
        if found and found != wanted:  # what somebody else removed meanwhile is had again when it is started
            raise FoundryError(
                f"{reference} is for {found}, not for {wanted}", reason=Reason.IMAGE_WRONG_PLATFORM,
                hint="correct the catalogue or the lock; if podman pulled it for another platform before,"
                     f" `podman image rm {reference}`",
            )

    def _remove(self, reference: str, *, wait: bool) -> bool:
        """Remove an image that a run of ours pulled; without `wait`, False where others pull or build.

        The lock is held for the removal alone: who holds it waits for no other lock.
        """
        if reference not in self._pulled:
            return True
        with self.engine.no_users(wait=wait) as alone:
            if not alone:
                return False
            self._present.discard(reference)
            self._arches.pop(reference, None)
            gone = self.engine.remove_image(reference) or not self.engine.has_image(reference)
        if gone:
            self._remember(reference, pulled=False)
        return True

    def _make_room(self, reference: str) -> None:
        """Remove images that nobody uses until this one fits; wait for those that are in use."""
        if not self.budget:
            return
        wanted = self.expected(reference)
        with self._freed:
            sizes = self._known_sizes()
            while sum(size for name, size in sizes.items() if name != reference) + wanted > self.budget:
                others = [name for name in sizes if name != reference]
                if not others:
                    raise FoundryError(
                        f"{reference} takes {wanted / _GIB:.1f} GiB, more than `max_disk` allows",
                        reason=Reason.MAX_DISK, hint=f"set `max_disk` to more than {wanted / _GIB:.1f}, or to 0",
                    )
                idle = [name for name in others if not self._users[name]]
                if idle:
                    self._remove(idle[0], wait=True)
                    sizes.pop(idle[0], None)
                else:
                    self._freed.wait(_LOOK_SECONDS)
            sizes[reference] = wanted  # nobody else plans with the same room while it is pulled

    def _measure(self, reference: str) -> None:
        if self.budget:
            with self._lock:
                self._known_sizes()[reference] = self.engine.size_of(reference)

    def _known_sizes(self) -> dict[str, int]:
        """Bytes of what runs of ours pulled and have here, the oldest first."""
        if self._sizes is None:
            self._sizes = {name: self.engine.size_of(name) for name in sorted(self._pulled)}
        return self._sizes

    def _remember(self, reference: str, *, pulled: bool) -> None:
        with self._freed:
            (self._pulled.add if pulled else self._pulled.discard)(reference)
            if not pulled and self._sizes is not None:
                self._sizes.pop(reference, None)
                self._freed.notify_all()
            write_atomic(self.remembered, pretty_json(sorted(self._pulled)))
