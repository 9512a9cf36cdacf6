"""The module of an image is loaded by the very kernel that it was built for, in QEMU (no KVM needed)."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from foundry.podman.engine import Engine
from tests.harness.clone import Clone, registry_port

INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "KERNEL $(uname -r)"
insmod /opt/lib/modules/$(uname -r)/neuron.ko && echo "LOADED $(cut -d' ' -f1 /proc/modules)"
rmmod neuron && echo "UNLOADED"
poweroff -f
"""


@pytest.mark.parametrize("index", [0, -1])
def test_the_kernel_loads_it(index: int, built: Clone, kernels: list[str], tmp_path: Path) -> None:
    kernel = kernels[index]
    port = registry_port(built.services)
    engine = Engine(tmp_path / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{port}"})
    catalogue = built.catalogue()
    toolkit = next(entry["dtk"] for entry in catalogue if entry["kernel"] == kernel)
    archive = built.cell(f"2.22.2.0-{kernel}") / "image.oci.tar"
    image = engine.call("load", f"--input={archive}").stdout.strip().rpartition(" ")[2]
    root = tmp_path / "root"
    for name in ("proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    try:
        take(engine, image, "cp -R /bin /opt /out/", root)
        take(engine, toolkit, f"cp /lib/modules/{kernel}/vmlinuz /out/", tmp_path)
    finally:
        engine.remove_image(image)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    initramfs = tmp_path / "initramfs"
    with initramfs.open("wb") as sink:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=names.encode(), stdout=sink, cwd=root, check=True)
    done = subprocess.run(
        [f"qemu-system-{platform.machine()}", "-accel", "tcg", "-m", "512", "-nographic", "-no-reboot",
         "-kernel", str(tmp_path / "vmlinuz"), "-initrd", str(initramfs), "-append", "console=ttyS0 panic=-1"],
        capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
    )
    assert f"KERNEL {kernel}" in done.stdout, done.stdout[-3000:] + done.stderr
    assert "LOADED neuron" in done.stdout, done.stdout[-3000:]
    assert "UNLOADED" in done.stdout
    assert "BUG:" not in done.stdout


def take(engine: Engine, image: str, command: str, dest: Path) -> None:
    """Run a shell command in an image with `dest` at /out."""
    if not engine.has_image(image):
        engine.pull(image)
    with engine.container(image) as name:
        engine.call("run", f"--name={name}", "--rm", "--network=none", "--security-opt=label=disable",
                    f"--volume={dest}:/out", image, "/bin/sh", "-c", command)
