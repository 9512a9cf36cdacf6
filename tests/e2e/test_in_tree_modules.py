"""A module that needs some of the kernel's own modules: named everywhere, and reachable for KMM's modprobe."""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from foundry.podman.engine import Engine
from tests.harness.clone import Clone, registry_port
from tests.harness.dkms_package import DRIVER, add_family
from tests.harness.images import image_of

HEAD = """\
#include <linux/module.h>
MODULE_LICENSE("GPL");
"""
IB = HEAD + """\
#include <rdma/ib_verbs.h>
static int add(struct ib_device *device) { return 0; }
static void gone(struct ib_device *device, void *data) { }
static struct ib_client client = { .name = "hello", .add = add, .remove = gone };
static int __init start(void) { return ib_register_client(&client); }
static void __exit stop(void) { ib_unregister_client(&client); }
module_init(start);
module_exit(stop);
"""
# Two modules that a toolkit of the tests has as the kernel's own; the first needs the second.
UPPER = HEAD + "void lower(void); void upper(void); void upper(void) { lower(); } EXPORT_SYMBOL_GPL(upper);\n"
LOWER = HEAD + "void lower(void); void lower(void) { } EXPORT_SYMBOL_GPL(lower);\n"
USES = HEAD + """\
void upper(void);
static int __init start(void) { upper(); return 0; }
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
"""
CONF = """\
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.0"
LAST_COMMIT=abc123
BUILT_MODULE_NAME[0]="hello_top"
DEST_MODULE_LOCATION[0]="/extra"
"""
ONE = {"dkms.conf": CONF, "Makefile": "obj-m := hello_top.o\n", "hello_base.c": "", "configure.sh": "", "post.sh": ""}


@pytest.fixture
def clone(new_clone: Callable[[], Clone]) -> Clone:
    return new_clone()


