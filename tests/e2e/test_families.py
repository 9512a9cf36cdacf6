"""A family that is one YAML file and nothing else, from its package to the image; and packages that are no good."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from foundry.base.files import remove_tree
from foundry.formats.modules.elf import read_module
from tests.harness.clone import Clone, Run
from tests.harness.dkms_package import CONF, DRIVER, FILES, add_family, deb, write_package
from tests.harness.images import image_of
from tests.harness.refusal import no_container, nothing_left, refused

LOCK = "build/sandbox/locks/hello.json"


@pytest.fixture
def clone(new_clone: Callable[[], Clone]) -> Clone:
    return new_clone()


def test_a_driver_is_one_yaml_file(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """No line of Python: modules, places, make command and a value of the package, found in it; two modules, one of
    which the other needs, pass the gate together, and modprobe loads them in their order."""
    add_family(clone, tmp_path)
    name = f"{DRIVER}-{kernels[0]}"
    done = clone.doit("build")
    assert done.code == 0, done.text
    assert done.compiled == [kernels[0]]
    locked = json.loads((clone.root / LOCK).read_text())["packages"][DRIVER]
    assert locked["variables"] == {"commit": "abc123"}
    assert locked["dkms"]["root"] == "hello-1.0"
    assert locked["node"] == [{"kind": "user or group", "where": "post.sh", "text": "useradd hello"}]
    record = clone.record(name, "module")
    assert set(record["gate"]) == {"hello_base.ko", "hello_top.ko"}
    assert record["loads"] == ["hello_top"], "hello_base is loaded by what needs it"
    image = image_of(clone.cell(name) / "image.oci.tar")
    folder = f"opt/lib/modules/{kernels[0]}"
    assert {path for path in image.files if path.endswith(".ko")} == {
        f"{folder}/extra/hello/hello_base.ko", f"{folder}/updates/hello_top.ko"}
    assert image.labels["hello-commit"] == "abc123"
    assert image.labels["hello-driver-version"] == DRIVER
    assert image.labels["busybox.version"]
    assert read_module(clone.cell(name) / "hello_top.ko").first("commit") == "abc123"
    assert read_module(clone.cell(name) / "hello_base.ko").first("builtfor") == kernels[0]  # by the package's PRE_BUILD
    assert image.files[f"{folder}/modules.dep"].content.decode().splitlines()[0:2] in (
        ["extra/hello/hello_base.ko:", "updates/hello_top.ko: extra/hello/hello_base.ko"],
        ["updates/hello_top.ko: extra/hello/hello_base.ko", "extra/hello/hello_base.ko:"],
    )
    again = clone.doit("build")
    assert again.code == 0, again.text
    assert (again.compiled, again.imaged) == ([], 0)


def test_release_of_a_further_family(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Notes name what stays behind on a node; the source tarball's README makes the modules again."""
    add_family(clone, tmp_path)
    done = clone.doit("release")
    assert done.code == 0, done.text
    folder = clone.build / "release" / DRIVER
    notes = (folder / "notes.md").read_text()
    assert "## Not part of the image" in notes
    assert "- user or group: `useradd hello` (in `post.sh`)" in notes
    assert "signature was verified" not in notes
    archive = folder / f"hello-{DRIVER}-modified-source.tar.gz"
    assert archive.is_file()
    subprocess.run(["tar", "-C", tmp_path, "-xf", archive], check=True)
    top = tmp_path / f"hello-{DRIVER}-modified-source"
    text = (top / "README.md").read_text()
    assert (top / "build/build-module.sh").is_file()
    assert "MODULES=hello_base.ko:extra/hello hello_top.ko:updates" in text
    assert "COMMIT=abc123" in text
    verified = clone.doit("verify")
    assert verified.code == 0, verified.text


