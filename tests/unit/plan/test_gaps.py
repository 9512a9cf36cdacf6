"""What the matrix wants in vain, said once for each minor."""

from __future__ import annotations

from typing import Any

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.cells import make_plan
from foundry.plan.gaps import gap_faults, spans
from tests.harness.checkout import CATALOGUE, Checkout, entry

FILE = "driver-toolkit/driver-toolkit.json"
DRIVERS = ("2.16.7.0", "2.22.2.0", "2.28.0.0")


def said(checkout: Checkout, catalogue: list[dict[str, Any]], *releases: str) -> list[str]:
    checkout.write(FILE, catalogue)
    checkout.write("build-matrix.json", [{"driver": driver, "ocp_versions": list(releases)} for driver in DRIVERS])
    return [fault.render() for fault in gap_faults(make_plan(load_config(checkout.root, Profile("local", "test"))))]


def test_drivers_and_releases_without_kernel_are_one_line(checkout: Checkout) -> None:
    """Three drivers and 63 releases are no 189 lines."""
    rows = [entry(f"4.{minor}.{number}", "a", None) for minor in (20, 21, 9) for number in range(21)]
    assert said(checkout, [*CATALOGUE, *rows], "4.21", "4.20", "4.9", "4.16") == [
        f"{FILE}: 4.{minor}: 21 releases without a kernel (4.{minor}.0-4.{minor}.20): run `doit toolkit`"
        for minor in (9, 20, 21)]


def test_what_the_catalogue_lacks_names_the_place_that_wants_it(checkout: Checkout) -> None:
    assert said(checkout, CATALOGUE, "4.16", "4.99", "4.18.99", "4.18.100", "4.18.20", "4.16.1") == [
        f"build-matrix.json: $[0].ocp_versions[5]: {FILE} has no release 4.16.1: run `doit toolkit`",
        f"build-matrix.json: $[0].ocp_versions[2]: 4.18: {FILE} lacks 3 releases (4.18.20, 4.18.99-4.18.100):"
        " run `doit toolkit`",
        f"build-matrix.json: $[0].ocp_versions[1]: {FILE} has no release 4.99: run `doit toolkit`"]


def test_an_empty_catalogue_is_one_line(checkout: Checkout) -> None:
    assert said(checkout, [], "4.16", "4.18") == [f"{FILE}: has no release yet"]


@pytest.mark.parametrize("releases, text", [
    (["4.20.10", "4.20.9", "4.20.0", "4.20.1", "4.20.2"], "4.20.0-4.20.2, 4.20.9-4.20.10"), (["4.20.3"], "4.20.3"),
    (["4.20.0-ec.1", "4.20.0-ec.2"], "4.20.0-ec.1, 4.20.0-ec.2"), ([], ""),
])
def test_spans(releases: list[str], text: str) -> None:
    assert spans(releases) == text
