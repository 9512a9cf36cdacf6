"""Which kernels releases have, and which of them a driver serves, by the catalogue and the ledgers that are here."""

from __future__ import annotations

from collections import defaultdict

from foundry.config.catalogue import DEFAULT
from foundry.plan.ledger import Ledger
from foundry.release.unbuilt import unbuilt_of, withdrawn
from foundry.run.context import Foundry
from foundry.site.advise import Coverage


def coverage_of(foundry: Foundry, ledger: Ledger, arch: str, flavour: str = DEFAULT) -> Coverage:
    """A driver's coverage of an architecture and flavour; no network request."""
    kernels: dict[str, dict[str, None]] = defaultdict(dict)
    why: dict[str, str] = {}
    for entry in foundry.config.catalogue:
        kernel, served = entry.kernel_of(flavour), entry.on_nodes(flavour)
        if entry.arch != arch or not served:
            continue
        if served != kernel:
            why[served] = f"the toolkit of {entry.version} is for {kernel}, its nodes have {served}"
        kernels[entry.version][served] = None
    refused = withdrawn(foundry, ledger)
    images = {row.kernel for row in ledger.rows.values() if row.arch == arch and row.registries
              and row.digest not in refused}
    for one, _ in unbuilt_of(foundry, ledger):
        why.setdefault(one.kernel, one.why)
    wanted = {cell.kernel for cell in foundry.states.plan.by_driver.get(ledger.driver, ()) if cell.arch == arch}
    for names in kernels.values():
        for kernel in names:
            if kernel not in images:
                why.setdefault(kernel, "not published yet" if kernel in wanted else "the matrix does not want it")
    return Coverage({name: tuple(found) for name, found in kernels.items()}, frozenset(images), why)
