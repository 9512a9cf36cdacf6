"""Families: shared defaults, packages, recipes, keys; and what a package would do on a node."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from foundry.config.load import load_config
from foundry.config.package_specs import kind_of_url, specs_of
from foundry.config.profile import Profile
from foundry.formats.packages.host_side_effects import find_parts
from foundry.formats.packages.sideeffect import HostSideEffect
from foundry.plan.keys import CellKey, FileHashes, cell_key
from foundry.plan.state import States
from tests.harness.checkout import LOCK, OLD, ROOT, Checkout

DRIVER = "1.16.0-526"
PACKAGE: dict[str, Any] = {
    "name": "habanalabs", "href": "habanalabs-1.16.0-526.el8.noarch.rpm",
    "url": "https://vault.habana.ai/artifactory/rhel/8/8.10/habanalabs-1.16.0-526.el8.noarch.rpm",
    "content_sha256": "a" * 64, "build_time": 1747693633, "license": "GPL-2.0", "variables": {"git_sha": "abc"},
    "dkms": {"root": "usr/src/habanalabs-1.16.0-526", "make": ["make", "-C", "{kernel_build}"], "modules": [
        {"name": "habanalabs", "file": "habanalabs.ko", "destination": "elsewhere"}]},
    "further": {"firmware": {
        "name": "habanalabs-firmware", "href": "f.rpm", "url": "https://x/f.rpm", "content_sha256": "b" * 64,
        "build_time": 1, "license": "x"}},
}
BASE = {"name": "registry.access.redhat.com/ubi8/ubi-minimal:8.10", "digest": "sha256:" + "d" * 64,
        "created": "2025-01-02T03:04:05Z"}
HABANA = "config/drivers/habanalabs.yaml"


def habana(checkout: Checkout, package: dict[str, Any] = PACKAGE, base: dict[str, Any] = BASE) -> States:
    checkout.write("config/locks/habanalabs.json", {"schema": 1, "base": base, "packages": {DRIVER: package}})
    checkout.write("build-matrix.json", [{"driver": DRIVER, "family": "habanalabs", "ocp_versions": ["4.16.30"]}])
    return States(load_config(checkout.root, Profile("local", "test")))


def key_of(states: States, root: Any) -> CellKey:
    (cell,) = states.plan.cells
    key = cell_key(cell, states.config, FileHashes(root))
    assert isinstance(key, CellKey)
    return key


def test_the_packages_of_a_family(checkout: Checkout) -> None:
    states = habana(checkout)
    assert states.plan.rhel_releases(DRIVER) == ["9.4"]
    main, firmware = specs_of(states.config.families["habanalabs"], DRIVER, "9.4")
    assert (main.repository, main.names, main.version, main.arch, main.signing, main.file) == (
        "https://vault.habana.ai/artifactory/rhel/9/9.4/", ("habanalabs",), "1.16.0-526.el9", "noarch", None,
        "package.rpm")
    assert (firmware.repository, firmware.role, firmware.version, firmware.arch, firmware.signing, firmware.file) == (
        main.repository, "firmware", "1.16.0-526.el9", "x86_64", None, "package-firmware.rpm")


def test_the_recipe_of_a_family(checkout: Checkout) -> None:
    """What the family file says goes before what dkms.conf says; values of the package are filled in."""
    states = habana(checkout)
    recipe = states.config.recipe(states.config.families["habanalabs"], DRIVER)
    assert [one.installed for one in recipe.modules] == ["drivers/misc/habanalabs/habanalabs.ko"]
    assert recipe.make == ("make", "-C", "{kernel_build}", "GIT_SHA=abc")


@pytest.mark.parametrize("said, make", [
    ("", ("-C", "{kernel_build}", "M=/foundry/work", "modules")),
    ("make: {arguments: [V=1]}\n", ("-C", "{kernel_build}", "M=/foundry/work", "modules", "V=1")),
    ("make: {command: [all], arguments: [V=1]}\n", ("all", "V=1")),
])
def test_without_dkms_it_is_the_kernels_build_unless_the_file_says_otherwise(
    checkout: Checkout, said: str, make: tuple[str, ...],
) -> None:
    checkout.edit("config/drivers/neuron.yaml", "strip: debug\n", f"strip: debug\n{said}")
    config = load_config(checkout.root, Profile("local", "test"))
    assert config.recipe(config.families["neuron"], "2.22.2.0").make == ("make", *make)


def test_the_labels_of_a_family_with_a_base_of_its_own(checkout: Checkout) -> None:
    key = key_of(habana(checkout), checkout.root)
    assert key.labels["habanalabs-git-sha"] == "abc"
    assert key.labels["habanalabs-driver-version"] == DRIVER
    assert key.labels["org.opencontainers.image.base.digest"] == BASE["digest"]
    assert key.labels["summary"] == f"Habana driver {DRIVER} for kernel {OLD}"
    assert not [name for name in key.labels if name.startswith("busybox")]


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PACKAGE), **changes}


@pytest.mark.parametrize("package, part", [
    (changed(content_sha256="c" * 64), "package"),
    (changed(variables={"git_sha": "def"}), "make"),
    (changed(further={"firmware": {**PACKAGE["further"]["firmware"], "content_sha256": "c" * 64}}), "firmware"),
    (changed(dkms={**PACKAGE["dkms"], "make": ["make", "other"]}), "make"),
    (changed(dkms={**PACKAGE["dkms"], "pre_build": ["x.sh"]}), "make"),
])
def test_what_the_packages_say_moves_the_key(package: dict[str, Any], part: str, checkout: Checkout) -> None:
    before = key_of(habana(checkout), checkout.root)
    after = key_of(habana(checkout, package), checkout.root)
    assert {name for name in after.parts if before.parts[name] != after.parts[name]} - {"labels"} == {part}
    assert before.module != after.module


def test_a_new_base_makes_images_anew_and_compiles_nothing(checkout: Checkout) -> None:
    before = key_of(habana(checkout), checkout.root)
    after = key_of(habana(checkout, base={**BASE, "digest": "sha256:" + "f" * 64}), checkout.root)
    assert (before.key != after.key, before.module == after.module) == (True, True)


@pytest.mark.parametrize("name", ["dkms", "variables", "further"])
def test_a_lock_that_lacks_what_the_family_wants_is_not_fetched(name: str, checkout: Checkout) -> None:
    states = habana(checkout, {field: value for field, value in PACKAGE.items() if field != name})
    (state,) = states.cells.values()
    assert (state.state, state.why.code) == ("pending", "not-fetched")
    assert not states.sources[DRIVER].fetch_done


def test_what_the_family_file_no_longer_says_is_read_again(checkout: Checkout) -> None:
    """Modules that it spoke for were not looked for in dkms.conf."""
    package = changed(dkms={**PACKAGE["dkms"], "modules": []})
    (state,) = habana(checkout, package).cells.values()
    assert state.key is not None
    checkout.edit(HABANA, "modules:\n  - name: habanalabs\n    file: habanalabs.ko\n"
                  "    destination: drivers/misc/habanalabs\n", "")
    (state,) = habana(checkout, package).cells.values()
    assert (state.key, state.why.code) == (None, "not-fetched")


def test_what_a_lock_says_of_a_node_moves_no_key(checkout: Checkout) -> None:
    node = [{"kind": "udev rule", "where": "x", "text": "y"}]
    assert key_of(habana(checkout), checkout.root) == key_of(habana(checkout, changed(node=node)), checkout.root)


def test_shared_defaults_and_null(checkout: Checkout) -> None:
    checkout.write("config/drivers/thing.yaml", yaml.safe_dump({
        "title": "Thing", "signature": "none", "source": {"dkms": True}, "labels": {"maintainer": None, "x": "{title}"},
        "download": {"url": "https://e.org/{driver}.tgz", "license": "MIT"},
    }))
    family = load_config(checkout.root, Profile("local", "test")).families["thing"]
    assert family["base"]["name"] == "public.ecr.aws/docker/library/busybox:stable-musl"
    assert "maintainer" not in family["labels"]
    assert family["labels"]["thing-driver.license"] == "{package_license}"


def test_defaults_take_nothing_from_who_says_it_all(checkout: Checkout) -> None:
    """The first family's file came before the defaults: its labels are what they were."""
    said = yaml.safe_load((checkout.root / "config/drivers/neuron.yaml").read_text())["labels"]
    assert load_config(checkout.root, Profile("local", "test")).families["neuron"]["labels"] == said
    assert LOCK["packages"]


