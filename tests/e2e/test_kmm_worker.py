"""What KMM's worker pod does with our images and manifests, played (`tests.harness.kmm_worker`) on nodes in QEMU."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from foundry.podman.engine import Engine
from tests.e2e.test_in_tree_modules import HEAD, in_toolkit, with_own_modules
from tests.harness.clone import ROOT, Clone, registry_port
from tests.harness.dkms_package import DRIVER as HELLO
from tests.harness.dkms_package import add_family
from tests.harness.kmm_worker import ModuleConfig, Node, Pod, Step, image_for, module_configs, run_in_image

NEURON = "2.22.2.0"
OWN = {"own_upper", "own_lower"}  # the kernel's own modules that hello_base needs
HELLOS = {"hello_top", "hello_mid", "hello_base"}
_END = 'module_init(start);\nmodule_exit(stop);\nMODULE_VERSION("1.0");\n'
# No symbol orders these: each looks when it starts whether the one that it needs is there, and holds it.
_HOLDS = HEAD + """\
#include <linux/firmware.h>
int %(needs)s(void);
static int start_with(void) { %(start)s }
static int __init start(void) {
    int code = symbol_get(%(needs)s) ? 0 : -ENODEV;
    if (!code && (code = start_with())) symbol_put(%(needs)s);
    return code;
}
static void __exit stop(void) { symbol_put(%(needs)s); }
""" + _END
_ASKS = ('const struct firmware *found; int code = request_firmware(&found, "hello/hello.bin", NULL);'
         " if (code) return -EIO; release_firmware(found); return 0;")
SOURCES = {
    "hello_base.c": HEAD + """\
void upper(void);
int hello_base(void); int hello_base(void) { return 1; } EXPORT_SYMBOL_GPL(hello_base);
static int __init start(void) { upper(); return 0; }
static void __exit stop(void) { }
""" + _END,
    "hello_mid.c": _HOLDS % {"needs": "hello_base", "start": "return 0;"}
    + "int hello_mid(void); int hello_mid(void) { return 1; } EXPORT_SYMBOL_GPL(hello_mid);\n",
    "hello_top.c": _HOLDS % {"needs": "hello_mid", "start": _ASKS},
    "Makefile": "obj-m := hello_base.o hello_mid.o hello_top.o\n",
    "dkms.conf": 'PACKAGE_NAME="hello"\nPACKAGE_VERSION="1.0"\nLAST_COMMIT=abc123\n' + "".join(
        f'BUILT_MODULE_NAME[{number}]="hello_{name}"\nDEST_MODULE_LOCATION[{number}]="/{place}"\n'
        for number, (name, place) in enumerate({"base": "extra/hello", "mid": "updates", "top": "extra"}.items())),
    "blobs/hello.bin": "7 bytes", "configure.sh": "", "post.sh": "",
}
# The kernel's own of the same name as the driver's.
RIVAL = HEAD + 'MODULE_VERSION("0.1");\n'
FAMILY = """signature: none
loading_order: [hello_base, hello_mid, hello_top]
firmware:
  - {from: hello-1.0/blobs, to: hello}
kmm: {in_tree_modules_to_remove: [hello_top, not_on_this_node]}
"""


@dataclass(frozen=True)
class Play:
    """The releases of a clone that has published two drivers, and nodes by kernel."""

    releases: Path
    engine: Engine
    nodes: dict[str, Node]

    def manifest(self, driver: str) -> Path:
        return self.releases / driver / "kmm/base/module.yaml"

    def config(self, driver: str, kernel: str) -> ModuleConfig:
        """Of the driver's one Module."""
        [found] = module_configs(self.manifest(driver), kernel).values()
        return found

    def extracted(self, config: ModuleConfig, place: Path) -> Path:
        """The volume that the init container has filled."""
        done = run_in_image(self.engine, config.image, config.extraction, place)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return place


