"""States: what is done, pending and why; records, ledgers and failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import ConfigError
from foundry.base.reasons import INPUT_FAULTS, MACHINE_FAULTS, Reason
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.keys import CellKey
from foundry.plan.ledger import SCHEMA, ledger_path
from foundry.plan.rows import row_from
from foundry.plan.state import BUILT, FAILED, PENDING, PUBLISHED, CellState, States, force_build
from tests.harness.checkout import CATALOGUE, DTK, NEW, OLD, Checkout, entry
from tests.harness.ledgers import ledger_document, ledger_row
from tests.harness.leftovers import DIGEST, change_record, leave_built

NAME = f"2.22.2.0-{OLD}"


def states(checkout: Checkout, *, force: bool = False) -> States:
    return States(load_config(checkout.root, Profile("local", "test")), force=force)


def state(checkout: Checkout, *, force: bool = False) -> CellState:
    return states(checkout, force=force).cells[NAME]


def key(checkout: Checkout) -> CellKey:
    found = state(checkout).key
    assert found is not None
    return found


def build(checkout: Checkout) -> Path:
    return leave_built(states(checkout), NAME)


def ledger(checkout: Checkout, **changes: Any) -> dict[str, Any]:
    row = ledger_row(OLD, key=key(checkout).key, digest=DIGEST, key_inputs=key(checkout).parts,
                     registries=["registry.test/kmod"])
    return {**ledger_document(row), **changes}


def put_ledger(checkout: Checkout, document: object) -> None:
    checkout.write(str(ledger_path(Path("build/local"), "2.22.2.0")), document)


def test_nothing_is_built(checkout: Checkout) -> None:
    assert (state(checkout).state, state(checkout).reason) == (PENDING, "not built yet")


def test_built(checkout: Checkout) -> None:
    build(checkout)
    assert state(checkout).state == BUILT


@pytest.mark.parametrize("file, module_done, image_done", [
    ("neuron.ko", False, True), ("image.oci.tar", True, False), ("module.json", False, True),
    ("image.json", True, False),
])
def test_what_a_missing_file_redoes(checkout: Checkout, file: str, module_done: bool, image_done: bool) -> None:
    (build(checkout) / file).unlink()
    found = state(checkout)
    assert (found.state, found.module_done, found.image_done) == (PENDING, module_done, image_done)


@pytest.mark.parametrize("file", ["neuron.ko", "image.oci.tar"])
def test_a_file_cut_short_is_missing(checkout: Checkout, file: str) -> None:
    (build(checkout) / file).write_bytes(b"x")
    assert state(checkout).reason == f"missing: {file}"


def test_half_a_record_counts_as_none(checkout: Checkout) -> None:
    record = build(checkout) / "module.json"
    record.write_bytes(record.read_bytes()[:-9])
    assert (state(checkout).module_done, state(checkout).image_done) == (False, True)


@pytest.mark.parametrize("file, working, by_content, module_done, image_done", [
    ("neuron.ko", False, set(), True, False), ("neuron.ko", True, set(), False, False),
    ("image.oci.tar", True, set(), True, True), ("image.oci.tar", True, {"image"}, True, False),
])
def test_what_a_run_goes_on_from_is_compared_by_content(
    checkout: Checkout, file: str, working: bool, by_content: set[str], module_done: bool, image_done: bool
) -> None:
    """Its size may be as it was. The module goes into an image that is made; the image is pushed."""
    folder = build(checkout)
    if file == "neuron.ko":
        (folder / "image.oci.tar").unlink()
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-1] + b"x")
    one = states(checkout)
    one.working, one.by_content = working, by_content
    found = one.cells[NAME]
    assert (found.module_done, found.image_done) == (module_done, image_done)
    if not (module_done or image_done):
        assert (found.reason, found.why.code) == (f"damaged: {file}", "output-missing")


@pytest.mark.parametrize("stage, done", [("module", (False, True)), ("image", (True, False))])
def test_the_record_of_another_cell_is_none(checkout: Checkout, stage: str, done: tuple[bool, bool]) -> None:
    folder, other = build(checkout), leave_built(states(checkout), f"2.22.2.0-{NEW}")
    (folder / f"{stage}.json").write_bytes((other / f"{stage}.json").read_bytes())
    assert (state(checkout).module_done, state(checkout).image_done) == done


def test_a_changed_input_is_named(checkout: Checkout) -> None:
    build(checkout)
    checkout.write("container/Containerfile", "FROM x\n")
    found = state(checkout)
    assert (found.reason, found.module_done, found.image_done) == ("changed: the Containerfile", True, False)
    checkout.write("container/build-module.sh", "x\n")
    found = state(checkout)
    assert found.reason == "changed: the build script, the Containerfile"
    assert (found.module_done, found.image_done) == (False, False)


def test_an_adopted_cell_that_changed(checkout: Checkout) -> None:
    """Its record names no file here; it is published, and that is what changed."""
    checkout.publishes("kmod")
    put_ledger(checkout, ledger(checkout))
    folder = build(checkout)
    change_record(folder, "image", adopted=True, outputs={}, inputs={})
    (folder / "module.json").unlink()
    assert state(checkout).state == PUBLISHED
    checkout.write("container/build-module.sh", "x\n")
    assert state(checkout).reason == "published, but changed since: the build script"


def test_force_build(checkout: Checkout) -> None:
    checkout.publishes("kmod")
    build(checkout)
    put_ledger(checkout, ledger(checkout))
    assert state(checkout).state == PUBLISHED
    found = state(checkout, force=True)
    assert (found.state, found.reason, found.module_done) == (PENDING, "FORCE_BUILD is set", False)


def test_published_cells_need_nothing(checkout: Checkout) -> None:
    checkout.publishes("kmod")
    put_ledger(checkout, ledger(checkout))
    found = state(checkout)
    assert (found.state, found.adopted, found.module_done) == (PUBLISHED, True, True)


@pytest.mark.parametrize("repositories", [(), ("other",), ("kmod-old",)])
def test_published_elsewhere_is_not_published(checkout: Checkout, repositories: tuple[str, ...]) -> None:
    """A row counts where it names a place at which this profile publishes."""
    checkout.publishes(*repositories)
    put_ledger(checkout, ledger(checkout))
    found = state(checkout)
    assert (found.state, found.row) == (PENDING, None)


def test_published_with_another_key(checkout: Checkout) -> None:
    checkout.publishes("kmod")
    put_ledger(checkout, ledger(checkout))
    checkout.write("container/build-module.sh", "x\n")
    found = state(checkout)
    assert (found.state, found.reason) == (PENDING, "published, but changed since: the build script")


FIRST, SECOND, THIRD = (DTK + digit * 64 for digit in "abc")


def toolkits(checkout: Checkout, **digits: str) -> None:
    """The catalogue's releases with the old kernel, each with its toolkit; `v4_16_30` stands for 4.16.30."""
    checkout.write("driver-toolkit/driver-toolkit.json", [
        *(entry(name[1:].replace("_", "."), digit, OLD) for name, digit in digits.items()), *CATALOGUE[2:]])