def test_what_doit_new_writes_builds(clone: Clone, kernels: list[str]) -> None:
    """A version of a family that is there, a family of a repository with the vendor's key, and one of an RPM's file."""
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16.30"]}])
    signer = (clone.build / "keys/neuron.fingerprint").read_text().strip()
    unknown = clone.doit("new", "driver", "9.9.9")
    assert unknown.code == 2, unknown.text
    assert "it has 2.28.0.0, 2.22.2.0, 2.16.7.0; of another family: `--family=NAME`" in unknown.err
    driver = clone.doit("new", "driver", "2.16.7.0")
    assert driver.code == 0, driver.text
    assert f"signed by {signer}" in driver.out
    assert driver.out.splitlines()[-1].split()[1:] == ["doit", "build:2.16.7.0"]
    web = "http://web.sandbox.internal"
    family = clone.doit(
        "new", "family", f"{web}/quick/", "--name=standin", f"--key={web}/yum/GPG-KEY.pub", "--ocp=4.16.30")
    assert family.code == 0, family.text
    assert f"guessed  the key {signer}" in family.out
    assert "guessed  the version 2.28.0.0: the newest that the matrix does not have" in family.out
    assert "module neuron, in kernel/drivers/neuron/neuron.ko" in family.out
    built = clone.doit("build:2.28.0.0")
    assert built.code == 0, built.text
    assert built.compiled == [kernels[0]]
    (clone.root / "build-matrix.json").write_text("[]")
    rpm = clone.services / "web/quick/aws-neuronx-dkms-2.22.2.0.noarch.rpm"
    filed = clone.doit("new", "family", str(rpm), "--ocp=4.16.30")
    assert filed.code == 0, filed.text
    assert "`signature: none`, though it is signed" in filed.out
    fetched = clone.doit("fetch:2.22.2.0")
    assert fetched.code == 0, fetched.text
    assert json.loads((clone.build / "locks/aws-neuronx.json").read_text())["packages"]["2.22.2.0"]["dkms"]["modules"]


MAKEFILE = """\
ifneq ($(KERNELRELEASE),)
obj-m := hello_base.o hello_top.o
ccflags-y := -DCOMMIT='"$(FLAVOUR)"'
else
ifneq ($(KERNEL)$(JOBS)$(PRE_BUILD)$(kernelver),)
$(error variables that a build by DKMS does not have)
endif
KERNEL_TREE ?= /nowhere
export FLAVOUR := $(FLAVOUR)-$(shell uname -r)-$(word 3,$(shell uname -a))-$(shell uname --kernel-r -m | tr ' ' -)
all:
\t$(MAKE) -C $(KERNEL_TREE) M=$(CURDIR) modules
endif
"""


