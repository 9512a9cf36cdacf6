"""Cells of a matrix and a catalogue, and what the matrix wants in vain: a fault for each place that names it."""

from __future__ import annotations

from typing import Any

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.cells import Cell, Plan, make_plan
from foundry.plan.gaps import gap_faults
from tests.harness.checkout import CATALOGUE, DTK, NEW, OLD, Checkout, entry

ARM = OLD.replace("x86_64", "aarch64")


def plan(checkout: Checkout, entries: list[dict[str, Any]], *wants: dict[str, Any], force: bool = False) -> Plan:
    checkout.write("driver-toolkit/driver-toolkit.json", entries)
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", **want} for want in wants])
    return make_plan(load_config(checkout.root, Profile("local", "test")), force=force)


def faults(one: Plan) -> list[tuple[str, str]]:
    return [(fault.path, fault.message.replace("driver-toolkit/driver-toolkit.json", "FILE")
             .removesuffix(": run `doit toolkit`")) for fault in gap_faults(one)]


def arm(version: str, digest: str) -> dict[str, Any]:
    return {**entry(version, digest, ARM), "arch": "aarch64"}


def test_releases_that_share_a_kernel_share_a_cell(checkout: Checkout) -> None:
    one = plan(checkout, CATALOGUE, {"ocp_versions": ["4.16", "4.18.16"]})
    assert [(cell.kernel, cell.releases) for cell in one.cells] == [
        (OLD, ("4.16.30", "4.16.48")), (NEW, ("4.18.16",))]
    assert one.by_driver == {"2.22.2.0": one.cells}
    assert (one.gaps, one.empty) == ((), False)


def test_the_toolkit_is_that_of_the_lowest_release_by_number(checkout: Checkout) -> None:
    """Of the whole catalogue, whether the matrix wants that release or not (decision 3)."""
    entries = [entry("4.16.100", "a", OLD), entry("4.16.48", "b", OLD), entry("4.16.9", "c", OLD)]
    [cell] = plan(checkout, entries, {"ocp_versions": ["4.16.48"]}).cells
    assert (cell.toolkit, cell.releases) == (DTK + "c" * 64, ("4.16.48",))
    assert cell.toolkits == tuple(DTK + digit * 64 for digit in "cba")


def test_a_cell_in_another_toolkit(checkout: Checkout) -> None:
    [cell] = plan(checkout, CATALOGUE[:2], {"ocp_versions": ["4.16"]}).cells
    first, second = ("sha256:" + digit * 64 for digit in "ab")
    assert cell.toolkit_digest == first
    moved = cell.compiled_in(second)
    assert (moved.toolkit_digest, moved.name, moved.releases) == (second, cell.name, cell.releases)
    for other in ("", first, "sha256:" + "c" * 64, "b" * 64, "b"):
        assert cell.compiled_in(other) is cell


def test_gaps_name_release_and_place(checkout: Checkout) -> None:
    one = plan(checkout, CATALOGUE, {"ocp_versions": ["4.16"]}, {"ocp_versions": ["4.17", "4.18", "4.18.99"]})
    assert faults(one) == [("$[1].ocp_versions[0]", "FILE has no release 4.17"),
                           ("$[1].ocp_versions[2]", "FILE has no release 4.18.99")]
    assert [cell.kernel for cell in one.cells] == [OLD, NEW], "what is there is built"


def test_a_gap_of_one_architecture(checkout: Checkout) -> None:
    checkout.edit("config/defaults.yaml", "arch: [x86_64]", "arch: [x86_64, aarch64]")
    entries = [*CATALOGUE, arm("4.16.30", "e")]
    one = plan(checkout, entries, {"ocp_versions": ["4.16.30", "4.18.15"]})
    assert faults(one) == [("$[0].ocp_versions[1]", "FILE has no release 4.18.15 for aarch64")]
    assert [(cell.kernel, cell.arch) for cell in one.cells] == [(ARM, "aarch64"), (OLD, "x86_64"), (NEW, "x86_64")]
    narrow = plan(checkout, entries, {"ocp_versions": ["4.18.15"], "arch": ["x86_64"]})
    assert (faults(narrow), [cell.arch for cell in narrow.cells]) == ([], ["x86_64"])


