"""Images in podman's local store: pulled once, removed when nobody needs them.

Only images that a run of ours pulled are ever removed; what was there before
stays. What was pulled is remembered in a file, so that a killed run's images go
with the next one.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

from tasks.core.files import pretty_json, read_json, write_atomic
from tasks.services.podman import Engine


class LocalImages:
    """Images by digest, shared by all stages of a run. Safe to use from several threads."""

    def __init__(self, engine: Engine, remembered: Path) -> None:
        self.engine = engine
        self.remembered = remembered
        found = read_json(remembered)
        self._pulled: set[str] = set(found) if isinstance(found, list) else set()
        self._present: set[str] = set()
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def need(self, reference: str, log: Path) -> None:
        """Have the image in the local store; FoundryError when its registry can't give it."""
        with self._lock:
            lock = self._locks[reference]
        with lock:
            if reference in self._present:
                return
            if not self.engine.has_image(reference):
                self._remember(reference, pulled=True)
                self.engine.pull(reference, log=log)
            self._present.add(reference)

    def drop(self, reference: str) -> None:
        """Remove the image if a run of ours pulled it."""
        with self._lock:
            lock = self._locks[reference]
        with lock:
            if reference not in self._pulled:
                return
            self._present.discard(reference)
            if self.engine.remove_image(reference) or not self.engine.has_image(reference):
                self._remember(reference, pulled=False)

    def need_again(self, reference: str, log: Path) -> None:
        """As `need`, for an image that somebody else removed since."""
        self._present.discard(reference)
        self.need(reference, log)

    def pulled(self) -> list[str]:
        """What runs of ours have pulled and not yet removed."""
        return sorted(self._pulled)

    def _remember(self, reference: str, *, pulled: bool) -> None:
        with self._lock:
            (self._pulled.add if pulled else self._pulled.discard)(reference)
            write_atomic(self.remembered, pretty_json(sorted(self._pulled)))