@pytest.mark.parametrize("url, kind", [
    ("https://e.org/a_1.0_all.deb", "deb"), ("https://e.org/a.rpm?x=1", "rpm"), ("file:///x/a.tar.xz", "tar"),
    ("https://e.org/a.tgz", "tar"), ("https://e.org/a.zip", ""), ("https://e.org/deb", ""),
])
def test_the_kind_of_a_package(url: str, kind: str) -> None:
    assert kind_of_url(url) == kind


def test_what_a_package_would_do_on_a_node() -> None:
    parts = find_parts({"preinstall": """\
#!/bin/sh
# udevadm is not called here
if command -v udevadm; then echo "useradd"; fi
echo 'KERNEL=="neuron*", MODE="0666"' > /lib/udev/rules.d/neuron.rules
groupadd -f users \\
   --system
modprobe neuron
systemctl enable thing.service
""", "postinst": "modprobe neuron\nmodprobe -r x\n"}, [
        "etc/modprobe.d/thing.conf", "usr/lib/udev/rules.d/1.rules", "usr/src/x/Makefile", "lib/firmware/a",
        "lib/firmware/b",
    ], taken=["lib/firmware/a"])
    assert parts == (
        HostSideEffect("module options", "/etc/modprobe.d/thing.conf", ""),
        HostSideEffect("firmware", "/lib/firmware/b", ""),
        HostSideEffect("udev rule", "/usr/lib/udev/rules.d/1.rules", ""),
        HostSideEffect("udev rule", "preinstall",
                 """echo 'KERNEL=="neuron*", MODE="0666"' > /lib/udev/rules.d/neuron.rules"""),
        HostSideEffect("user or group", "preinstall", "groupadd -f users     --system"),
        HostSideEffect("loading of the module", "preinstall", "modprobe neuron"),
        HostSideEffect("service", "preinstall", "systemctl enable thing.service"),
    )


def test_a_script_without_end_is_cut() -> None:
    parts = find_parts({"x": "\n".join(f"useradd u{number}" for number in range(1000))}, [])
    assert len(parts) == 41
    assert parts[-1].text == "960 more lines of this kind"


def test_family_files_are_short() -> None:
    """What it takes to add a DKMS package: no more lines than half a screen has."""
    lines = (ROOT / "config/examples/acpi-call.yaml").read_text().splitlines()
    assert len([line for line in lines if line and not line.lstrip().startswith("#")]) <= 20