def test_a_cell_that_nobody_built_has_the_toolkit_of_the_lowest_release(checkout: Checkout) -> None:
    toolkits(checkout, v4_16_9="c", v4_16_30="a", v4_16_48="b")
    assert state(checkout).cell.toolkit == THIRD


def test_a_release_that_is_added_compiles_nothing_anew(checkout: Checkout) -> None:
    """A built cell keeps the toolkit that it was built in, though a lower release has another (decision 3)."""
    toolkits(checkout, v4_16_48="b")
    build(checkout)
    before = key(checkout)
    toolkits(checkout, v4_16_30="a", v4_16_48="b", v4_16_50="c")
    found = state(checkout)
    assert (found.state, found.cell.toolkit, found.key) == (BUILT, SECOND, before)
    assert found.cell.releases == ("4.16.30", "4.16.48", "4.16.50")


def test_what_is_published_keeps_its_toolkit(checkout: Checkout) -> None:
    checkout.publishes("kmod")
    toolkits(checkout, v4_16_48="b")
    put_ledger(checkout, ledger(checkout))
    toolkits(checkout, v4_16_30="a", v4_16_48="b")
    found = state(checkout)
    assert (found.state, found.cell.toolkit) == (PUBLISHED, SECOND)


def test_the_ledger_goes_before_what_is_built_here(checkout: Checkout) -> None:
    """All checkouts agree on the toolkit of a cell that is published."""
    checkout.publishes("kmod")
    toolkits(checkout, v4_16_48="b")
    build(checkout)
    toolkits(checkout, v4_16_48="c")
    put_ledger(checkout, ledger(checkout))
    toolkits(checkout, v4_16_30="a", v4_16_48="b", v4_16_50="c")
    found = state(checkout)
    assert (found.state, found.cell.toolkit) == (PUBLISHED, THIRD)


