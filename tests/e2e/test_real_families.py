"""Drivers that are not ours: the kernel's own habanalabs driver in its vendor's layout, and Debian's DKMS packages."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from foundry.formats.modules.elf import read_module
from tests.harness.clone import Clone
from tests.harness.images import image_of

HABANA, THINKPAD, ACPI = "1.16.0-526", "0.43-3", "1.2.2-2.1"


@pytest.fixture(scope="module")
def families(services: Clone) -> Clone:
    """The sandbox with its further families."""
    done = services.doit("sandbox:families")
    assert done.code == 0, done.text
    return services


@pytest.fixture
def clone(families: Clone, new_clone: Callable[[], Clone]) -> Clone:
    made = new_clone()
    made.prove("required")
    return made


def test_habanalabs(clone: Clone, families: Clone, kernels: list[str]) -> None:
    """Two packages that nobody signed, a value of dkms.conf, firmware, a base of its own; built, gated, released."""
    clone.write("build-matrix.json", [{"driver": HABANA, "family": "habanalabs", "ocp_versions": ["4.16.30"]}])
    done = clone.doit("build")
    assert done.code == 0, done.text
    name = f"{HABANA}-{kernels[0]}"
    lock = json.loads((clone.build / "locks/habanalabs.json").read_text())
    package = lock["packages"][HABANA]
    sha = package["variables"]["git_sha"]
    image = image_of(clone.cell(name) / "image.oci.tar")
    module = f"opt/lib/modules/{kernels[0]}/drivers/misc/habanalabs/habanalabs.ko"
    assert [path for path in image.files if path.endswith(".ko")] == [module]
    facts = read_module(clone.cell(name) / "habanalabs.ko")
    assert (facts.name, facts.first("gitsha"), facts.first("version")) == ("habanalabs", sha, HABANA)
    assert len(facts.imports) > 100  # it is the real driver
    assert clone.record(name, "boot")["outcome"] == "proven"
    firmware = {path.rpartition("/")[2] for path, entry in image.files.items()
                if path.startswith("opt/lib/firmware/habanalabs/gaudi/") and entry.kind == "file"}
    assert firmware == {"gaudi-boot-fit.itb", "gaudi-fit.itb", "gaudi_tpc.bin"}
    # the driver asks for them by these names
    assert {f"habanalabs/gaudi/{file}" for file in firmware} <= {
        text.decode() for text in image.files[module].content.split(b"\0") if text.startswith(b"habanalabs/gaudi/")}
    labels = image.labels
    assert labels["habanalabs-git-sha"] == labels["org.opencontainers.image.revision"] == sha
    assert labels["org.opencontainers.image.version"] == HABANA
    assert labels["org.opencontainers.image.base.name"] == "registry.sandbox.internal/ubi8/ubi-minimal:8.10"
    assert labels["org.opencontainers.image.base.digest"] == lock["base"]["digest"]
    assert not [label for label in labels if label.startswith("busybox.") and label != "busybox.version"]  # the base's
    assert lock["base"]["digest"] != json.loads((clone.build / "locks/neuron.json").read_text())["base"]["digest"]
    released = clone.doit("release")
    assert released.code == 0, released.text
    folder = clone.build / "release" / HABANA
    notes = (folder / "notes.md").read_text()
    for line in (
        '- udev rule: `echo \'SUBSYSTEM=="habanalabs", MODE="0666"\' > /etc/udev/rules.d/99-habanalabs.rules`'
        " (in `post_install.sh`)",
        "- user or group: `groupadd --force --system habanalabs` (in `%postin of habanalabs`)",
        "        firmwarePath: /opt/lib/firmware", f"- `{name}` (compatible with OCP: 4.16.30)",
    ):
        assert line in notes
    assert "BusyBox" not in notes
    assert sorted(path.name for path in folder.glob("*.tar.*")) == [
        f"habanalabs-{HABANA}-modified-source.tar.gz", "kmm.tar.gz", "verify.tar.gz"]


def test_packages_of_debian(clone: Clone, kernels: list[str]) -> None:
    """Two DKMS packages as they are, each a short YAML file, for three kernels; one is patched for the newest."""
    releases = ["4.16.30", "4.18.15", "4.19.3"]
    clone.write("build-matrix.json", [
        {"driver": THINKPAD, "family": "tp-smapi", "ocp_versions": releases},
        {"driver": ACPI, "family": "acpi-call", "ocp_versions": releases},
    ])
    done = clone.doit("build")
    assert done.code == 0, done.text
    assert done.compiled == sorted([*kernels, *kernels])
    for kernel in kernels:
        record = clone.record(f"{THINKPAD}-{kernel}", "module")
        assert set(record["gate"]) == {"thinkpad_ec.ko", "tp_smapi.ko", "hdaps.ko"}
        assert bool(record["patches"]) == (not kernel.startswith("6.1."))
        image = image_of(clone.cell(f"{THINKPAD}-{kernel}") / "image.oci.tar")
        top = f"opt/lib/modules/{kernel}"
        assert {path for path in image.files if path.endswith(".ko")} == {
            f"{top}/extra/thinkpad_ec.ko", f"{top}/extra/tp_smapi.ko", f"{top}/updates/hdaps.ko"}
        assert "updates/hdaps.ko: extra/thinkpad_ec.ko" in image.files[f"{top}/modules.dep"].content.decode()
        assert read_module(clone.cell(f"{THINKPAD}-{kernel}") / "hdaps.ko").first("depends") == "thinkpad_ec"
        checks = clone.record(f"{THINKPAD}-{kernel}", "boot")["checks"]
        loads = [one["detail"] for one in checks if one["name"] == "loads"]
        assert loads == [f"{name}: refused with ENODEV, its symbols were found" for name in (
            "thinkpad_ec", "tp_smapi", "hdaps")]
        assert clone.record(f"{ACPI}-{kernel}", "boot")["outcome"] == "proven"
        other = image_of(clone.cell(f"{ACPI}-{kernel}") / "image.oci.tar")
        assert f"{top}/extra/acpi_call.ko" in other.files
        assert "licenses/GPL-3.0.txt" in other.files
    shown = clone.doit("status", "--json")
    assert {row["state"] for row in json.loads(shown.out)} == {"built"}
