"""Flavours, architectures and streams: which cells follow from matrix and catalogue, and what is wanted in vain."""

from __future__ import annotations

from typing import Any

import pytest

from foundry.base.errors import ConfigError
from foundry.config.load import Config, load_config
from foundry.config.patches import applying
from foundry.config.profile import Profile
from foundry.plan.cells import Cell, Plan, make_plan
from foundry.plan.gaps import gap_faults
from foundry.plan.keys import CellKey
from foundry.plan.state import PENDING, States
from tests.harness.checkout import DTK, NEW, OLD, Checkout

EL8, EL9, EL10 = "4.18.0-553.22.1.el8_10.x86_64", "5.14.0-427.68.2.el9_4.x86_64", "6.12.0-55.9.1.el10_0.x86_64"
RT8, RT9 = "4.18.0-553.22.1.rt7.363.el8_10.x86_64", "5.14.0-427.68.2.el9_4.x86_64+rt"
OLD_RT, NEW_RT = "5.14.0-284.11.1.rt14.296.el9_2.x86_64", f"{NEW}+rt"
ARM = "5.14.0-427.68.2.el9_4.aarch64"


def row(version: str, digest: str, kernel: str, **more: Any) -> dict[str, Any]:
    return {"version": version, "arch": "x86_64", "dtk": DTK + digest * 64, "kernel": kernel, **more}


def loaded(checkout: Checkout, catalogue: list[dict[str, Any]], *wants: dict[str, Any]) -> Config:
    checkout.write("driver-toolkit/driver-toolkit.json", catalogue)
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", **want} for want in wants])
    return load_config(checkout.root, Profile("local", "test"))


def planned(checkout: Checkout, catalogue: list[dict[str, Any]], *wants: dict[str, Any]) -> Plan:
    return make_plan(loaded(checkout, catalogue, *wants))


