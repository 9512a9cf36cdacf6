"""What is pending, with what it will cost, and how it spreads over machines."""

from __future__ import annotations

from foundry.base.errors import ConfigError, Fault
from foundry.fleet.costs import Costs
from foundry.fleet.spread import Shard, Work, spread
from foundry.ledger.ledgers import fetch_missing
from foundry.ledger.publish import published
from foundry.plan.selection import faults_in_the_way, gaps_of
from foundry.plan.state import CellState
from foundry.run.context import Foundry, has_ledger


def plan(foundry: Foundry, jobs: int) -> list[Shard]:
    """The pending cells as shards; asks for ledgers that are not here. Raises ConfigError and what asking raises."""
    if not foundry.settings.publish:
        file = f"config/profiles/{foundry.config.profile.name}.yaml"
        raise ConfigError([Fault(file, "$.publish", "names no registry to push to")],
                          hint="shards publish what they build: choose another profile, `doit profile ecr`")
    faults = faults_in_the_way(("publish",), foundry.states.plan, foundry.config)
    if faults:
        raise ConfigError(faults, hint="`doit toolkit` finds releases, kernels and the base image")
    for gap in gaps_of(("publish",), foundry.states.plan):
        foundry.journal.warn(gap.render())
    drivers = [driver for driver in foundry.states.plan.by_driver if not has_ledger(foundry, driver)]
    if drivers:
        fetch_missing(foundry, drivers)
        foundry.states.forget(drivers)
    states = [state for state in foundry.states.cells.values() if not published(foundry, state)]
    costs = Costs(foundry)
    return spread([_work(foundry, costs, state) for state in states], jobs=jobs, pull=costs.pull) if states else []


def _work(foundry: Foundry, costs: Costs, state: CellState) -> Work:
    """The cell with its cost; one that is published and only lacks a registry or a tag needs no toolkit."""
    cell = state.cell
    proof = ("boot",) if not state.proven and foundry.states.to_prove(cell.arch) else ()
    stages = (*proof, "push") if state.adopted else ("module", "image", *proof, "push")
    return Work(cell.name, "" if state.adopted else cell.toolkit, cell.arch, costs.of(cell, stages))