def test_architectures_that_nobody_asked_for(checkout: Checkout) -> None:
    one = plan(checkout, [*CATALOGUE, arm("4.16.30", "e")], {"ocp_versions": ["4.16.30"]})
    assert ([cell.arch for cell in one.cells], faults(one)) == (["x86_64"], [])
    one = plan(checkout, [arm("4.16.30", "e")], {"ocp_versions": ["4.16.30"]})
    assert (one.cells, faults(one)) == ((), [("$[0].ocp_versions[0]", "FILE has no release 4.16.30")])


def test_a_kernel_that_is_not_known_is_a_gap_and_no_cell(checkout: Checkout) -> None:
    one = plan(checkout, [entry("4.16.30", "a", None), *CATALOGUE[1:]], {"ocp_versions": ["4.16"]})
    assert faults(one) == [("", "4.16: 1 release without a kernel (4.16.30)")]
    assert [(gap.driver, gap.release) for gap in one.gaps] == [("2.22.2.0", "4.16.30")]
    assert [cell.releases for cell in one.cells] == [("4.16.48",)]


def test_an_empty_catalogue_is_one_fault(checkout: Checkout) -> None:
    one = plan(checkout, [], {"ocp_versions": ["4.16", "4.18"]})
    assert len(one.gaps) == 2
    assert faults(one) == [("", "has no release yet")]
    assert gap_faults(one, []) == [], "a driver without a gap has no fault"


def test_a_kernel_has_the_flavour_that_its_lowest_release_gives_it(checkout: Checkout) -> None:
    """One cell is one kernel, and a release added later changes nothing of it."""
    rt = f"{OLD}+rt"
    entries = [entry("4.16.1", "a", rt), {**entry("4.16.2", "b", NEW), "rt_kernel": rt}]
    one = plan(checkout, entries, {"ocp_versions": ["4.16"], "flavours": ["default", "rt"]})
    assert [(cell.kernel, cell.flavour, cell.releases) for cell in one.cells] == [
        (rt, "default", ("4.16.1", "4.16.2")), (NEW, "default", ("4.16.2",))]


MISMATCHED = {**entry("4.16.48", "b", OLD), "mismatch": True, "node_kernel": NEW}


def test_mismatches_are_withheld(checkout: Checkout) -> None:
    one = plan(checkout, [MISMATCHED], {"ocp_versions": ["4.16"]})
    assert (one.cells, [cell.releases for cell in one.withheld]) == ((), [("4.16.48",)])
    assert [found.text for found in one.mismatches] == [
        f"4.16.48 x86_64: the toolkit is for {OLD}, the nodes have {NEW}; FORCE_BUILD builds it"]
    forced = plan(checkout, [MISMATCHED], {"ocp_versions": ["4.16"]}, force=True)
    assert (len(forced.cells), forced.withheld, forced.mismatches) == (1, (), ())


def test_a_cell_that_others_need_is_not_withheld(checkout: Checkout) -> None:
    one = plan(checkout, [CATALOGUE[0], MISMATCHED], {"ocp_versions": ["4.16"]})
    assert [cell.releases for cell in one.cells] == [("4.16.30",)]
    assert one.withheld == ()
    assert len(one.mismatches) == 1


@pytest.mark.parametrize("driver, release, kernels", [
    ("2.22.2.0", "4.16", [OLD]), ("2.22.2.0", "4.16.48", [OLD]), ("*", "4.1*", [OLD, NEW]), ("2.22.2.0", "4.18", [NEW]),
    ("2.22.2.0", "4.1", []), ("2.22.2.0", "4.16.3", []), ("2.22", "4.16", []), ("2.22.2.0", "4.16.*", [OLD]),
])
def test_narrowing(checkout: Checkout, driver: str, release: str, kernels: list[str]) -> None:
    found: tuple[Cell, ...] = plan(checkout, CATALOGUE, {"ocp_versions": ["4.16", "4.18"]}).narrowed(driver, release)
    assert [cell.kernel for cell in found] == kernels
