"""What `doit release` left in a clone."""

from __future__ import annotations

import json
from typing import Any

from tests.harness.clone import Clone

DRIVERS = ("2.16.7.0", "2.22.2.0")  # of tests.conftest.MATRIX


def files_of(clone: Clone, driver: str) -> dict[str, bytes]:
    """A driver's release as files: what users are given, by name."""
    folder = clone.build / "release" / driver
    ours = (".log", "notes.json", "stored.json")
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(ours)}


def ledger(clone: Clone, driver: str) -> dict[str, Any]:
    """A driver's ledger."""
    found: dict[str, Any] = json.loads((clone.build / "release" / driver / "images.json").read_bytes())
    return found


def written(clone: Clone) -> dict[str, int]:
    """Every file of the checkout, with the time at which it was last written."""
    return {
        str(path.relative_to(clone.root)): path.stat().st_mtime_ns for path in clone.root.rglob("*")
        if path.is_file() and path.name not in (".audit", ".run.lock")
    }
