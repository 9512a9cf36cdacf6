"""Images that a machine pushed before it died, with their rows: found by their tags, adopted by their keys.

The label of an image has the key, so what is there under a cell's tag with today's key is what the
cell would be built to be. A list of tags says which cells are worth a look.
"""

from __future__ import annotations

from collections import defaultdict

from foundry.ledger import ledgers, publish
from foundry.plan.cells import Cell
from foundry.plan.rows import Row
from foundry.plan.state import CellState
from foundry.run.context import Foundry


def adopt_orphans(foundry: Foundry) -> list[str]:
    """Put rows of pending cells into the ledgers whose images all targets have; the cells' names.

    Makes no network request where no cell is pending. Raises what reading from the registries raises.
    """
    by_family: dict[str, list[CellState]] = defaultdict(list)
    for state in foundry.states.cells.values():
        if state.key is not None and not state.adopted and state.failure is None:
            by_family[state.cell.family.name].append(state)
    found: dict[str, list[tuple[Cell, Row]]] = defaultdict(list)
    for family, states in by_family.items():
        for state in _with_tags(foundry, family, states):
            row = publish.found(foundry, state)
            if row is not None:
                found[state.cell.driver].append((state.cell, row))
    for driver, rows in found.items():
        ledgers.put_rows(foundry, driver, rows)
    if found:
        foundry.states.forget(found)
    return [cell.name for rows in found.values() for cell, _ in rows]


def _with_tags(foundry: Foundry, family: str, states: list[CellState]) -> list[CellState]:
    """The cells that have all their tags in all of the family's targets."""
    from foundry.registry.tags import list_tags

    targets = foundry.registries.targets(family)
    for target in targets:
        if states:
            writer = foundry.registries.writer(target)
            there = set(list_tags(writer.registry, writer.repository))
            states = [state for state in states if there.issuperset(publish.tags(foundry, state.cell))]
    return states if targets else []
