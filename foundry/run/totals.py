"""What a run took as a whole, for `doit collect`: a small file that a shard's machine carries away."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from foundry.base.files import pretty_json, write_atomic
from foundry.net.traffic import Traffic
from foundry.podman.containers import SUMMARY
from foundry.run.context import Foundry

RUN_FILE = "run.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Totals:
    """Wall seconds of a run and the bytes that went over the network for it."""

    seconds: float
    traffic: Traffic

    def document(self) -> dict[str, Any]:
        """As `run.json` has it."""
        return {"schema": _SCHEMA, "seconds": round(self.seconds, 3), **asdict(self.traffic)}


def totals_of(document: Mapping[str, Any]) -> Totals:
    """What a checked document says."""
    traffic = {name: value for name, value in document.items() if name not in ("schema", "seconds")}
    return Totals(document["seconds"], Traffic(**traffic))


def leave_totals(foundry: Foundry, totals: Totals) -> None:
    """Write the file, where bytes are counted and something was done."""
    if os.environ.get(SUMMARY) and foundry.journal.entries:
        write_atomic(foundry.root / foundry.config.build / RUN_FILE, pretty_json(totals.document()))