def test_a_toolkit_that_the_catalogue_no_longer_has(checkout: Checkout) -> None:
    toolkits(checkout, v4_16_48="b")
    build(checkout)
    toolkits(checkout, v4_16_30="a")
    found = state(checkout)
    assert (found.state, found.reason, found.cell.toolkit) == (PENDING, "changed: the toolkit", FIRST)


def test_an_image_alone_says_its_toolkit(checkout: Checkout) -> None:
    toolkits(checkout, v4_16_48="b")
    folder = build(checkout)
    for name, other in (("module", "image"), ("image", "module")):
        (folder / f"{name}.json").rename(folder / "aside")
        toolkits(checkout, v4_16_30="a", v4_16_48="b")
        assert state(checkout).cell.toolkit == SECOND, f"the record of the {other} says it"
        (folder / "aside").rename(folder / f"{name}.json")


def test_a_newer_ledger_is_refused(checkout: Checkout) -> None:
    put_ledger(checkout, ledger(checkout, schema=SCHEMA + 1))
    with pytest.raises(ConfigError, match="newer than this version") as raised:
        _ = states(checkout).cells
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("changes", [
    {"key": "0" * 64}, {"key_inputs": {}}, {"key_inputs": {"toolkit": "sha256:" + "0" * 64}},
])
def test_a_row_of_other_inputs_than_its_key_says_is_an_error(checkout: Checkout, changes: dict[str, Any]) -> None:
    """Of a row of elsewhere that is a claim, and it is left out; of our own file nobody knows what else is wrong."""
    checkout.publishes("kmod")
    document = ledger(checkout)
    put_ledger(checkout, {**document, "cells": [{**document["cells"][0], **changes}]})
    with pytest.raises(ConfigError) as raised:
        _ = states(checkout).cells
    [fault] = raised.value.faults
    assert fault.message == f"{OLD} x86_64: its key is not that of its inputs"
    assert "damaged or changed by hand" in raised.value.hint


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}'])
def test_a_broken_ledger_is_never_nothing_published(checkout: Checkout, text: str) -> None:
    put_ledger(checkout, text)
    with pytest.raises(ConfigError, match=r"images\.json"):
        _ = states(checkout).cells


def test_failures_are_remembered_for_their_key(checkout: Checkout) -> None:
    folder = f"build/local/cells/{NAME}"
    checkout.write(f"{folder}/failure.json", {"key": key(checkout).key, "reason": "compile-failed", "message": "no"})
    assert (state(checkout).state, state(checkout).reason) == (FAILED, "compile-failed: no")
    checkout.write("container/build-module.sh", "x\n")
    assert state(checkout).state == PENDING


@pytest.mark.parametrize("reason", list(Reason))
def test_only_what_the_inputs_are_to_blame_for_is_given_up(checkout: Checkout, reason: Reason) -> None:
    known = states(checkout)
    cell = known.plan.by_name[NAME]
    failure = {"stage": "module", "key": key(checkout).key, "reason": reason, "message": "no",
               "circumstances": known.circumstances.of(cell)}

    def given_up(**changes: object) -> bool:
        checkout.write(f"build/local/cells/{NAME}/failure.json", {**failure, **changes})
        return state(checkout).given_up

    assert given_up() == (reason in INPUT_FAULTS)
    assert not INPUT_FAULTS & MACHINE_FAULTS
    assert not given_up(stage="image")
    assert not given_up(circumstances="0" * 64)
    assert not given_up(circumstances=None)
    given_up()
    known.retry_failed = True
    assert not known.refresh(cell).given_up