def test_make_with_an_environment(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """As DKMS runs it: no KERNELRELEASE where the command does not begin with make, nothing of ours in its
    environment, and every spelling of a question for the running kernel is answered with the cell's."""
    conf = CONF + """
DEST_MODULE_LOCATION[0]="/kernel/../updates/"
BUILD_EXCLUSIVE_KERNEL_MIN="6.1.0-1" # of a whole name
BUILD_EXCLUSIVE_CONFIG="CONFIG_MODULES !CONFIG_NOBODYS"
kernelver=${kernelver:-$(uname -r)}
MAKE="KERNEL_TREE=$kernel_source_dir FLAVOUR=${FLAVOUR:-mild} 'make' V=${kernelver:-$(uname -r)}"
"""
    add_family(clone, tmp_path, {"dkms.conf": conf, "Makefile": MAKEFILE})
    done = clone.doit("build")
    assert done.code == 0, done.text
    cell = clone.cell(f"{DRIVER}-{kernels[0]}")
    said = read_module(cell / "hello_top.ko").first("commit")
    assert said == f"mild-{kernels[0]}-{kernels[0]}-{kernels[0]}-{platform.machine()}"
    image = image_of(cell / "image.oci.tar")
    assert f"opt/lib/modules/{kernels[0]}/updates/hello_base.ko" in image.files


CHANGES: list[tuple[Mapping[str, str], str, str, str]] = [
    ({"dkms.conf": CONF.replace("hello_top", "hello_more")}, "module", "compile-failed",
     "the build did not produce hello_more.ko"),
    ({"dkms.conf": CONF.replace('BUILT_MODULE_NAME[1]="hello_top"\nDEST_MODULE_LOCATION[1]="/updates"\n', "")},
     "module", "module-unlisted", "also produced hello_top.ko, which is not listed"),
    ({"dkms.conf": CONF + 'MAKE="make; touch /tmp/x"\n'}, "fetch", "dkms-shell",
     "line 10 of the package's dkms.conf is shell code, which is never run"),
    ({"dkms.conf": CONF + "BUILT_MODULE_NAME[2]=$(ls)\n"}, "fetch", "dkms-shell", "BUILT_MODULE_NAME depends on it"),
    ({"dkms.conf": "if x; then\n" + CONF + "fi\n"}, "fetch", "dkms-shell", "line 1 of"),
    ({"dkms.conf": ""}, "fetch", "source-missing", "has no dkms.conf"),
    ({"dkms.conf": CONF.replace("LAST_COMMIT", "COMMIT")}, "fetch", "variable-missing", "gives no value for {commit}"),
    ({"dkms.conf": CONF + 'BUILD_EXCLUSIVE_KERNEL="^2\\.6"\n'}, "module", "module-excluded", "is not for kernel"),
    # by a condition of which only the toolkit's build tree knows
    ({"dkms.conf": CONF + 'BUILD_EXCLUSIVE_CONFIG="CONFIG_MODULES !CONFIG_PRINTK"\n'}, "module", "module-excluded",
     "its dkms.conf says BUILD_EXCLUSIVE_CONFIG=CONFIG_MODULES !CONFIG_PRINTK"),
    # DKMS would look for programs of these names in the package, and build without them
    ({"dkms.conf": CONF + 'PRE_BUILD="sh ./configure.sh"\n'}, "fetch", "dkms-unsupported",
     "its PRE_BUILD wants ./sh, which is no program of the package; DKMS would build without it"),
    ({"configure.sh": "echo\n"}, "fetch", "dkms-unsupported", "its PRE_BUILD wants ./configure.sh, which is no"),
    ({"Makefile": "$(error hello: this driver needs Linux 7 or later)\n"}, "module", "compile-failed",
     "does not compile: Makefile:1: *** hello: this driver needs Linux 7 or later.  Stop."),
    # the error is in a header of the kernel's, and the driver's own line led to it
    ({"hello_top.c": FILES["hello_top.c"] + "\nstatic_assert(sizeof(int) == 3);\n"}, "module", "compile-failed",
     "does not compile: hello_top.c:10: "),
    ({"Makefile": "obj-m := hello_base.o hello_top.o\n$(obj)/hello_base.o: x\nx:\n\tno-such-program\n"}, "module",
     "compile-failed", "no-such-program: "),
    # it ends as podman does where that can't start a container
    ({"configure.sh": "#!/usr/bin/no-such-python\n"}, "module", "compile-failed", "./configure.sh: not found"),
    ({"configure.sh": "#!/bin/sh\necho no card >&2\nexit 125\n"}, "module", "compile-failed", "no card"),
    ({"Makefile": "define WHY\nno SDK.\nSet SDK_DIR\nendef\n$(error $(WHY))\n"}, "module", "compile-failed",
     "does not compile: Makefile:5: *** no SDK. Set SDK_DIR.  Stop."),
    ({"hello_top.c": FILES["hello_top.c"] + 'void f(void); void f(void) { asm("bogus %eax"); }\n'}, "module",
     "compile-failed", "does not compile: hello_top.c:9: Error: no such instruction: `bogus %eax'"),
    ({"Makefile": FILES["Makefile"] + "hello_top-y := a.o b.o\n", "a.c": FILES["hello_top.c"] + "int twice;\n",
      "b.c": "int twice;\n"}, "module", "compile-failed", "multiple definition of `twice'"),
    # it claims that one of its modules exports what neither the kernel nor that module does
    ({"hello_top.c": FILES["hello_top.c"].replace("hello_base", "nobodys_symbol"),
      "sub/Module.symvers": "0x12345678\tnobodys_symbol\thello_base\tEXPORT_SYMBOL_GPL\t\n",
      "dkms.conf": CONF + 'MAKE="make -C $kernel_source_dir M=$dkms_tree/hello/1.0/build KBUILD_MODPOST_WARN=1"\n'},
     "module", "gate-symbols", "the kernel exports no nobodys_symbol"),
    ({"more/dkms.conf": CONF, "dkms.conf": "", "other/dkms.conf": CONF}, "fetch", "source-missing", "more than one"),
]


@pytest.mark.parametrize("changes, stage, reason, words", CHANGES, ids=lambda value: str(value)[:20])
def test_a_package_that_is_no_good(
    changes: Mapping[str, str], stage: str, reason: str, words: str, clone: Clone, kernels: list[str], tmp_path: Path
) -> None:
    add_family(clone, tmp_path, changes)
    run = clone.doit("build")
    task = f"{stage}:{DRIVER}" + (f"-{kernels[0]}" if stage == "module" else "")
    refused(clone, run, task, 1, reason, words)
    no_container(clone)


def test_nothing_vouches_for_a_package(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Exit code 2, the line to add, and nothing of it is kept; with that line it is built."""
    sha256 = add_family(clone, tmp_path)
    clone.edit("config/drivers/hello.yaml", f'{{"1.0": "{sha256}"}}', "{}")
    run = clone.doit("build")
    assert_unvouched(clone, run, f'add "1.0": {sha256}')
    clone.edit("config/drivers/hello.yaml", "sha256: {}", f'sha256: {{"1.0": "{sha256}"}}')
    assert clone.doit(f"source:{DRIVER}").code == 0
    # from now on the lock vouches for it, too
    clone.edit("config/drivers/hello.yaml", f'{{"1.0": "{sha256}"}}', "{}")
    assert clone.doit(f"source:{DRIVER}").code == 0


def assert_unvouched(clone: Clone, run: Run, words: str) -> None:
    assert run.code == 2, run.text
    assert words in run.out, run.text
    assert "config/drivers/hello.yaml: $.sha256: " in run.out
    assert "hint: compare the hash" in run.out
    assert "Traceback" not in run.text
    assert not list((clone.build / "sources" / DRIVER).glob("package*"))
    assert json.loads((clone.root / LOCK).read_text())["packages"] == {}
    nothing_left(clone)


def test_another_file_than_the_pinned_one(clone: Clone, tmp_path: Path) -> None:
    add_family(clone, tmp_path)
    write_package(tmp_path, {"hello_base.c": FILES["hello_base.c"] + "/* changed */\n"})
    refused(clone, clone.doit("build"), f"fetch:{DRIVER}", 1, "pin-mismatch", "pinned in the family file is")


def test_another_content_than_the_locked_one(clone: Clone, tmp_path: Path) -> None:
    before = add_family(clone, tmp_path)
    assert clone.doit(f"source:{DRIVER}").code == 0
    after = write_package(tmp_path, {"hello_base.c": FILES["hello_base.c"] + "/* changed */\n"})
    clone.edit("config/drivers/hello.yaml", before, after)
    remove_tree(clone.build / "sources")  # as on a machine that has only the lock
    refused(clone, clone.doit("build"), f"fetch:{DRIVER}", 1, "lock-mismatch", "changed: it is", before)


FIRMWARE = """
further_packages:
  blobs:
    download: {{url: "file://{folder}/blobs-{{driver}}.deb", name: blobs, license: proprietary}}
    sha256: {{"1.0": "{sha256}"}}
firmware:
  - {{package: blobs, from: "lib/firmware/*.bin", to: hello}}
"""


def with_firmware(clone: Clone, folder: Path, version: str, files: Mapping[str, bytes]) -> None:
    import hashlib

    add_family(clone, folder)
    data = deb("blobs", version, files)
    (folder / "blobs-1.0.deb").write_bytes(data)
    more = FIRMWARE.format(folder=folder, sha256=hashlib.sha256(data).hexdigest())
    with (clone.root / "config/drivers/hello.yaml").open("a") as stream:
        stream.write(more)


def test_firmware(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """It is in the image where the kernel looks for it, and another firmware is another key."""
    with_firmware(clone, tmp_path, "1.0", {"lib/firmware/a.bin": b"one", "lib/firmware/b.txt": b"no"})
    done = clone.doit("build")
    assert done.code == 0, done.text
    name = f"{DRIVER}-{kernels[0]}"
    image = image_of(clone.cell(name) / "image.oci.tar")
    firmware = {path: entry.content for path, entry in image.files.items() if "firmware" in path and entry.content}
    assert firmware == {"opt/lib/firmware/hello/a.bin": b"one"}
    (clone.root / LOCK).unlink()
    clone.copy_lock("neuron", "hello")
    with_firmware(clone, tmp_path, "1.0", {"lib/firmware/a.bin": b"two"})
    clone.copy_lock("neuron", "hello")
    again = clone.doit("build")
    assert again.code == 0, again.text
    assert image_of(clone.cell(name) / "image.oci.tar").files["opt/lib/firmware/hello/a.bin"].content == b"two"


@pytest.mark.parametrize("version, files, reason, words", [
    ("1.0", {"lib/firmware/a.txt": b"x"}, "firmware-missing", "the package 'blobs' has no firmware lib/firmware/*.bin"),
    ("1.1", {"lib/firmware/a.bin": b"x"}, "package-mislabelled", "should be blobs 1.0 but is blobs 1.1"),
])
def test_firmware_that_is_missing_or_of_another_version(
    version: str, files: Mapping[str, bytes], reason: str, words: str, clone: Clone, tmp_path: Path
) -> None:
    with_firmware(clone, tmp_path, version, files)
    refused(clone, clone.doit("build"), f"fetch:{DRIVER}", 1, reason, words)


def test_a_loading_order(clone: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Modules that don't need each other's symbols: modprobe loads them in the order that the family names."""
    add_family(clone, tmp_path, {
        "hello_top.c": re.sub(r"hello_base\(\);", "", FILES["hello_top.c"]).replace("int hello_base(void);", ""),
    })
    with (clone.root / "config/drivers/hello.yaml").open("a") as stream:
        stream.write("loading_order: [hello_base, hello_top]\n")
    for command in ("build", "release"):
        done = clone.doit(command)
        assert done.code == 0, done.text
        if command == "build":
            image = image_of(clone.cell(f"{DRIVER}-{kernels[0]}") / "image.oci.tar")
    root = tmp_path / "opt"
    for path, entry in image.files.items():
        if entry.kind == "file" and path.startswith("opt/lib/modules"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(entry.content)
    record = clone.record(f"{DRIVER}-{kernels[0]}", "module")
    shown = in_toolkit(clone, record["toolkit"], root,
                       f"modprobe -d /opt -S {kernels[0]} --show-depends hello_top")
    assert [Path(line.split()[1]).name for line in shown.splitlines()] == ["hello_base.ko", "hello_top.ko"]
    notes = (clone.build / "release" / DRIVER / "notes.md").read_text()
    assert "        moduleName: hello_top\n" in notes
    assert "        modulesLoadingOrder:\n          - hello_top\n          - hello_base\n" in notes


def test_a_loading_order_of_modules_that_there_are_not(clone: Clone, tmp_path: Path) -> None:
    add_family(clone, tmp_path)
    with (clone.root / "config/drivers/hello.yaml").open("a") as stream:
        stream.write("loading_order: [hello_base, hello_up]\n")
    run = clone.doit("build")
    assert run.code == 2, run.text
    assert "hello.yaml: $.loading_order[1]: the package's dkms.conf names no module 'hello_up'; it has" in run.out


def in_toolkit(clone: Clone, toolkit: str, root: Path, command: str) -> str:
    """What a shell command prints in a container of a toolkit, with a folder as ``/opt``."""
    from foundry.podman.engine import Engine

    state = json.loads((clone.services / "state.json").read_text())
    engine = Engine(clone.build / "engine" / "engine.json",
                    {f"{name}.sandbox.internal": state[name]["address"] for name in ("registry", "web")})
    done = engine.call("run", "--rm", "--network=none", f"--volume={root}:/opt:ro", "--entrypoint=/bin/sh", toolkit,
                       "-c", command)
    return done.stdout
