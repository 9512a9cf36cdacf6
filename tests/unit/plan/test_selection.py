"""What names on the command line select: cells, drivers, and the faults and warnings that concern them."""

from __future__ import annotations

from typing import Any

import pytest

from foundry.base.errors import ConfigError, UsageError
from foundry.config.load import Config, load_config
from foundry.config.profile import Profile
from foundry.plan.cells import make_plan
from foundry.plan.selection import (
    drivers_of,
    faults_in_the_way,
    gaps_of,
    mismatches_of,
    narrowed_cells,
    reach,
    refuse_unknown,
)
from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, Checkout, entry

ONE, OTHER = "2.22.2.0", "2.28.0.0"
MISMATCHED = {**entry("4.19.1", "e", NEW), "mismatch": True, "node_kernel": OLD}


def config_of(
    checkout: Checkout, *wants: tuple[str, list[str]], catalogue: list[dict[str, Any]] | None = None
) -> Config:
    checkout.write("driver-toolkit/driver-toolkit.json", CATALOGUE if catalogue is None else catalogue)
    checkout.write("build-matrix.json", [{"driver": driver, "ocp_versions": releases} for driver, releases in wants])
    return load_config(checkout.root, Profile("local", "test"))


@pytest.fixture
def config(checkout: Checkout) -> Config:
    """Two drivers, of which the second wants what the catalogue lacks."""
    return config_of(checkout, (ONE, ["4.16", "4.18"]), (OTHER, ["4.16", "4.17", "4.18.99"]))


@pytest.mark.parametrize("name, cells", [
    (f"build:{ONE}@4.16", [f"{ONE}-{OLD}"]), (f"build:{ONE}@4.18.15", [f"{ONE}-{NEW}"]),
    ("build:*@4.16.30", [f"{ONE}-{OLD}", f"{OTHER}-{OLD}"]), (f"build:{ONE}@*", [f"{ONE}-{OLD}", f"{ONE}-{NEW}"]),
    (f"build:{ONE}", []), (f"push:{ONE}@4.16", []), ("build", []), (f"x-build:{ONE}@4.16", []), (f"build:{ONE}@", []),
])
def test_narrowed_cells(config: Config, name: str, cells: list[str]) -> None:
    """Builds alone are narrowed; of any other name nothing is made."""
    assert [cell.name for cell in narrowed_cells(make_plan(config), name)] == cells


def test_a_release_in_vain_is_a_fault_of_the_matrix(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"\$\[1\]\.ocp_versions\[1\].*has no release 4\.17") as caught:
        narrowed_cells(make_plan(config), f"build:{OTHER}@4.17")
    assert len(caught.value.faults) == 1, "not the other gap of the driver"
    with pytest.raises(ConfigError, match=r"4\.18\.99"):
        narrowed_cells(make_plan(config), f"build:{OTHER}@4.18")
    with pytest.raises(UsageError, match=r"wants no release 4\.17 of 2\.22\.2\.0; it wants 4\.16, 4\.18$"):
        narrowed_cells(make_plan(config), f"build:{ONE}@4.17")


def test_a_driver_that_is_none(config: Config) -> None:
    with pytest.raises(UsageError, match=r"there is no driver 2\.2 in the matrix; there are 2\.22\.2\.0, 2\.28\.0\.0"):
        narrowed_cells(make_plan(config), "build:2.2@4.16")


@pytest.mark.parametrize("release, says", [
    ("4.20.0", r"4\.20: 1 release without a kernel \(4\.20\.0\): run `doit toolkit`$"),
    ("4.20", r"4\.20: 189 releases without a kernel \(4\.20\.0-4\.20\.188\): run `doit toolkit`$"),
    ("4.20.189", r"has no release 4\.20\.189$"),
    ("9.9", r"the matrix wants no release 9\.9 of 2\.22\.2\.0; it wants 4\.20$"),
    ("9.9.9", r"the matrix wants no release 9\.9\.9 of 2\.22\.2\.0; it wants 4\.20$"),
    ("foo", r"'foo' is neither a release nor a minor$"), ("4.20.x", r"'4.20.x' is neither"),
    ("9.*", r"wants no release 9\.\* of"),
])
@pytest.mark.parametrize("built", [True, False])
def test_a_narrowed_name_hears_of_its_own_releases_alone(
    checkout: Checkout, release: str, says: str, built: bool
) -> None:
    """Whether others can be built or not."""
    rows = [entry(f"4.20.{number}", "a", None) for number in reversed(range(189))]
    some = config_of(checkout, (ONE, ["4.20"]), *[(OTHER, ["4.16"])] * built, catalogue=[*CATALOGUE, *rows])
    with pytest.raises((ConfigError, UsageError), match=says) as caught:
        narrowed_cells(make_plan(some), f"build:{ONE}@{release}")
    assert "4.16" not in caught.value.message
    assert len(getattr(caught.value, "faults", ["one"])) == 1


