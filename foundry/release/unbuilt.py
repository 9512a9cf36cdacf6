"""The cells of a driver that can't be built, or whose kernels refuse what was built."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from foundry.base.reasons import INPUT_FAULTS, Reason
from foundry.cell.kit import NO_PROOF
from foundry.plan.cells import Cell
from foundry.plan.failures import read_failure
from foundry.plan.ledger import Ledger
from foundry.plan.state import FAILED
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.release.notes_text import Unbuilt

# Faults of the moment say nothing about whether a driver builds for a kernel.
_BUILD_FAULTS = INPUT_FAULTS | {
    Reason.MODULE_MISSING, Reason.MODULE_CHANGED, Reason.SOURCE_MISSING, Reason.SOURCE_CHANGED,
}
# What a boot fails of that will not be otherwise the next time.
_BOOT_FAULTS = frozenset({
    Reason.DOES_NOT_LOAD, Reason.DOES_NOT_UNLOAD, Reason.SIGNATURES_NOT_ENFORCED, *NO_PROOF,
})
_ADDRESS_OR_PATH = re.compile(r"(?P<address>https?://\S+)|(?<![\w.])/(?:[\w.@+-]+/)+")


def unbuilt_of(foundry: Foundry, ledger: Ledger) -> Iterable[tuple[Unbuilt, str]]:
    """The cells that failed, each with the stage that it failed of."""
    from foundry.release.notes_text import Unbuilt

    for cell in foundry.states.plan.by_driver.get(ledger.driver, ()):
        state = foundry.states.of(cell)
        failure, withdrawn = state.failure if state.state == FAILED else None, ""
        if state.adopted and not state.proven and state.key is not None and state.row is not None:
            # Published before proofs were wanted; a boot said no since.
            failure = read_failure(foundry.cell_folder(cell), state.key.key)
            withdrawn = state.row.digest
        if failure is None or failure.get("retry"):
            continue
        stage = str(failure.get("stage", ""))
        if Reason(failure["reason"]) in (_BOOT_FAULTS if stage == "boot" else () if withdrawn else _BUILD_FAULTS):
            why = _why(cell, str(failure.get("message", "")))
            yield Unbuilt(cell.kernel, cell.releases, why, (cell.kernel, cell.arch) in ledger.rows, withdrawn), stage


def _why(cell: Cell, message: str) -> str:
    """The first line of a failure, without the cell's name and without paths of this machine."""
    line = next(iter(message.splitlines()), "").removeprefix(f"{cell.name} ")
    return _ADDRESS_OR_PATH.sub(lambda match: match["address"] or "", line)


def withdrawn(foundry: Foundry, ledger: Ledger) -> frozenset[str]:
    """The digests of published images that a boot has refused since."""
    return frozenset(one.withdrawn for one, _ in unbuilt_of(foundry, ledger) if one.withdrawn)
