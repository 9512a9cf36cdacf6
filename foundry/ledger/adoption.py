"""Rows of a ledger that this checkout did not write are claims; those are adopted that the registries bear out.

Anyone who can write a ledger (its tag, the asset of a release, another job's artifact) can write today's keys into it:
they are made of public files. So a row counts where a registry of the profile's own has an image under its digest
that bears its key, and it then names those registries alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

from foundry.base.parallel import in_parallel
from foundry.plan.claims import fault_of_row, fault_of_unpublished
from foundry.plan.rows import Row
from foundry.registry.targets import Target
from foundry.run.context import Foundry

K = TypeVar("K", bound=Hashable)
_READERS = 8  # rows that are proven at once


def adopt(
    foundry: Foundry, driver: str, family: str, rows: Mapping[K, Row], proven: Mapping[K, Row] | None = None
) -> tuple[dict[K, Row], dict[K, str]]:
    """Of rows of a driver's cells those that are true, with the registries that have them; and why others are not.

    Costs two requests for a row and a registry that it names. Rows of `proven` with the same digest and key cost
    none for the registries that they name. Where the profile publishes nowhere a row says of no registry that it
    has an image, and nothing is asked. Raises what reading from a registry raises.
    """
    refused: dict[K, str] = {}
    there: dict[K, list[str]] = {}
    claims: list[tuple[K, Target]] = []
    targets = foundry.registries.targets(family)
    if not targets:
        faults = {name: fault_of_unpublished(row, driver) for name, row in rows.items()}
        return ({name: row for name, row in rows.items() if not faults[name]},
                {name: fault for name, fault in faults.items() if fault})
    for name, row in rows.items():
        named = [target for target in targets if target.is_in(row.registries)]
        fault = fault_of_row(row, driver)
        if not named:
            fault = fault or "it is in no registry of this profile"
        if fault:
            refused[name] = fault
            continue
        known = _registries(row, (proven or {}).get(name))
        there[name] = [target.name for target in named if target.is_in(known)]
        claims += [(name, target) for target in named if not target.is_in(known)]
    for name, target in _true(foundry, rows, claims):
        there[name].append(target.name)
    for name in [name for name, names in there.items() if not names]:
        refused[name] = f"no registry of this profile has an image {rows[name].digest} with its key"
        del there[name]
    return {name: replace(rows[name], registries=tuple(sorted(names))) for name, names in there.items()}, refused


def _registries(row: Row, proven: Row | None) -> tuple[str, ...]:
    """Where an image is that is known to be the row's."""
    same = proven is not None and (proven.digest, proven.key) == (row.digest, row.key)
    return proven.registries if proven is not None and same else ()


def _true(
    foundry: Foundry, rows: Mapping[K, Row], claims: list[tuple[K, Target]]
) -> list[tuple[K, Target]]:
    """The claims, each of a row and a target, that the target bears out."""
    from foundry.registry.images import has_image

    def holds(claim: tuple[K, Target]) -> bool:
        name, target = claim
        return has_image(foundry.registries.repository(target), rows[name].digest, rows[name].key)

    found = []
    for outcome in in_parallel(claims, holds, threads=_READERS, stopping=foundry.ending):
        if outcome.error is not None:
            raise outcome.error
        if outcome.value:
            found.append(outcome.job)
    return found
