"""Which proofs of published cells are enough: for a profile that requires them, those that show something."""

from __future__ import annotations

from typing import Any

import pytest

from foundry.base.reasons import Reason
from foundry.ledger.publish import published
from foundry.plan.keys import key_of
from foundry.plan.state import PUBLISHED
from foundry.run.context import open_foundry
from tests.harness.checkout import OLD, Checkout
from tests.harness.ledgers import DRIVER, key_inputs, ledger_document, ledger_row

ONE = f"{DRIVER}-{OLD}"
PROOF = {"key": "1" * 64, "modules": {"neuron.ko": "2" * 64}}


@pytest.mark.parametrize("setting, outcome, enough", [
    ("required", "proven", True), ("required", "unproven", False), ("required", "", False),
    ("wanted", "proven", True), ("wanted", "unproven", True), ("off", "", True), ("off", "unproven", True),
])
def test_a_published_cell(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, setting: str, outcome: str, enough: bool,
                          ) -> None:
    monkeypatch.setenv("KMOD_PROFILE", "local")
    checkout.write("config/profiles/local.yaml", {
        "proof": setting, "publish": [{"registry": "registry.test", "repository": "kmod"}]})
    proof: dict[str, Any] = {"proof": {**PROOF, "outcome": outcome}} if outcome else {}
    inputs = key_inputs(checkout.root, ONE)
    checkout.write(f"build/local/release/{DRIVER}/images.json", ledger_document(ledger_row(
        OLD, key=key_of(inputs), key_inputs=inputs, registries=["registry.test/kmod"],
        releases=["4.16.30", "4.16.48"], **proof)))
    foundry = open_foundry(checkout.root)
    state = foundry.states.cells[ONE]
    assert (state.state, state.proven) == (PUBLISHED, enough), "it stays published, and is booted where that is missing"
    assert published(foundry, state) == enough
    assert (state.why.code == Reason.NOT_PROVEN) != enough
