"""What YAML files said when they were last read, by content hash: reading YAML takes as long as all else of a config.

A file of no more than JSON can hold (`tasks.core.plain_yaml`) is kept as JSON; one that is faulty is read each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.core.files import canonical_json, read_json, sha256_bytes, write_atomic

_FORM = b"1 "  # another one where `parse_yaml` says something else of the same bytes
_KEPT = 40


class Parsed:
    """Documents of YAML files, kept in one file."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        found = read_json(kept)
        self._known: dict[str, Any] = found if isinstance(found, dict) else {}
        self._changed = False

    def yaml(self, content: bytes) -> Any:
        """The document; ValueError with one line on what is wrong."""
        name = sha256_bytes(_FORM + content)
        if name in self._known:
            return self._known[name]
        from tasks.core.plain_yaml import parse_yaml

        document = self._known[name] = parse_yaml(content)
        self._changed = True
        return document

    def keep(self) -> None:
        """Write the documents down if there are new ones."""
        if self._changed:
            newest = dict(list(self._known.items())[-_KEPT:])
            write_atomic(self.kept, canonical_json(newest))
            self._changed = False
