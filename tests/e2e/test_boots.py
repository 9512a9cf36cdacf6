"""The kernels of cells are booted and load what is in the images, and nothing is published that they do not load.

Counted are guests and compile containers, never task states.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry.podman.engine import Engine
from tests.e2e.test_killed import when
from tests.harness.clone import Clone, registry_port
from tests.harness.dkms_package import DRIVER as HELLO
from tests.harness.dkms_package import add_family
from tests.harness.images import image_of
from tests.harness.refusal import failures
from tests.harness.released import images, ledger

DRIVER = "2.22.2.0"
PROVEN = ["kernel", "signatures-enforced", "refuses", "refuses", "loads", "lives", "unloads", "loads-again",
          "lives-again", "unloads-again"]
REFUSES = """\
#include <linux/module.h>
static int __init start(void) { return %s; }
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
"""

CONF = """\
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.0"
LAST_COMMIT=abc123
BUILT_MODULE_NAME[0]="hello_top"
DEST_MODULE_LOCATION[0]="/extra"
"""
BROKEN = {"hello_top.c": REFUSES % "-EIO", "hello_base.c": "", "configure.sh": "", "post.sh": "",
          "Makefile": "obj-m := hello_top.o\n", "dkms.conf": CONF}


def outcomes(record: dict[str, Any]) -> list[str]:
    assert all(check["ok"] for check in record["checks"])
    return [check["name"] for check in record["checks"]]


@pytest.fixture
def proving(copied: Clone) -> Clone:
    copied.prove("required")
    return copied


def test_each_kernel_loads_what_is_published(proving: Clone, kernels: list[str], tmp_path: Path) -> None:
    run = proving.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled, run.imaged, run.booted) == (0, [], 0, len(kernels)), run.text
    for kernel in kernels:
        folder = proving.cell(f"{DRIVER}-{kernel}")
        record, files = proving.record(folder.name, "boot"), image_of(folder / "image.oci.tar").files
        assert record["outcome"] == "proven" and outcomes(record) == PROVEN
        assert record["checks"][0]["detail"] == kernel
        module = files[f"opt/lib/modules/{kernel}/neuron.ko"].content
        assert record["modules"] == {"neuron.ko": hashlib.sha256(module).hexdigest()}
        assert record["log_sha256"] == hashlib.sha256((folder / "boot.log").read_bytes()).hexdigest()
        assert f"kmod-foundry: kernel {kernel}" in (folder / "boot.log").read_text()
    again = proving.doit(f"build:{DRIVER}")
    assert (again.code, again.processes, again.connections) == (0, [], [])
    # Another label is another image, and no other module.
    proving.edit("config/drivers/neuron.yaml", "labels:\n", "labels:\n  test: another\n")
    relabelled = proving.doit(f"build:{DRIVER}")
    assert (relabelled.code, relabelled.imaged, relabelled.booted) == (0, len(kernels), 0), relabelled.text
    published = proving.doit(f"publish:{DRIVER}")
    assert (published.code, published.booted) == (0, 0), published.text
    for row in ledger(proving, DRIVER)["cells"]:
        assert row["proof"]["outcome"] == "proven" and outcomes(row["proof"]) == PROVEN
        assert row["proof"]["modules"] == proving.record(f"{DRIVER}-{row['kernel']}", "boot")["modules"]
        assert row["signature"]["signer"] == "kmod-foundry sandbox"
    fresh = proving.checkout(tmp_path / "fresh")
    adopted = fresh.doit(f"publish:{DRIVER}")
    assert (adopted.code, adopted.processes) == (0, []), adopted.text
    # Another script has this checkout boot what it builds again, not what is published.
    fresh.edit("container/boot/init.sh", "set -u\n", "set -u\n: another\n")
    assert fresh.doit(f"publish:{DRIVER}").processes == []


def test_published_without_proof(copied: Clone, kernels: list[str]) -> None:
    """What was published before proofs were wanted is booted as its registry has it, and its row gets the proof."""
    kernel = kernels[0]
    cell = f"{DRIVER}-{kernel}"
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16"]}])
    published = copied.doit("publish")
    assert (published.code, published.booted) == (0, 0), published.text
    [before] = ledger(copied, DRIVER)["cells"]
    assert "proof" not in before
    assert not (copied.cell(cell) / "image.oci.tar").exists()
    copied.prove("required")
    assert copied.status()[cell]["reason"] == "in the ledger, but never booted"
    run = copied.doit("publish")
    assert (run.code, run.compiled, run.booted) == (0, [], 1), run.text
    [after] = ledger(copied, DRIVER)["cells"]
    assert after["proof"]["outcome"] == "proven"
    assert copied.doit("publish").processes == []
    # the boot is attested, too; what the image was made of stays as it was said
    assert [kind for kind, digest in before["attestations"].items() if after["attestations"][kind] != digest] == [
        "test-result"]
    assert copied.doit("verify", DRIVER).code == 0


def test_published_and_found_not_to_load(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """The cell stays published and is reported as failed; later runs do not boot it again."""
    add_family(copied, tmp_path, BROKEN)
    assert copied.doit("publish").code == 0
    copied.prove("required")
    cell = f"{HELLO}-{kernels[0]}"
    first = copied.doit("publish")
    assert (first.code, first.booted) == (1, 1), first.text
    second = copied.doit("publish")
    assert (second.code, second.booted) == (1, 0), second.text
    assert "not booted again, as nothing changed since" in failures(second)[f"boot:{cell}"].sentence
    assert copied.status()[cell]["reason"].startswith(f"does-not-load: {cell} does not load: hello_top")
    assert copied.doit("list", f"boot:{cell}").out.startswith("failed ")


def test_what_does_not_load_is_not_published(proving: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Other cells are published. The failure quotes the kernel, and the next boot waits for a change of inputs."""
    kernel = kernels[0]
    add_family(proving, tmp_path, BROKEN)
    proving.write("build-matrix.json", [
        {"driver": HELLO, "family": "hello", "ocp_versions": ["4.16.30"]},
        {"driver": DRIVER, "ocp_versions": ["4.16.30"]}])
    run = proving.doit("release")
    assert (run.code, run.booted) == (1, 2), run.text
    cell = f"{HELLO}-{kernel}"
    why = failures(run)[f"boot:{cell}"].sentence
    assert why == f"{cell} does not load: hello_top: modprobe: ERROR: could not insert 'hello_top': Input/output error"
    assert list(images(proving)) == [f"{DRIVER}-{kernel}"]
    state = proving.status()[cell]
    assert state["state"] == "failed" and state["reason"] == f"does-not-load: {why}"
    assert proving.record(cell, "boot")["outcome"] == "failed"
    notes = (proving.build / "release" / HELLO / "notes.md").read_text() if (
        proving.build / "release" / HELLO / "notes.md").exists() else ""
    assert f"`{HELLO}-{kernel}` (compatible" not in notes
    again = proving.doit("publish")
    assert (again.code, again.booted, again.compiled) == (1, 0, []), again.text
    assert "not booted again, as nothing changed since" in failures(again)[f"boot:{cell}"].sentence
    assert proving.doit("--retry-failed", f"boot:{cell}").booted == 1
    # The family says that its drivers refuse without their hardware, and with which error.
    proving.edit("config/drivers/hello.yaml", "signature: none", "signature: none\nboot: {accepts: [EIO]}")
    accepted = proving.doit("publish")
    assert (accepted.code, accepted.booted, accepted.compiled) == (0, 1, []), accepted.text
    assert "refused with EIO" in json.dumps(proving.record(cell, "boot")["checks"])