def shown(cells: tuple[Cell, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(cell.kernel, cell.flavour, cell.releases) for cell in cells]


BOTH = [row("4.16.1", "a", OLD, rt_kernel=OLD_RT), row("4.16.2", "b", OLD, rt_kernel=OLD_RT),
        row("4.18.1", "c", NEW, rt_kernel=NEW_RT)]


def test_rt_kernels_are_cells_of_their_own_where_they_are_wanted(checkout: Checkout) -> None:
    assert [cell.kernel for cell in planned(checkout, BOTH, {"ocp_versions": ["4.16", "4.18"]}).cells] == [OLD, NEW]
    plan = planned(checkout, BOTH, {"ocp_versions": ["4.16", "4.18"], "flavours": ["default", "rt"]})
    assert shown(plan.cells) == [
        (OLD_RT, "rt", ("4.16.1", "4.16.2")), (OLD, "default", ("4.16.1", "4.16.2")),
        (NEW, "default", ("4.18.1",)), (NEW_RT, "rt", ("4.18.1",))]
    assert {cell.toolkit for cell in plan.cells if "4.16.1" in cell.releases} == {BOTH[0]["dtk"]}, "one pull for both"
    rt = plan.cells[-1]
    assert (rt.name, rt.tag) == (f"2.22.2.0-{NEW}+rt", f"2.22.2.0-{NEW}_rt")
    assert (plan.gaps, plan.lacking, plan.mismatches) == ((), (), ())


def test_entries_of_the_matrix_add_up(checkout: Checkout) -> None:
    plan = planned(checkout, BOTH, {"ocp_versions": ["4.16", "4.18"]}, {"ocp_versions": ["4.18.1"], "flavours": ["rt"]})
    assert [cell.kernel for cell in plan.cells] == [OLD, NEW, NEW_RT]
    plan = planned(checkout, BOTH, {"ocp_versions": ["4.18"], "flavours": ["rt"]})
    assert [cell.kernel for cell in plan.cells] == [NEW_RT]
    assert [cell.kernel for cell in plan.narrowed("2.22.2.0", "4.18")] == [NEW_RT]


def test_keys_of_other_cells_do_not_move(checkout: Checkout) -> None:
    before = States(loaded(checkout, BOTH, {"ocp_versions": ["4.16", "4.18"]})).cells
    after = States(loaded(checkout, BOTH, {"ocp_versions": ["4.16", "4.18"], "flavours": ["rt", "default"]})).cells
    assert {name: state.key for name, state in before.items()} == {
        name: state.key for name, state in after.items() if name in before}
    keys = [state.key for state in after.values() if isinstance(state.key, CellKey)]
    assert len({key.key for key in keys}) == len({key.module for key in keys}) == 4
    rt = after[f"2.22.2.0-{NEW_RT}"].key
    assert rt is not None
    assert rt.labels["kernel-version"] == NEW_RT
    assert rt.cell.tag == f"2.22.2.0-{NEW}_rt"


@pytest.mark.parametrize("name", [NEW, NEW.replace("570", "571")])
def test_an_rt_kernel_that_is_called_as_a_default_one_is_none(checkout: Checkout, name: str) -> None:
    """Its cell would be that of a default kernel, and nodes with the real-time one would find no image."""
    wrong = row("4.18.1", "c", NEW, rt_kernel=name)
    alone = planned(checkout, [wrong], {"ocp_versions": ["4.18"], "flavours": ["rt"]})
    assert (alone.cells, [gap.release for gap in alone.gaps]) == ((), ["4.18"])
    assert "has a kernel of flavour rt" in gap_faults(alone)[0].message
    beside = planned(checkout, [wrong, row("4.18.2", "d", NEW, rt_kernel=NEW_RT)],
                     {"ocp_versions": ["4.18"], "flavours": ["default", "rt"]})
    assert shown(beside.cells) == [(NEW, "default", ("4.18.1", "4.18.2")), (NEW_RT, "rt", ("4.18.2",))]
    assert [lacking.text for lacking in beside.lacking] == [
        "4.18.1 x86_64: the toolkit has no rt kernel, so nothing is built for one"]


@pytest.mark.parametrize("wanted", ["4.18", "4.18.1"])
def test_no_toolkit_has_an_rt_kernel(checkout: Checkout, wanted: str) -> None:
    catalogue = [BOTH[0], row("4.18.1", "c", NEW)]
    plan = planned(checkout, catalogue, {"ocp_versions": ["4.16", wanted], "flavours": ["rt", "default"]})
    [gap] = plan.gaps
    assert gap.release == wanted
    [fault] = gap_faults(plan)
    assert fault.path == "$[0].ocp_versions[1]"
    assert fault.message == (
        f"no toolkit of release {wanted} has a kernel of flavour rt: leave it out of `flavours`, or narrow"
        " the entry with `arch`")
    assert [cell.kernel for cell in plan.cells] == [OLD_RT, OLD, NEW]


def test_some_toolkits_of_a_minor_lack_an_rt_kernel(checkout: Checkout) -> None:
    """That is said, and stops nothing: the next release of a minor may be the one."""
    catalogue = [*BOTH, row("4.16.3", "d", EL9)]
    plan = planned(checkout, catalogue, {"ocp_versions": ["4.16"], "flavours": ["rt"]})
    assert plan.gaps == ()
    assert [one.text for one in plan.lacking] == [
        "4.16.3 x86_64: the toolkit has no rt kernel, so nothing is built for one"]
    assert shown(plan.cells) == [(OLD_RT, "rt", ("4.16.1", "4.16.2"))]


def test_a_mismatch_withholds_all_flavours(checkout: Checkout) -> None:
    catalogue = [{**BOTH[2], "node_kernel": OLD, "mismatch": True}, BOTH[0]]
    wants = {"ocp_versions": ["4.16", "4.18"], "flavours": ["default", "rt"]}
    plan = planned(checkout, catalogue, wants)
    assert [cell.kernel for cell in plan.cells] == [OLD_RT, OLD]
    assert [cell.kernel for cell in plan.withheld] == [NEW, NEW_RT]
    assert {one.text for one in plan.mismatches} == {
        f"4.18.1 x86_64: the toolkit is for {NEW}, the nodes have {OLD}; FORCE_BUILD builds it"}
    forced = make_plan(loaded(checkout, catalogue, wants), force=True)
    assert [cell.kernel for cell in forced.cells] == [OLD_RT, OLD, NEW, NEW_RT]


def test_rhel_8_9_and_10_side_by_side(checkout: Checkout) -> None:
    """Ordered as numbers, each with the patches of its own RHEL release, old names of rt kernels too."""
    checkout.edit("config/drivers/neuron.yaml", 'drivers: ">=2.28.0.0"\n    rhel: ">=9.6"', 'rhel: ">=9.6"')
    checkout.edit("config/drivers/neuron.yaml", 'drivers: ">=2.16.7.0,<2.18.12.0"\n    rhel: ">=9.0"',
                  'rhel: ">=8.9,<9.5"')
    catalogue = [
        row("4.12.1", "a", EL8, rt_kernel=RT8), row("4.16.1", "b", EL9, rt_kernel=RT9), row("4.20.1", "c", EL10),
        row("4.18.1", "d", NEW),
    ]
    plan = planned(checkout, catalogue, {"ocp_versions": ["4.20", "4.18", "4.12", "4.16"], "flavours": ["default"]},
                   {"ocp_versions": ["4.12", "4.16"], "flavours": ["rt"]})
    assert [cell.kernel for cell in plan.cells] == [RT8, EL8, EL9, RT9, NEW, EL10]
    patches = {
        cell.kernel: {one.id for one in applying(cell.family.patches, cell.driver, cell.kernel)} - {"rhel-9.4-guard"}
        for cell in plan.cells}
    low, high = {"class-create-backport"}, {"rhel-9.6-unmapped-area"}
    assert patches == {RT8: low, EL8: low, EL9: low, RT9: low, NEW: high, EL10: high}
    keys = [state.key.key for state in States(load_config(checkout.root, Profile("local", "test"))).cells.values()
            if state.key is not None]
    assert len(set(keys)) == 6


def test_two_streams_of_a_release_are_two_cells(checkout: Checkout) -> None:
    catalogue = [row("5.0.1", "a", EL9, stream="driver-toolkit", rt_kernel=RT9),
                 row("5.0.1", "b", EL10, stream="driver-toolkit-10")]
    plan = planned(checkout, catalogue, {"ocp_versions": ["5.0"], "flavours": ["default", "rt"]})
    assert shown(plan.cells) == [
        (EL9, "default", ("5.0.1",)), (RT9, "rt", ("5.0.1",)), (EL10, "default", ("5.0.1",))]
    assert len(plan.narrowed("2.22.2.0", "5.0.1")) == 3
    assert [one.release for one in plan.lacking] == ["5.0.1"]


def arm(checkout: Checkout) -> list[dict[str, Any]]:
    checkout.edit("config/defaults.yaml", "arch: [x86_64]", "arch: [x86_64, aarch64]")
    return [row("4.16.1", "a", EL9, rt_kernel=RT9), row("4.16.1", "b", ARM, arch="aarch64")]


def test_an_architecture_has_cells_of_its_own(checkout: Checkout) -> None:
    catalogue = arm(checkout)
    plan = planned(checkout, catalogue, {"ocp_versions": ["4.16"]}, {
        "ocp_versions": ["4.16"], "flavours": ["rt"], "arch": ["x86_64"]})
    assert [(cell.kernel, cell.arch) for cell in plan.cells] == [(ARM, "aarch64"), (EL9, "x86_64"), (RT9, "x86_64")]
    assert plan.gaps == ()
    states = States(load_config(checkout.root, Profile("local", "test"))).cells
    platforms = [state.key.parts["platform"] for state in states.values() if state.key is not None]
    assert platforms == ["linux/aarch64", "linux/x86_64", "linux/x86_64"]


def test_an_architecture_without_toolkit_and_one_without_rt(checkout: Checkout) -> None:
    catalogue = [*arm(checkout), row("4.18.1", "c", NEW)]
    plan = planned(checkout, catalogue, {"ocp_versions": ["4.16", "4.18"], "flavours": ["default", "rt"]})
    name = "driver-toolkit/driver-toolkit.json"
    assert [fault.message.partition(":")[0] for fault in gap_faults(plan)] == [
        "no toolkit of release 4.16 for aarch64 has a kernel of flavour rt",
        "no toolkit of release 4.18 for x86_64 has a kernel of flavour rt", f"{name} has no release 4.18 for aarch64"]
    assert planned(checkout, catalogue, {"ocp_versions": ["4.16", "4.18"], "arch": ["x86_64"]}).gaps == ()


def faults(checkout: Checkout, catalogue: list[dict[str, Any]], want: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(checkout, catalogue, want)
    return [fault.render() for fault in caught.value.faults]


def test_what_the_matrix_may_not_say(checkout: Checkout) -> None:
    matrix = "build-matrix.json: $[0]"
    want = {"ocp_versions": ["4.16"]}
    assert faults(checkout, BOTH, {**want, "arch": ["aarch64"]}) == [
        f"{matrix}.arch[0]: aarch64 is not in the setting `arch` (x86_64)"]
    for name, value in (("flavours", []), ("flavours", ["64k"]), ("flavours", ["rt", "rt"]), ("flavours", "rt"),
                        ("arch", []), ("arch", ["vax"])):
        assert any(one.startswith(f"{matrix}.{name}") for one in faults(checkout, BOTH, {**want, name: value}))


def test_a_kernel_of_two_architectures(checkout: Checkout) -> None:
    """Folder, task and tag of its cells would be one."""
    catalogue = [row("4.16.1", "a", "6.6.1"), row("4.16.1", "b", "6.6.1", arch="aarch64")]
    assert faults(checkout, catalogue, {"ocp_versions": ["4.16"]}) == [
        "driver-toolkit/driver-toolkit.json: $[1].kernel: 6.6.1 is a kernel for x86_64, too: its name must tell the"
        " architecture"]


def test_what_can_not_be_compiled_here_is_pending_and_says_why(checkout: Checkout) -> None:
    one = loaded(checkout, arm(checkout), {"ocp_versions": ["4.16"]})
    why = "needs a machine for aarch64"
    states = States(one, not_here={"aarch64": why}).cells
    state = states[f"2.22.2.0-{ARM}"]
    assert (state.state, state.why.code, state.reason) == (PENDING, "arch-not-here", why)
    assert states[f"2.22.2.0-{EL9}"].reason == "not built yet"
    forced = States(one, force=True, not_here={"aarch64": why}).cells
    assert forced[f"2.22.2.0-{ARM}"].reason == why