def test_an_empty_catalogue_says_what_is_wrong_with_the_name(checkout: Checkout) -> None:
    empty = make_plan(config_of(checkout, (ONE, ["4.16"]), catalogue=[]))
    for name, says in (("build:9@4.16", "there is no driver 9"), (f"build:{ONE}@9.9", "wants no release 9.9"),
                       (f"build:{ONE}@4.16", "has no release yet"), (f"build:{ONE}@4.16.3", "has no release yet")):
        with pytest.raises((ConfigError, UsageError), match=says):
            narrowed_cells(empty, name)


def test_a_release_that_is_withheld_says_why(checkout: Checkout) -> None:
    some = config_of(checkout, (ONE, ["4.16", "4.19"]), catalogue=[*CATALOGUE, MISMATCHED])
    with pytest.raises(ConfigError, match=r"4\.19\.1 x86_64: the toolkit is for") as caught:
        narrowed_cells(make_plan(some), f"build:{ONE}@4.19")
    assert caught.value.hint == "a module for another kernel does not load"


TASKS = ["build", f"build:{ONE}", f"image:{ONE}-{OLD}"]


@pytest.mark.parametrize("names", [
    [], ["build"], [f"build:{ONE}", "some/file"], ["image:*"],
])
def test_names_that_are_known(config: Config, names: list[str]) -> None:
    refuse_unknown(names, make_plan(config), TASKS, ["some/file"])


