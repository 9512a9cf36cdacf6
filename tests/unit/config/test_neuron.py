"""The family neuron: which of its patches each version gets on which kernel."""

from __future__ import annotations

import pytest

from foundry.config.load import load_config
from foundry.config.patches import applying
from foundry.config.profile import Profile
from tests.harness.checkout import Checkout

KERNELS = {
    "8.6": "4.18.0-372.19.1.el8_6.x86_64", "9.2": "5.14.0-284.86.1.el9_2.x86_64",
    "9.4": "5.14.0-427.68.2.el9_4.x86_64", "9.6": "5.14.0-570.12.1.el9_6.x86_64",
    "10.0": "6.12.0-55.9.1.el10_0.x86_64", "none": "6.1.0-56-cloud-amd64",
}
RHEL_9 = ("9.2", "9.4", "9.6", "10.0")
CLASS_CREATE, GUARD, GUARD_AGAIN = "class-create-backport", "rhel-9.4-guard", "rhel-9.4-guard-since-2.23"


@pytest.mark.parametrize("versions, everywhere, also", [
    # KERNEL_VERSION(6, 4, 0) is in none of these: a patch that looks for it would refuse to build them
    (["1.1", "1.2", "1.3.2.0", "1.5.0.0", "2.0.386.0", "2.3.26.0"], [], {}),
    (["2.5.7.0", "2.5.41.0", "2.9.4.0", "2.10.11.0", "2.15.9.0"], [], {}),
    (["2.16.7.0", "2.17.17.0"], [], {release: [CLASS_CREATE] for release in RHEL_9}),
    (["2.18.12.0", "2.18.20.0", "2.19.64.0", "2.20.74.0", "2.21.37.0"], [], {}),
    (["2.22.2.0"], [GUARD], {}),
    (["2.23.9.0", "2.24.7.0", "2.25.4.0", "2.26.5.0", "2.27.4.0"], [GUARD_AGAIN], {}),
    (["2.28.0.0"], [GUARD_AGAIN], {release: ["rhel-9.6-unmapped-area"] for release in ("9.6", "10.0")}),
])
def test_the_patches_of_each_version(
    checkout: Checkout, versions: list[str], everywhere: list[str], also: dict[str, list[str]],
) -> None:
    family = load_config(checkout.root, Profile("local", "test")).families["neuron"]
    for version in versions:
        for release, kernel in KERNELS.items():
            ids = [patch.id for patch in applying(family.patches, version, kernel)]
            assert ids == [*everywhere, *also.get(release, [])], (version, kernel)