def test_several_modules_in_their_order(proving: Clone, kernels: list[str], tmp_path: Path) -> None:
    add_family(proving, tmp_path)
    run = proving.doit("build")
    assert (run.code, run.booted) == (0, 1), run.text
    checks = proving.record(f"{HELLO}-{kernels[0]}", "boot")["checks"]
    assert [one["detail"] for one in checks if one["name"] == "lives"] == ["hello_base: live", "hello_top: live"]


def test_secure_boot(proving: Clone, kernels: list[str]) -> None:
    """A kernel of each series that the sandbox has, locked down, with the certificate in the firmware's db."""
    proving.edit("config/defaults.yaml", "secure_boot: false", "secure_boot: true")
    for kernel in (kernels[0], kernels[-1]):
        run = proving.doit(f"boot:{DRIVER}-{kernel}")
        assert run.code == 0, run.text
        record = proving.record(f"{DRIVER}-{kernel}", "boot")
        assert outcomes(record) == [*PROVEN[:2], "locked-down", *PROVEN[2:]]
        log = (proving.cell(f"{DRIVER}-{kernel}") / "boot.log").read_text()
        assert "Kernel is locked down from EFI Secure Boot" in log or "UEFI Secure Boot is enabled" in log


def without_kernel(clone: Clone, kernel: str, folder: Path) -> None:
    """Have the catalogue name a toolkit that has no image of its kernel."""
    port = registry_port(clone.services)
    engine = Engine(folder / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{port}"})
    entries = clone.catalogue()
    toolkit = next(entry["dtk"] for entry in entries if entry["kernel"] == kernel)
    if not engine.has_image(toolkit):
        engine.pull(toolkit)
    (folder / "Containerfile").write_text(f"FROM {toolkit}\nRUN rm -f /lib/modules/{kernel}/vmlinuz /boot/vmlinuz*\n")
    name = "registry.sandbox.internal/toolkit-without-kernel:1"
    engine.call("build", "--quiet", "--network=none", f"--tag={name}", str(folder))
    engine.call("push", "--tls-verify=false", f"--digestfile={folder / 'digest'}", name,
                f"docker://127.0.0.1:{port}/toolkit-without-kernel:1")
    engine.remove_image(name)
    for entry in entries:
        if entry["kernel"] == kernel:
            entry["dtk"] = (f"registry.sandbox.internal/toolkit-without-kernel@"
                            f"{(folder / 'digest').read_text().strip()}")
    clone.write("build/sandbox/driver-toolkit.json", entries)


def test_a_toolkit_without_the_kernels_image(new_clone: Callable[[], Clone], kernels: list[str], tmp_path: Path
                                             ) -> None:
    """Where a proof is only wanted, the image is published, and its row says why there is none; else it is not."""
    clone = new_clone()
    clone.prove("wanted")
    without_kernel(clone, kernels[0], tmp_path)
    add_family(clone, tmp_path / "package")
    run = clone.doit("publish")
    assert (run.code, run.booted) == (0, 0), run.text
    assert "is not proven: the toolkit of" in run.text and "has no image of that kernel (vmlinuz)" in run.text
    proof = ledger(clone, HELLO)["cells"][0]["proof"]
    assert proof["outcome"] == "unproven" and "vmlinuz" in proof["fault"]
    clone.edit("config/defaults.yaml", "proof: wanted", "proof: required")
    clone.edit("config/drivers/hello.yaml", "signature: none", "signature: none\nboot: {unloads: false}")
    refused = clone.doit(f"boot:{HELLO}-{kernels[0]}", FORCE_BUILD="true")
    assert refused.code == 1 and "has no image of that kernel (vmlinuz)" in refused.text


def test_without_qemu(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Wanted: said, and the images are as good as built. Required: nothing is begun."""
    copied.prove("wanted")
    path = ":".join(map(str, [tools_without(tmp_path, "qemu-system")]))
    run = copied.doit("build", PATH=path)
    assert (run.code, run.booted) == (0, 0), run.text
    assert {row["state"] for row in copied.status().values()} <= {"built", "pending"}
    listed = copied.doit("list", f"boot:{DRIVER}-{kernels[0]}", PATH=path)
    assert "not possible here: qemu-system-" in listed.out
    copied.edit("config/defaults.yaml", "proof: wanted", "proof: required")
    refused = copied.doit("publish", PATH=path)
    assert refused.code == 3 and "is not installed" in refused.text, refused.text
    assert images(copied) == {}


def tools_without(folder: Path, begin: str) -> Path:
    """A folder with links to all programs of the path but those whose names begin so."""
    place = folder / "bin"
    place.mkdir()
    for part in os.environ["PATH"].split(":"):
        for program in Path(part).glob("*") if Path(part).is_dir() else ():
            if not program.name.startswith(begin) and not (place / program.name).exists():
                (place / program.name).symlink_to(program)
    return place


def test_killed_runs_leave_no_guest(proving: Clone, kernels: list[str]) -> None:
    cell = f"{DRIVER}-{kernels[0]}"
    folder = proving.cell(cell)

    def at_work() -> bool:
        return (folder / "boot.log").exists() and "Linux version" in (folder / "boot.log").read_text(errors="replace")

    def guests() -> list[int]:
        found = subprocess.run(["pgrep", "-f", f"qemu-system.*{proving.root}"], capture_output=True, text=True,
                               check=False).stdout.split()
        return [int(one) for one in found]

    assert when(proving, at_work, f"boot:{cell}") == -signal.SIGKILL
    assert when(proving, at_work, f"boot:{cell}", number=signal.SIGTERM) != 0
    deadline = time.monotonic() + 20
    while guests() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert guests() == []
    assert not (folder / "boot.json").exists()
    run = proving.doit(f"boot:{cell}")
    assert run.code == 0, run.text
    assert not [path for path in folder.iterdir() if path.name.startswith(".boot")]
