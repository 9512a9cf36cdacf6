"""Versions, ranges, and the RHEL release in a kernel's name."""

from __future__ import annotations

import pytest

from foundry.base.versions import in_range, kernel_version, minor_of, range_fault, rhel_release, version_key


@pytest.mark.parametrize("kernel, release", [
    ("5.14.0-427.68.2.el9_4.x86_64", "9.4"),
    ("5.14.0-570.12.1.el9_6.x86_64+rt", "9.6"),
    ("6.12.0-55.9.1.el10_0.x86_64", "10.0"),
    ("4.18.0-553.22.1.el8_10.x86_64", "8.10"),
    ("5.14.0-362.el9.x86_64", "9.999"),
    ("5.14.0-570.12.1.el9_6+rt", "9.6"),
    ("5.14.0-427.68.2.rt14.353.el9_4.x86_64", "9.4"),
    ("4.18.0-553.22.1.rt7.363.el8_10.x86_64", "8.10"),
    ("5.14.0-427.68.2.el9_4.aarch64+64k", "9.4"),
    ("6.1.0-56-cloud-amd64", None),
    ("6.12.117+deb12-cloud-amd64", None),
])
def test_rhel_release(kernel: str, release: str | None) -> None:
    assert rhel_release(kernel) == release


@pytest.mark.parametrize("version, text, holds", [
    ("2.22.2.0", ">=2.22.2.0", True), ("2.22.2.0", ">=2.22.2", True), ("2.22.2.0", ">2.22.2.0", False),
    ("2.16.7.0", "<2.18.12.0", True), ("2.9.4.0", "<2.18", True), ("2.23.9.0", ">=2.22.2.0,<2.23", False),
    ("9.10", ">=9.6", True), ("10.0", ">=9.6", True), ("8.10", ">=9.6", False), ("6.1.0", "==6.1", True),
    ("6.1.0", "!=6.1", False), ("1.0", "*", True), ("1.0", "", True),
])
def test_in_range(version: str, text: str, holds: bool) -> None:
    assert in_range(version, text) is holds


def test_ranges_that_are_none() -> None:
    assert range_fault(">=2.0,~3") is not None
    assert range_fault(">=2.0, <3") is None
    with pytest.raises(ValueError, match="~3"):
        in_range("1", "~3")


def test_order_is_by_number() -> None:
    versions = ["2.3.11.0", "2.3.3.0", "2.22.2.0", "1.1-2.0", "2.0.386.0"]
    assert sorted(versions, key=version_key) == ["1.1-2.0", "2.0.386.0", "2.3.3.0", "2.3.11.0", "2.22.2.0"]


def test_parts_of_names() -> None:
    assert kernel_version("5.14.0-427.el9_4.x86_64") == "5.14.0"
    assert kernel_version("6.12.117+deb12-cloud-amd64") == "6.12.117"
    assert minor_of("4.18.15") == "4.18"