@pytest.mark.parametrize("change", [
    {"outputs": {"neuron.ko": {}}}, {"outputs": {"neuron.ko": 1}}, {"outputs": {"a\0b": {"size": 1}}}, {"outputs": []},
    {"key": None}, {"key_inputs": []}, {"key": "0" * 64, "key_inputs": None}, {"inputs": None},
    {"adopted": True, "key": None},
])
def test_records_that_are_odd_count_as_not_there(checkout: Checkout, change: dict[str, Any]) -> None:
    folder = build(checkout)
    for name in ("module", "image"):
        whole = (folder / f"{name}.json").read_text(encoding="utf-8")
        record = {field: value for field, value in {**json.loads(whole), **change}.items() if value is not None}
        (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
        assert state(checkout).state == PENDING
        (folder / f"{name}.json").write_text(whole, encoding="utf-8")
    assert state(checkout).state == BUILT


@pytest.mark.parametrize("text, forced", [
    ("true", True), ("1", True), (" Yes ", True), ("ON", True), ("", False), ("0", False), ("false", False),
    ("no", False),
])
def test_what_forces_a_build(text: str, forced: bool) -> None:
    assert force_build({"FORCE_BUILD": text}) is forced
    assert force_build({}) is False


def test_an_adopted_record_is_no_image(checkout: Checkout) -> None:
    """It names no local file: without the ledger's row the cell has to be built."""
    folder = build(checkout)
    change_record(folder, "image", adopted=True, outputs={})
    found = state(checkout)
    assert (found.state, found.reason, found.image_done) == (PENDING, "not built yet", False)


def test_what_was_built_here_says_what_changed_since(checkout: Checkout) -> None:
    """Rather than the ledger's row, which is older."""
    checkout.publishes("kmod")
    document = ledger(checkout)
    put_ledger(checkout, document)
    checkout.write("container/Containerfile", "FROM x\n")
    build(checkout)
    checkout.write("container/build-module.sh", "x\n")
    assert state(checkout).reason == "changed: the build script"


def test_a_key_of_the_same_parts_in_another_form(checkout: Checkout) -> None:
    folder = build(checkout)
    for name in ("module", "image"):
        change_record(folder, name, key="0" * 64)
    assert (state(checkout).reason, state(checkout).why.code) == ("the form of the key changed", "key-form")


def test_a_module_that_is_here_needs_no_machine_of_its_architecture(checkout: Checkout) -> None:
    folder = build(checkout)
    config = load_config(checkout.root, Profile("local", "test"))
    elsewhere = {"x86_64": "needs a machine for x86_64"}
    (folder / "image.json").unlink()
    assert States(config, not_here=elsewhere).cells[NAME].reason == "not built yet"
    (folder / "module.json").unlink()
    assert States(config, not_here=elsewhere).cells[NAME].reason == "needs a machine for x86_64"


@pytest.mark.parametrize("name", ["module.json", "image.json"])
def test_a_driver_of_which_something_is_unbuilt(checkout: Checkout, name: str) -> None:
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    assert states(checkout).unbuilt("2.22.2.0")
    folder = build(checkout)
    assert not states(checkout).unbuilt("2.22.2.0")
    (folder / name).unlink()
    assert states(checkout).unbuilt("2.22.2.0")


def test_sources_are_needed_where_a_module_is_to_be_compiled(checkout: Checkout) -> None:
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    found = states(checkout).sources["2.22.2.0"]
    assert (found.needed, found.shown("fetch")) == (True, (PENDING, "not fetched yet"))
    (build(checkout) / "image.json").unlink()
    found = states(checkout).sources["2.22.2.0"]
    assert (found.needed, found.shown("fetch")) == (False, ("", "not needed"))


@pytest.mark.parametrize("old, new", [
    ("{key}", "A" * 40), ("key_url: https://", "key_url: https://mirror.test/"),
])
def test_another_key_makes_a_package_be_fetched_anew(checkout: Checkout, old: str, new: str) -> None:
    """What was fetched was verified against the one before."""
    one = states(checkout)
    family = one.plan.families["2.22.2.0"]
    before = one.fetch_key("2.22.2.0", family)
    checkout.edit("config/drivers/neuron.yaml", old.format(key=family["signing"]["fingerprint"]), new)
    two = states(checkout)
    assert two.fetch_key("2.22.2.0", two.plan.families["2.22.2.0"]) != before


def test_a_cell_that_is_withheld(checkout: Checkout) -> None:
    """Pending, and why; but what was built by force is shown as such, with the toolkit that it was built in."""
    checkout.write("driver-toolkit/driver-toolkit.json", [
        {**CATALOGUE[0], "mismatch": True, "node_kernel": "5.14.0-1.el9.x86_64"}, *CATALOGUE[2:]])
    found = states(checkout)
    assert NAME not in found.cells
    one = found.withheld[NAME]
    assert (one.state, one.why.code, one.failure) == (PENDING, "kernel-mismatch", None)
    assert "the nodes have 5.14.0-1.el9.x86_64" in one.reason
    folder = leave_built(states(checkout, force=True), NAME)
    assert states(checkout).withheld[NAME].state == BUILT
    (folder / "neuron.ko").unlink()
    one = states(checkout).withheld[NAME]
    assert (one.state, one.why.code) == (PENDING, "kernel-mismatch")


def test_a_row_that_is_written_in_a_run_counts_at_once(checkout: Checkout) -> None:
    """And the others of the driver still do."""
    checkout.publishes("kmod")
    put_ledger(checkout, ledger(checkout))
    one = states(checkout)
    other = next(cell for cell in one.plan.cells if cell.name != NAME)
    assert one.refresh(other).state == PENDING
    found = one.cells[other.name].key
    assert found is not None
    one.note_row(other, row_from(ledger_row(other.kernel, key=found.key)))
    assert one.refresh(other).state == PUBLISHED
    assert one.refresh(one.cells[NAME].cell).state == PUBLISHED


def test_a_state_is_decided_once(checkout: Checkout) -> None:
    """And anew only where something is said to have changed."""
    folder = build(checkout)
    one = states(checkout)
    before = one.cells
    (folder / "image.json").unlink()
    assert one.cells == before
    assert all(one.cells[name] is before[name] for name in before)
    one.forget([], [NAME])
    after = one.cells
    assert (before[NAME].state, after[NAME].state) == (BUILT, PENDING)
    assert [name for name in before if after[name] is not before[name]] == [NAME]


def test_what_is_known_of_a_driver_is_forgotten_with_its_cells(checkout: Checkout) -> None:
    """A ledger, for one, says of each cell whether it is published."""
    checkout.publishes("kmod")
    one = states(checkout)
    assert (one.ledger("2.22.2.0"), one.cells[NAME].state) == (None, PENDING)
    put_ledger(checkout, ledger(checkout))
    assert (one.ledger("2.22.2.0"), one.cells[NAME].state) == (None, PENDING)
    one.forget(["2.22.2.0"])
    assert one.ledger("2.22.2.0") is not None
    assert one.cells[NAME].state == PUBLISHED


def test_one_cell_is_decided_without_the_others(checkout: Checkout) -> None:
    """So a build of one release is done soon, whatever else there is."""
    checkout.write("build-matrix.json", [
        {"driver": driver, "ocp_versions": ["4.16", "4.18.15"]} for driver in ("2.22.2.0", "2.28.0.0")])
    checkout.write(str(ledger_path(Path("build/local"), "2.28.0.0")), "broken")
    one = states(checkout)
    assert one.of(one.plan.by_name[NAME]).state == PENDING
    with pytest.raises(ConfigError, match=r"2\.28\.0\.0/images\.json: is not JSON"):
        one.of_all(one.plan.cells)
