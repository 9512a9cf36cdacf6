"""The reason that a run shows when a stage begins: that of the moment, in words for people who watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.ledger import ledger_path
from foundry.plan.state import States
from foundry.run.moment import why_now
from tests.harness.checkout import LOCK, OLD, Checkout
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.leftovers import DIGEST, change_record, leave_built

NAME = f"2.22.2.0-{OLD}"
PUBLISHED = "sha256:" + "1" * 64


def states(checkout: Checkout, *, force: bool = False) -> States:
    return States(load_config(checkout.root, Profile("local", "test")), force=force)


def publish(checkout: Checkout) -> None:
    """The cell as it is today, in the ledger."""
    checkout.publishes("kmod")
    row = ledger_row(OLD, key_inputs=key_inputs(checkout.root, NAME), registries=["registry.test/kmod"])
    checkout.write(str(ledger_path(Path("build/local"), "2.22.2.0")), ledger_document(row))


def test_what_the_run_has_done_meanwhile_counts(checkout: Checkout) -> None:
    """When it began nothing was fetched; when the compiler begins, that is not why."""
    package = states(checkout).config.locks.of("neuron").packages["2.22.2.0"]
    checkout.write("config/locks/neuron.json", {**LOCK, "packages": {}})
    one = states(checkout)
    planned = one.cells[NAME].reason
    assert planned == "not fetched yet"
    assert why_now(one, "fetch", "2.22.2.0", planned) == "not fetched yet"
    assert why_now(one, "source", "2.22.2.0", planned) == "not unpacked yet"
    assert one.config.locks.change("neuron", lambda lock: lock.with_package("2.22.2.0", package))
    assert why_now(one, "module", NAME, planned) == "not built yet"
    assert why_now(one, "image", NAME, planned) == "not built yet"


@pytest.mark.parametrize("stage, why", [
    ("module", "the build script and the labels changed"),
    ("image", f"replacing {PUBLISHED[:19]} because the build script and the labels changed"),
    ("push", f"replacing {PUBLISHED[:19]} because the build script and the labels changed"),
])
def test_what_is_published_is_replaced(checkout: Checkout, stage: str, why: str) -> None:
    publish(checkout)
    checkout.write("container/build-module.sh", "x\n")
    checkout.edit("config/drivers/neuron.yaml", "  maintainer: ", "  maintainer: Somebody, ")
    assert why_now(states(checkout), stage, NAME, "") == why


def test_what_was_built_here_is_replaced(checkout: Checkout) -> None:
    leave_built(states(checkout), NAME)
    checkout.write("container/Containerfile", "FROM x\n")
    one = states(checkout)
    assert why_now(one, "image", NAME, "") == f"replacing {DIGEST[:19]} because the Containerfile changed"
    assert why_now(one, "push", NAME, "not published yet") == "not published yet"


def test_an_output_that_is_gone_replaces_nothing(checkout: Checkout) -> None:
    folder = leave_built(states(checkout), NAME)
    (folder / "image.oci.tar").unlink()
    assert why_now(states(checkout), "image", NAME, "") == "missing: image.oci.tar"
    change_record(folder, "module", outputs={"other.ko": {"size": 1, "sha256": "0" * 64}})
    assert why_now(states(checkout), "module", NAME, "") == "missing: other.ko"


def test_by_force(checkout: Checkout) -> None:
    publish(checkout)
    one = states(checkout, force=True)
    assert why_now(one, "module", NAME, "") == "FORCE_BUILD is set"
    for stage in ("image", "push"):
        assert why_now(one, stage, NAME, "") == f"replacing {PUBLISHED[:19]} because FORCE_BUILD is set"


def test_what_is_not_about_a_cell_is_as_it_was_planned(checkout: Checkout) -> None:
    assert why_now(states(checkout), "notes", "2.22.2.0", "what they say changed") == "what they say changed"
    assert why_now(states(checkout), "module", "none", "x") == "x"
