"""Rows of a ledger that this checkout did not write are claims; those are adopted that the registries bear out.

Anyone who can write a ledger (its tag, the asset of a release, another job's artifact) can write today's keys into it:
they are made of public files. So a row counts where a registry of the profile's own has an image under its digest
that bears its key, and it then names those registries alone. Where the profile has public keys, the image must be
signed by one of them, too: write access to the registry alone then makes no row true.
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

    Costs two requests for a row and a registry that it names, four where the profile has public keys. Rows of `proven`
    with the same digest and key cost none for the registries that they name. Where the profile publishes nowhere a row
    says of no registry that it has an image, and nothing is asked. Raises what reading from a registry raises.
    """
    refused: dict[K, str] = {}
    there: dict[K, list[str]] = {}
    signers: dict[K, set[str]] = {}
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
        known, signer = _known(row, (proven or {}).get(name))
        there[name] = [target.name for target in named if target.is_in(known)]
        signers[name] = {signer} if there[name] else set()
        claims += [(name, target) for target in named if not target.is_in(known)]
    for (name, target), signer in _true(foundry, rows, claims):
        there[name].append(target.name)
        signers[name].add(signer)
    for name in [name for name, names in there.items() if not names]:
        refused[name] = f"no registry of this profile has an image {rows[name].digest} with its key" + (
            ", signed by a key of `image_signing.public_keys`" if foundry.settings.image_signing.public_keys else "")
        del there[name]
    return {name: replace(rows[name], registries=tuple(sorted(names)), image_signer=_one(signers[name]))
            for name, names in there.items()}, refused


def _known(row: Row, proven: Row | None) -> tuple[tuple[str, ...], str]:
    """Where an image is that is known to be the row's, and who signed it."""
    same = proven is not None and (proven.digest, proven.key) == (row.digest, row.key)
    return (proven.registries, proven.image_signer) if proven is not None and same else ((), "")


def _one(signers: set[str]) -> str:
    """The key that signed the image wherever it is; empty where there are several, so that it is signed anew."""
    return next(iter(signers)) if len(signers) == 1 else ""


def _true(
    foundry: Foundry, rows: Mapping[K, Row], claims: list[tuple[K, Target]]
) -> list[tuple[tuple[K, Target], str]]:
    """The claims, each of a row and a target, that the target bears out; with the key that signed the image."""
    from foundry.registry.images import has_image
    from foundry.registry.signatures import signer_of

    keys = foundry.public_keys()

    def holds(claim: tuple[K, Target]) -> str | None:
        name, target = claim
        place, digest = foundry.registries.repository(target), rows[name].digest
        if not has_image(place, digest, rows[name].key):
            return None
        signer = signer_of(place, digest, keys)
        return signer if signer or not keys else None

    found = []
    for outcome in in_parallel(claims, holds, threads=_READERS, stopping=foundry.ending):
        if outcome.error is not None:
            raise outcome.error
        if outcome.value is not None:
            found.append((outcome.job, outcome.value))
    return found
