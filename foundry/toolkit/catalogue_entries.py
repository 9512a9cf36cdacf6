"""Custom toolkits in the catalogue (`releases.toolkits: custom`): by the kernel of the nodes, from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.versions import named_rhel_release
from foundry.config.catalogue import CatalogueEntry
from foundry.plan.toolkit_ledger import ToolkitLedger
from foundry.run.context import Foundry
from foundry.toolkit import remote
from foundry.toolkit.state import read_ledger


@dataclass(frozen=True)
class PublishedToolkits:
    """The published toolkits, named by digest."""

    ledger: ToolkitLedger

    @classmethod
    def of(cls, foundry: Foundry) -> PublishedToolkits | None:
        """None where the catalogue names the releases' own. Raises ConfigError, and what the registry raises."""
        if foundry.settings.releases.toolkits != "custom":
            return None
        place = remote.require_target(foundry).name
        remote.have_ledger(foundry)
        rows = read_ledger(foundry).rows
        return cls(ToolkitLedger({kernel: row for kernel, row in rows.items() if row["registry"] == place}))

    def entry(self, node_entry: CatalogueEntry) -> CatalogueEntry:
        """The entry with the toolkit of its nodes' kernel. FoundryError ``toolkit-not-published``."""
        kernel = node_entry.kernel
        row = self.ledger.rows.get(kernel)
        if row is None:
            raise FoundryError(
                f"no toolkit of kernel {kernel} is published", reason=Reason.TOOLKIT_NOT_PUBLISHED,
                hint=f"`doit dtk:publish:{kernel}` publishes it, `doit dtk:kernels` then"
                     " `doit dtk:publish` those of all releases; `releases.exclude` leaves a release out",
            )
        return replace(
            node_entry, dtk=f"{row['registry']}@{row['digest']}", rt_kernel=row.get("rt_kernel", ""),
            rhel=named_rhel_release(kernel), node_kernel=kernel,
        )

    def has(self, entries: Sequence[CatalogueEntry]) -> bool:
        """Whether the entries name the toolkits that are published for their kernels today."""
        rows = [self.ledger.rows.get(entry.kernel) for entry in entries]
        return all(row is not None and entry.dtk == f"{row['registry']}@{row['digest']}"
                   for entry, row in zip(entries, rows, strict=True))