@pytest.fixture
def engine(clone: Clone, tmp_path: Path) -> Engine:
    return Engine(tmp_path / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{registry_port(clone.services)}"})


def in_toolkit(engine: Engine, toolkit: str, folder: Path, command: str) -> str:
    if not engine.has_image(toolkit):
        engine.pull(toolkit)
    with engine.container(str(folder)) as name:
        return engine.call(
            "run", f"--name={name}", "--rm", "--network=none", "--security-opt=label=disable",
            f"--volume={folder}:/probe", "--workdir=/probe", toolkit, "sh", "-euc", command,
        ).stdout


def with_own_modules(clone: Clone, engine: Engine, kernel: str, folder: Path) -> str:
    """A toolkit that has two further modules of the kernel's own, one of them compressed; its reference."""
    entries = clone.catalogue()
    toolkit = next(entry["dtk"] for entry in entries if entry["kernel"] == kernel)
    source = folder / "own"
    source.mkdir()
    (source / "own-upper.c").write_text(UPPER)
    (source / "own_lower.c").write_text(LOWER)
    (source / "Kbuild").write_text("obj-m := own-upper.o own_lower.o\n")
    in_toolkit(engine, toolkit, source, f"make -C /lib/modules/{kernel}/build M=/probe modules")
    context = folder / "context"
    place = context / "modules/kernel/drivers/own"
    place.mkdir(parents=True)
    (place / "own-upper.ko.xz").write_bytes(
        lzma.compress((source / "own-upper.ko").read_bytes(), check=lzma.CHECK_CRC32))
    shutil.copy(source / "own_lower.ko", place)
    lines = [line.split("\t") for line in (source / "Module.symvers").read_text().splitlines()]
    symvers = "".join("\t".join([crc, symbol, f"drivers/own/{Path(module).name}", *rest]) + "\n"
                      for crc, symbol, module, *rest in lines)
    (context / "symvers").write_text(symvers)
    (context / "Containerfile").write_text(
        f"FROM {toolkit}\nCOPY modules /lib/modules/{kernel}\nCOPY symvers /symvers\n"
        f"RUN cat /symvers >> /lib/modules/{kernel}/build/Module.symvers\n")
    name = "registry.sandbox.internal/toolkit-with-modules:1"
    engine.call("build", "--quiet", "--network=none", f"--tag={name}", str(context))
    port = registry_port(clone.services)
    engine.call("push", "--tls-verify=false", f"--digestfile={folder / 'digest'}", name,
                f"docker://127.0.0.1:{port}/toolkit-with-modules:1")
    reference = f"registry.sandbox.internal/toolkit-with-modules@{(folder / 'digest').read_text().strip()}"
    for entry in entries:
        if entry["kernel"] == kernel:
            entry["dtk"] = reference
    clone.write("build/sandbox/driver-toolkit.json", entries)
    return reference


def labels(clone: Clone, cell: str) -> Mapping[str, str]:
    found: Mapping[str, str] = clone.record(cell, "image")["labels"]
    return found


def test_the_kernels_own_modules_are_named(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """In a toolkit that does not have them: said, in record, label, ledger and notes; modprobe does not find them."""
    add_family(clone, tmp_path, {**ONE, "hello_top.c": IB})
    run = clone.doit("build")
    assert run.code == 0, run.text
    cell = f"{DRIVER}-{kernels[0]}"
    contents = image_of(clone.cell(cell) / "image.oci.tar")
    assert f"opt/lib/modules/{kernels[0]}/host" not in contents.files
    assert clone.record(cell, "module")["in_tree"] == {"modules": ["ib_core"], "linked": False}
    assert clone.record(cell, "module")["gate"]["hello_top.ko"]["depends"] == ["ib_core"]
    assert f"{cell} needs ib_core of the kernel's own modules" in run.text and "KMM can't load them" in run.text
    assert labels(clone, cell)["kmod-foundry.depends"] == "ib_core"
    released = clone.doit("release")
    assert released.code == 0, released.text
    place = clone.build / "release" / DRIVER
    assert json.loads((place / "images.json").read_text())["cells"][0]["depends"] == ["ib_core"]
    assert "needs of the kernel's own modules: `ib_core`" in (place / "notes.md").read_text()


def test_kmm_reaches_the_kernels_own_modules(clone: Clone, engine: Engine, kernels: list[str], tmp_path: Path) -> None:
    """modprobe is asked as KMM asks it: in a copy of the image's folder, with the node's /lib/modules beside it.

    The package's own module is compressed by its build; the image has it as it is.
    """
    kernel = kernels[0]
    toolkit = with_own_modules(clone, engine, kernel, tmp_path)
    package = tmp_path / "package"
    add_family(clone, package, {
        **ONE, "hello_top.c": USES, "dkms.conf": CONF + 'MAKE[0]="make -f all.mk KDIR=$kernel_source_dir"\n',
        "all.mk": "all:\n\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules\n\txz --check=crc32 hello_top.ko\n",
    })
    # The kernel's own modules are signed by its maker; these two by nobody, so it must not insist on signatures.
    clone.edit("config/profiles/sandbox.yaml", "signing: {key: build/sandbox/keys/signing.key,", 'signing: {key: "",')
    clone.prove("required")
    run = clone.doit("build")
    assert run.code == 0, run.text
    cell = f"{DRIVER}-{kernel}"
    assert clone.record(cell, "module")["in_tree"] == {"modules": ["own_upper"], "linked": True}
    assert clone.record(cell, "boot")["outcome"] == "proven"
    console = (clone.cell(cell) / "boot.log").read_text()
    assert f"insmod /opt/lib/modules/{kernel}/host/kernel/drivers/own/own-upper.ko.xz" in console
    assert "KMM can't load them" not in run.text
    assert labels(clone, cell)["kmod-foundry.depends"] == "own_upper"
    root = tmp_path / "opt"
    folder = root / "lib/modules" / kernel
    for path, entry in image_of(clone.cell(cell) / "image.oci.tar").files.items():
        if path.startswith("opt/") and entry.kind != "folder":
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "link":
                (tmp_path / path).symlink_to(entry.target)
            else:
                (tmp_path / path).write_bytes(entry.content)
    assert (folder / "host").readlink() == Path(f"/lib/modules/{kernel}")
    assert (folder / "extra/hello_top.ko").read_bytes().startswith(b"\x7fELF")
    assert (folder / "modules.dep").read_text().splitlines().count(
        "extra/hello_top.ko: host/kernel/drivers/own/own-upper.ko.xz host/kernel/drivers/own/own_lower.ko") == 1
    said = in_toolkit(engine, toolkit, root, f"modprobe --show-depends -S {kernel} -d /probe hello_top")
    assert [Path(line.split()[1]).name for line in said.splitlines()] == [
        "own_lower.ko", "own-upper.ko.xz", "hello_top.ko"]
    again = clone.doit("build")
    assert again.code == 0 and not again.compiled
    (clone.cell(cell) / "image.oci.tar").unlink()
    digest = clone.record(cell, "image")["digest"]
    assert clone.doit("build").code == 0
    assert clone.record(cell, "image")["digest"] == digest
    for verb in ("publish", "verify"):
        done = clone.doit(verb)
        assert done.code == 0, done.text