def node(engine: Engine, toolkit: str, kernel: str, image: str, place: Path) -> Node:
    """A node with a toolkit's kernel and kmod; it has a module of its own that is called as one of the driver's."""
    shutil.copytree(ROOT / "container/boot", place)
    (place / "rival").mkdir()
    (place / "rival/hello_top.c").write_text(RIVAL)
    (place / "rival/Kbuild").write_text("obj-m := hello_top.o\n")
    rivals = f"lib/modules/{kernel}/kernel/drivers/rival"
    in_toolkit(engine, toolkit, place, f"""
        mkdir -p /foundry out lib/modules
        ln -s /probe/out /foundry/out
        KERNEL={kernel} sh take.sh
        cp -R /lib/modules/{kernel} lib/modules
        make -C /lib/modules/{kernel}/build M=/probe/rival modules
        mkdir -p {rivals}
        xz --check=crc32 --stdout rival/hello_top.ko > {rivals}/hello_top.ko.xz
        rm lib/modules/{kernel}/vmlinuz
        depmod -b /probe {kernel}""")
    assert run_in_image(engine, image, "cp /bin/busybox /tmp", place / "programs").returncode == 0
    return Node(place, (place / "programs/busybox").read_bytes())


@pytest.fixture(scope="module")
def play(new_clone: Callable[[], Clone], kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Play:
    clone, folder, ends = new_clone(), tmp_path_factory.mktemp("kmm"), (kernels[0], kernels[-1])
    engine = Engine(folder / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{registry_port(clone.services)}"})
    (folder / "toolkit").mkdir()
    with_own_modules(clone, engine, kernels[-1], folder / "toolkit")
    add_family(clone, folder / "package", SOURCES)
    clone.edit("config/drivers/hello.yaml", "signature: none\n", FAMILY)
    toolkits = {entry["kernel"]: entry["dtk"] for entry in clone.catalogue()}
    first, last = ({entry["kernel"]: entry["version"] for entry in clone.catalogue()}[one] for one in ends)
    clone.write("build-matrix.json", [{"driver": NEURON, "ocp_versions": [first, last]},
                                      {"driver": HELLO, "family": "hello", "ocp_versions": [last]}])
    for task in ("publish", "bundle"):
        run = clone.doit(task)
        assert run.code == 0, run.text
    play = Play(clone.build / "release", engine, {})
    for kernel in ends:
        image = play.config(NEURON, kernel).image
        play.nodes[kernel] = node(engine, toolkits[kernel], kernel, image, folder / f"node-{len(play.nodes)}")
    return play


def live(step: Step) -> dict[str, str]:
    """The modules that live after a step that went well."""
    assert step.code == 0, step
    return dict(step.modules)


def test_one_module(play: Play, kernels: list[str], tmp_path: Path) -> None:
    """A Module has an image for each kernel; a node takes that of its own, also of a kernel with `+` in its name."""
    assert "+" in kernels[-1]
    for kernel in (kernels[0], kernels[-1]):
        config = play.config(NEURON, kernel)
        assert "@sha256:" in config.image and (config.module, config.order, config.firmware) == ("neuron", (), "")
        assert run_in_image(play.engine, config.image, "exit 0", tmp_path / "pull").returncode == 0
        volume = play.extracted(config, tmp_path / kernel)
        assert [path.name for path in volume.glob("opt/lib/modules/*")] == [kernel]
        pods = [Pod("neuron", config, volume), Pod("empty", config, tmp_path / "pull")]
        nothing, loaded, again, gone = play.nodes[kernel].play(
            pods, "load empty", "load neuron", "load neuron", "unload neuron")
        assert nothing.code != 0 and "Module neuron not found" in nothing.text and not nothing.modules
        assert set(live(loaded)) == set(live(again)) == {"neuron"}
        assert f"insmod /tmp/opt/lib/modules/{kernel}/neuron.ko" in loaded.text
        assert live(gone) == {} and "rmmod neuron" in gone.text
        another = run_in_image(play.engine, config.image, replace(config, kernel="6.99").extraction, tmp_path / "none")
        assert another.returncode != 0 and "No such file" in another.stderr


def test_kernels_to_come(play: Play, kernels: list[str], tmp_path: Path) -> None:
    """What is in no mapping takes its image by tag: that which the image has, also with `+` in the kernel's name."""
    mappings = next(yaml.safe_load_all(play.manifest(NEURON).read_bytes()))[
        "spec"]["moduleLoader"]["container"]["kernelMappings"]
    config = replace(play.config(NEURON, kernels[-1]), image=image_for(mappings[-1:], kernels[-1]))
    assert config.image.endswith(f":{NEURON}-{kernels[-1].replace('+', '_')}")
    assert play.extracted(config, tmp_path).joinpath(f"opt/lib/modules/{kernels[-1]}/neuron.ko").is_file()
    assert play.engine.remove_image(config.image)


def test_modules_in_order_with_firmware_and_the_kernels_own(play: Play, kernels: list[str], tmp_path: Path) -> None:
    """All that the Module and the image say is needed: pods that lack one thing fail, or leave the kernel's own."""
    kernel = kernels[-1]
    config = play.config(HELLO, kernel)
    assert config.order == ("hello_top", "hello_mid", "hello_base") and config.firmware == "/opt/lib/firmware"
    volume, modules = play.extracted(config, tmp_path / "hello"), f"opt/lib/modules/{kernel}"
    assert (volume / modules / "host").readlink() == Path("/lib/modules") / kernel
    no_list, no_host = (without(volume, f"{modules}/{name}") for name in ("modules.softdep", "host"))
    pods = [
        Pod("hello", config, volume), Pod("no-host", config, no_host),
        Pod("no-firmware", replace(config, firmware=""), volume), Pod("no-removal", replace(config, remove=()), volume),
        Pod("manifest-order", config, no_list), Pod("image-order", replace(config, order=()), volume),
        Pod("no-order", replace(config, order=()), no_list),
    ]
    steps = ["modprobe hello_top", "load no-firmware", "unload no-firmware", "load no-host", "load no-order",
             "modprobe hello_top", "load no-removal", "load hello", "unload hello", "load manifest-order",
             "unload manifest-order", "load image-order"]
    took = dict(zip(steps, play.nodes[kernel].play(pods, *steps), strict=True))
    failed = took["load no-firmware"]
    assert failed.text.startswith("rmmod hello_top\n"), "the kernel's own was removed"
    assert failed.code != 0 and "could not insert 'hello_top': Input/output error" in failed.text
    assert set(failed.modules) == {*HELLOS, *OWN} - {"hello_top"} and failed.firmware == ()
    assert inserted(failed) == ["own_lower", "own-upper", "hello_base", "hello_mid", "hello_top"]
    assert f"insmod /tmp/{modules}/host/kernel/drivers/own/own-upper.ko.xz" in failed.text
    assert took["load no-host"].code != 0 and "host/kernel/drivers/own/own-upper.ko.xz" in took["load no-host"].text
    assert took["load no-order"].code != 0 and inserted(took["load no-order"]) == ["hello_top"]
    for name in ("no-firmware", "no-host", "no-order"):
        assert "hello_top" not in took[f"load {name}"].modules
    # modprobe takes the kernel's own for the driver's, as long as it lives
    assert live(took["load no-removal"])["hello_top"] == live(took["modprobe hello_top"])["hello_top"] == "0.1"
    for name in ("hello", "manifest-order", "image-order"):
        loaded = took[f"load {name}"]
        assert {one: live(loaded)[one] for one in HELLOS} == dict.fromkeys(HELLOS, "1.0"), loaded
        assert loaded.firmware == ("hello/hello.bin",) and set(loaded.modules) == {*HELLOS, *OWN}
        assert inserted(loaded)[-3:] == ["hello_base", "hello_mid", "hello_top"]
    for name in ("no-firmware", "hello", "manifest-order"):
        assert not HELLOS & set(live(took[f"unload {name}"])) and took[f"unload {name}"].firmware == ()


def without(volume: Path, name: str) -> Path:
    """A copy of a volume that lacks a file."""
    copy = volume.with_name(f"no-{Path(name).name}")
    shutil.copytree(volume, copy, symlinks=True)
    (copy / name).unlink()
    return copy


def inserted(step: Step) -> list[str]:
    """The modules that modprobe gave the kernel, in their order."""
    return re.findall(r"insmod /\S+/([^/]+)\.ko", step.text)
