"""The ledger of toolkits: one row for each that is published, by kernel (whose name has the architecture).

Here it is a file, ``build/<profile>/dtk/ledger.json``; it lies beside the toolkits in their registry, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import pretty_json
from foundry.base.schema import ValidationCache
from foundry.base.versions import version_key
from foundry.plan.ledger import versioned_document

SCHEMA = 1

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ToolkitLedger:
    """The rows by kernel."""

    rows: Mapping[str, Row] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it is written: by kernel version; the same content gives the same bytes."""
        rows = sorted(self.rows.values(), key=lambda row: (version_key(row["kernel"]), row["kernel"]))
        return pretty_json({"schema": SCHEMA, "toolkits": rows})

    def with_row(self, row: Row) -> ToolkitLedger:
        """With a toolkit's new row."""
        return replace(self, rows={**self.rows, row["kernel"]: row})

    def merged(self, other: ToolkitLedger) -> ToolkitLedger:
        """All rows of both; of two for the same kernel the one that was published later."""
        rows = dict(self.rows)
        for kernel, row in other.rows.items():
            if kernel not in rows or rows[kernel]["published"] < row["published"]:
                rows[kernel] = row
        return replace(self, rows=rows)


def ledger_path(build: Path) -> Path:
    """Where it is, below ``build/<profile>``."""
    return build / "dtk" / "ledger.json"


def parse_toolkit_ledger(content: bytes, file: str, validation: ValidationCache) -> ToolkitLedger:
    """The checked ledger. Raises ConfigError for what is none, or one of a newer version: never "nothing published"."""
    document = versioned_document(content, file, SCHEMA)
    faults = validation.check("dtk-ledger", document, content, file)
    kernels = [row["kernel"] for row in document["toolkits"]] if not faults else []
    for kernel in sorted({kernel for kernel in kernels if kernels.count(kernel) > 1}):
        faults = [*faults, Fault(file, "$.toolkits", f"{kernel} is there twice")]
    if faults:
        raise ConfigError(faults)
    return ToolkitLedger({row["kernel"]: row for row in document["toolkits"]})
