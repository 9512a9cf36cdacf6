"""What a sandbox has made: each part with a hash of its inputs, written when the part is whole.

So a second `up` is free, a killed one goes on where it was, and a changed
stand-in touches no toolkit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foundry.base.files import canonical_json, pretty_json, read_json, sha256_bytes, write_atomic
from foundry.sandbox.daemons import registry_has


class Made:
    """The parts in ``made.json``; safe to use from several threads of the process that holds the sandbox's lock."""

    def __init__(self, file: Path, registry: Path) -> None:
        self.file = file
        self.registry = registry
        self._lock = threading.Lock()

    def known(self, name: str, inputs: object) -> Any | None:
        """The part's result, unless its inputs changed or what it names is gone from the registry or the disk."""
        entry = self._read().get(name)
        if entry is None or entry["inputs"] != _hash(inputs) or not self._there(entry["result"]):
            return None
        return entry["result"]

    def part(self, name: str, inputs: object, make: Callable[[], Any]) -> Any:
        """The part's result; made first if it is not known."""
        result = self.known(name, inputs)
        if result is None:
            result = make()
            with self._lock:
                entries = {**self._read(), name: {"inputs": _hash(inputs), "result": result}}
                write_atomic(self.file, pretty_json(entries))
        return result

    def _read(self) -> dict[str, Any]:
        found = read_json(self.file)
        return found if isinstance(found, dict) else {}

    def _there(self, result: dict[str, Any]) -> bool:
        for name in result.get("files", []):
            if not (self.file.parent / name).is_file():
                return False
        for reference in result.get("images", []):
            place, _, digest = reference.partition("@")
            if not registry_has(self.registry, place.partition("/")[2], digest):
                return False
        return True


def _hash(inputs: object) -> str:
    return sha256_bytes(canonical_json(inputs))
