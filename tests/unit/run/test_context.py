"""What all stages are given: toolkits that are still needed, and states after stages changed something."""

from __future__ import annotations

import pytest

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.state import BUILT, PENDING
from foundry.run.context import Foundry, make_foundry
from tests.harness.checkout import DTK, NEW, OLD, Checkout
from tests.harness.leftovers import leave_built

ONE, OTHER = "2.22.2.0", "2.28.0.0"
TOOLKIT = DTK + "a" * 64


@pytest.fixture
def foundry(checkout: Checkout) -> Foundry:
    """Two drivers, whose cells of one kernel share a toolkit."""
    checkout.write("build-matrix.json", [
        {"driver": driver, "ocp_versions": ["4.16", "4.18.15"]} for driver in (ONE, OTHER)])
    return make_foundry(load_config(checkout.root, Profile("local", "test")))


def test_a_toolkit_is_needed_until_its_last_cell_is_compiled(foundry: Foundry) -> None:
    """Here or in this run; an image that no cell is compiled in, as a base, never is."""
    assert foundry.toolkit_needed(TOOLKIT)
    foundry.schedule.compiled(f"{ONE}-{OLD}")
    assert foundry.toolkit_needed(TOOLKIT)
    foundry.schedule.compiled(f"{OTHER}-{OLD}")
    assert not foundry.toolkit_needed(TOOLKIT)
    assert foundry.toolkit_needed(DTK + "c" * 64)
    assert not foundry.toolkit_needed("public.ecr.aws/docker/library/busybox@sha256:" + "e" * 64)


def test_a_toolkit_of_cells_that_are_built_is_not_needed(foundry: Foundry) -> None:
    for driver in (ONE, OTHER):
        leave_built(foundry.states, f"{driver}-{OLD}")
    foundry.states.forget([ONE, OTHER])
    assert not foundry.toolkit_needed(TOOLKIT)


def test_after_stages_only_what_they_changed_is_decided_anew(foundry: Foundry) -> None:
    before = foundry.states.cells
    for driver in (ONE, OTHER):
        leave_built(foundry.states, f"{driver}-{OLD}")
    foundry.journal.perform(f"module:{ONE}-{OLD}", lambda: None)
    foundry.journal.block(f"module:{OTHER}-{OLD}", "another task")
    foundry.forget_what_stages_changed()
    after = foundry.states.cells
    assert [after[f"{driver}-{OLD}"].state for driver in (ONE, OTHER)] == [BUILT, PENDING]
    assert after[f"{ONE}-{NEW}"] is before[f"{ONE}-{NEW}"]


def test_after_a_stage_of_a_driver_all_its_cells_are_decided_anew(foundry: Foundry) -> None:
    """Whatever became of the stage: a package that was fetched in vain may be locked all the same."""
    before = foundry.states.cells

    def fail() -> None:
        raise FoundryError("no", reason=Reason.PODMAN_FAILED)

    foundry.journal.perform(f"fetch:{ONE}", fail)
    foundry.forget_what_stages_changed()
    after = foundry.states.cells
    assert {name for name in before if after[name] is not before[name]} == {f"{ONE}-{OLD}", f"{ONE}-{NEW}"}