@pytest.mark.parametrize("names, says", [
    (["buid"], "there is no task 'buid'; did you mean build?"), (["build", "zzz"], "there is no task 'zzz'"),
    (["build:9"], "there is no driver 9 in the matrix"), (["release:9"], "there is no driver 9"),
    (["x*"], r"no task fits 'x\*'"), (["other/file"], "there is no task 'other/file'"), (["statsu"], "status"),
])
def test_names_that_are_not(config: Config, names: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        refuse_unknown(names, make_plan(config), TASKS, ["some/file"], ["status"])


BOTH_GAPS = ["4.17", "4.18.99"]


@pytest.mark.parametrize("name, releases", [
    ("build", BOTH_GAPS), ("b*", BOTH_GAPS), ("release", BOTH_GAPS), (f"build:{OTHER}", BOTH_GAPS),
    ("push", BOTH_GAPS), ("module", BOTH_GAPS), ("image", BOTH_GAPS),
    ("publish:2.2*", BOTH_GAPS), (f"build:{ONE}", []), (f"build:{OTHER}@4.17", ["4.17"]),
    (f"build:{OTHER}@4.17.3", ["4.17"]), (f"build:{OTHER}@4.18", ["4.18.99"]), (f"build:{OTHER}@4.18.99", ["4.18.99"]),
    (f"build:{OTHER}@4.16", []), (f"build:{ONE}@4.17", []), ("build:*@4.17", ["4.17"]), ("toolkit", []),
    ("sandbox:up", []), ("archive", []), (f"image:{OTHER}-{OLD}", []), ("fetch", []), ("source", []),
    (f"fetch:{OTHER}", []),
])
def test_gaps_are_said_to_those_who_ask_for_them(config: Config, name: str, releases: list[str]) -> None:
    """Nothing is in the way of the others; fetching needs no kernel."""
    plan = make_plan(config)
    assert [fault.message.split(":")[0].rpartition(" ")[2] for fault in gaps_of([name], plan)] == releases
    assert faults_in_the_way([name], plan, config) == []


def test_several_names_have_the_gaps_of_all(config: Config) -> None:
    names = [f"build:{ONE}", f"build:{OTHER}@4.17"]
    assert len(gaps_of(names, make_plan(config))) == 1


@pytest.mark.parametrize("name, faults", [
    ("build", 0), (f"build:{OTHER}", 1), (f"fetch:{OTHER}", 0), (f"build:{ONE}", 0)])
def test_gaps_are_in_the_way_where_nothing_else_is_asked_for(checkout: Checkout, name: str, faults: int) -> None:
    config = config_of(checkout, (ONE, ["4.16", "4.17"]), (OTHER, ["4.17"]))
    assert len(faults_in_the_way([name], make_plan(config), config)) == faults


@pytest.mark.parametrize("name, stops", [
    ("build", True), (f"build:{ONE}", True), (f"image:{ONE}-{OLD}", True), (f"build:{OTHER}", False),
    ("toolkit", False),
])
def test_a_base_that_is_not_locked(checkout: Checkout, name: str, stops: bool) -> None:
    """It stops what has cells: a driver without any has nothing to build an image of."""
    checkout.write("config/locks/neuron.json", {"schema": 1, "packages": LOCK["packages"]})
    config = config_of(checkout, (ONE, ["4.16"]), (OTHER, ["4.19"]), catalogue=[*CATALOGUE, MISMATCHED])
    found = faults_in_the_way([name], make_plan(config), config)
    assert [(fault.file, fault.path) for fault in found] == [("config/locks/neuron.json", "$.base")] * stops


@pytest.mark.parametrize("name, count", [
    ("build", 1), (f"build:{ONE}", 1), (f"build:{ONE}@4.19", 1), (f"build:{ONE}@4.19.1", 1), (f"build:{ONE}@4.16", 0),
    (f"build:{OTHER}", 0), ("toolkit", 0),
])
def test_what_is_withheld_is_said_to_those_who_ask_for_it(checkout: Checkout, name: str, count: int) -> None:
    catalogue = [*CATALOGUE, MISMATCHED]
    config = config_of(checkout, (ONE, ["4.16", "4.19"]), (OTHER, ["4.16"]), catalogue=catalogue)
    assert len(mismatches_of([name, name], make_plan(config))) == count, "each once"


def test_a_flavour_that_a_toolkit_lacks_is_said(checkout: Checkout) -> None:
    rows = [{**entry("4.16.1", "a", OLD), "rt_kernel": f"{OLD}+rt"}, entry("4.16.2", "b", OLD)]
    checkout.write("driver-toolkit/driver-toolkit.json", rows)
    checkout.write("build-matrix.json", [{"driver": ONE, "ocp_versions": ["4.16"], "flavours": ["rt"]}])
    plan = make_plan(load_config(checkout.root, Profile("local", "test")))
    assert mismatches_of(["build"], plan) == [
        "4.16.2 x86_64: the toolkit has no rt kernel, so nothing is built for one"]


@pytest.mark.parametrize("names, drivers", [
    (["build"], [ONE, OTHER]), ([f"build:{ONE}"], [ONE]), ([f"build:{OTHER}@4.16"], [OTHER]),
    (["build:*@4.1*"], [ONE, OTHER]), ([f"image:{ONE}-{OLD}"], [ONE]), ([f"module:{OTHER}-*"], [ONE, OTHER]),
    ([f"release:{OTHER}", f"push:{ONE}-{OLD}"], [ONE, OTHER]),
    ([f"fetch:{ONE}"], [ONE]), ([f"source:{ONE}"], [ONE]), (["toolkit"], []), (["image:2.22.2.01-x"], []),
    (["build:2.22.?.0"], [ONE]), ([], []),
])
def test_drivers_that_names_are_about(config: Config, names: list[str], drivers: list[str]) -> None:
    """A pattern that may be about a driver's cells is about the driver: too many is safe, too few is not."""
    assert drivers_of(names, make_plan(config)) == drivers


@pytest.mark.parametrize("names, cells", [
    ([f"build:{ONE}@4.16"], [f"{ONE}-{OLD}"]), ([f"build:{ONE}"], [f"{ONE}-{OLD}", f"{ONE}-{NEW}"]),
    ([f"push:{OTHER}-{OLD}", f"module:{ONE}-{NEW}"], [f"{ONE}-{NEW}", f"{OTHER}-{OLD}"]),
    ([f"release:{ONE}", f"image:{ONE}-{NEW}"], [f"{ONE}-{OLD}", f"{ONE}-{NEW}"]),
])
def test_what_names_can_have_to_do_with(config: Config, names: list[str], cells: list[str]) -> None:
    """No other task is loaded for a run of them."""
    whole = make_plan(config)
    part = reach(names, whole)
    assert [cell.name for cell in part.cells] == cells
    assert list(part.by_driver) == list(part.families) == list(dict.fromkeys(cell.driver for cell in part.cells))
    assert part.gaps == whole.gaps


@pytest.mark.parametrize("name", [
    "build", "toolkit", f"fetch:{ONE}", "build:*", f"image:*{OLD}", "build/local/cells/x/image.json", "--option",
    "nothing",
])
def test_names_that_may_mean_anything(config: Config, name: str) -> None:
    whole = make_plan(config)
    assert reach([name, f"build:{ONE}@4.16"], whole) is whole
    assert reach([], whole) is whole
