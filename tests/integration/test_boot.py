"""Kernels that are really booted, with modules that were really compiled for them, each with one fault of its own."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundry.base.files import read_file
from foundry.base.reasons import Reason
from foundry.boot import machine
from foundry.boot.guest import contents
from foundry.boot.initramfs import archive, entries_of
from foundry.boot.verdict import Verdict, Wanted, judge
from foundry.formats.images.rootfs import Entry
from foundry.podman.engine import Engine
from tests.harness.clone import ROOT, Clone, registry_port
from tests.harness.images import image_of
from tests.harness.signing import pair_named

SECONDS = 60.0
HEAD = "#include <linux/module.h>\n#include <linux/delay.h>\n"
TAIL = 'MODULE_LICENSE("GPL");\n'
ENTRY = "module_init(start);\n"
EXIT = "static void __exit stop(void) { }\nmodule_exit(stop);\n"


def starting(body: str, *, before: str = "", end: str = EXIT) -> str:
    """A module whose init does this."""
    return f"{HEAD}{before}static int __init start(void) {{ {body} }}\n{ENTRY}{end}{TAIL}"


GOOD = starting("return 0;")
SOURCES = {
    "good": GOOD,
    "symbol": starting("foundry_absent(); return 0;", before="void foundry_absent(void);\n"),
    "refuses": starting("return -EIO;"),
    "nodevice": starting("return -ENODEV;"),
    "oopses": starting("*(volatile int *)8 = 1; return 0;"),
    "bugs": starting("BUG(); return 0;"),
    "hangs": starting("for (;;) mdelay(10); return 0;"),
    "resets": starting("emergency_restart(); return 0;", before="#include <linux/reboot.h>\n"),
    "stays": starting("return 0;", end=""),
    "oopses_later": starting("return 0;", end="static void __exit stop(void) { *(volatile int *)8 = 1; }\n"
                                              "module_exit(stop);\n"),
    "warns": starting('WARN(1, "foundry: no hardware\\n"); return 0;'),
    "firmware": starting(
        'const struct firmware *found; int code = request_firmware(&found, "foundry.bin", NULL);'
        " if (!code) { code = found->size == 7 ? 0 : -EINVAL; release_firmware(found); } return code;",
        before="#include <linux/firmware.h>\n"),
    "provides": starting("return 0;", before="void foundry_there(void); void foundry_there(void) { }\n"
                                             "EXPORT_SYMBOL_GPL(foundry_there);\n"),
    "depends": starting("foundry_there(); return 0;", before="void foundry_there(void);\n"),
}


@dataclass(frozen=True)
class Outcome:
    """What is to be seen: the reason (None: proven), words of the sentence."""

    reason: Reason | None
    words: str = ""


CASES = {
    "good": Outcome(None),
    "symbol": Outcome(Reason.DOES_NOT_LOAD, "does not load: symbol: symbol: Unknown symbol foundry_absent"),
    "refuses": Outcome(Reason.DOES_NOT_LOAD, "does not load: refuses: modprobe: ERROR: could not insert 'refuses': "
                                             "Input/output error"),
    "nodevice": Outcome(Reason.DOES_NOT_LOAD, "No such device"),
    "oopses": Outcome(Reason.DOES_NOT_LOAD, "does not load: oopses: BUG: kernel NULL pointer dereference"),
    "bugs": Outcome(Reason.DOES_NOT_LOAD, "does not load: bugs: kernel BUG at"),
    "hangs": Outcome(Reason.DOES_NOT_LOAD, "does not load: hangs: no end within 20 s"),
    "resets": Outcome(Reason.DOES_NOT_LOAD, "does not load: resets: the machine ended meanwhile"),
    "stays": Outcome(Reason.DOES_NOT_UNLOAD, "can't be unloaded: stays: "),
    "oopses_later": Outcome(Reason.DOES_NOT_UNLOAD, "can't be unloaded: oopses_later: BUG: kernel NULL pointer"),
    "warns": Outcome(None),
    "depends": Outcome(None),
}


class World:
    """A kernel, the programs of its toolkit, and the modules of `SOURCES`, compiled for it."""

    def __init__(self, engine: Engine, toolkit: str, kernel: str, busybox: Entry, work: Path) -> None:
        self.kernel, self.work, self.busybox = kernel, work, busybox
        self.engine, self.toolkit = engine, toolkit
        source = work / "source"
        source.mkdir(parents=True)
        for name, text in SOURCES.items():
            (source / f"{name}.c").write_text(text)
        (source / "Kbuild").write_text("".join(f"obj-m += {name}.o\n" for name in SOURCES))
        (work / "out").mkdir()
        shutil.copy(ROOT / "container/boot/take.sh", work)
        self.run(f"make -j2 -C /lib/modules/{kernel}/build M=/probe/source KBUILD_MODPOST_WARN=1 modules && "
                 f"mkdir /foundry && ln -s /probe/out /foundry/out && KERNEL={kernel} sh /probe/take.sh")
        self.programs = archive(entries_of(work / "out/root"))

    def run(self, command: str) -> None:
        """In the toolkit, with the work folder at /probe."""
        if not self.engine.has_image(self.toolkit):
            self.engine.pull(self.toolkit)
        with self.engine.container(str(self.work)) as name:
            self.engine.call(
                "run", f"--name={name}", "--rm", "--network=none", "--security-opt=label=disable",
                f"--volume={self.work}:/probe", "--workdir=/probe", self.toolkit, "sh", "-euc", command,
                log=self.work / "containers.log")

    def image(self, *modules: str, listed: str = "", source: Path | None = None) -> dict[str, Entry]:
        """What an image with these modules has; depmod saw them below the folder `listed`."""
        root = self.work / "root"
        shutil.rmtree(root, ignore_errors=True)
        place = root / "lib/modules" / self.kernel
        (place / listed).mkdir(parents=True)
        for name in modules:
            shutil.copy((source or self.work / "source") / f"{name}.ko", place / listed)
        self.run(f"touch /probe/{root.name}/lib/modules/{self.kernel}/modules.order"
                 f" /probe/{root.name}/lib/modules/{self.kernel}/modules.builtin;"
                 f" depmod -b /probe/{root.name} {self.kernel}")
        files = {f"opt/lib/modules/{self.kernel}/{path.name}": Entry("file", read_file(path))
                 for path in place.rglob("*") if path.is_file()}
        return {"bin/busybox": self.busybox, **files}

    def boot(self, image: dict[str, Entry], wanted: Wanted, folder: Path, *, seconds: float = SECONDS,
             kernel: Path | None = None, certificates: Sequence[bytes] = ()) -> Verdict:
        """The verdict; the console is in ``boot.log``. With certificates the kernel insists on one of their keys."""
        init = read_file(ROOT / "container/boot/init.sh")
        folder.mkdir(exist_ok=True)
        initramfs = folder / "initramfs"
        initramfs.write_bytes(self.programs + contents(image, wanted, init, {}, mounts=False))
        guest = machine.Guest("x86_64", kernel or self.work / "out/vmlinuz", initramfs, certificates=certificates,
                              arguments=machine.arguments(enforced=bool(certificates)))
        in_time = machine.boot(guest, machine.TCG, folder, folder / "boot.log", timeout=seconds)
        return judge(read_file(folder / "boot.log").decode(errors="replace"), wanted, in_time=in_time, seconds=seconds)

    def wanted(self, *modules: str, accepted: tuple[str, ...] = (), unloads: bool = True) -> Wanted:
        """These modules, loaded in this order."""
        return Wanted(self.kernel, modules, modules, accepted=accepted, unloads=unloads)


@pytest.fixture(scope="module")
def engine(services: Clone, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    port = registry_port(services.services)
    return Engine(tmp_path_factory.mktemp("engine") / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{port}"})


@pytest.fixture(scope="module")
def busybox(built: Clone, kernels: list[str]) -> Entry:
    return image_of(built.cell(f"2.22.2.0-{kernels[0]}") / "image.oci.tar").files["bin/busybox"]


@pytest.fixture(scope="module")
def world(services: Clone, engine: Engine, busybox: Entry, kernels: list[str],
          tmp_path_factory: pytest.TempPathFactory) -> World:
    toolkit = next(entry["dtk"] for entry in services.catalogue() if entry["kernel"] == kernels[0])
    return World(engine, toolkit, kernels[0], busybox, tmp_path_factory.mktemp("boot"))


@pytest.mark.parametrize("name", CASES)
def test_what_a_boot_shows(name: str, world: World, tmp_path: Path) -> None:
    modules = ("provides", "depends") if name == "depends" else (name,)
    seconds = 20.0 if name == "hangs" else SECONDS
    verdict = world.boot(world.image(*modules), world.wanted(*modules), tmp_path, seconds=seconds)
    case = CASES[name]
    assert verdict.reason == case.reason, verdict.fault + (tmp_path / "boot.log").read_text()[-3000:]
    assert case.words in verdict.fault
    if case.reason is None:
        assert {one.name for one in verdict.checks} == {
            "kernel", "loads", "lives", "unloads", "loads-again", "lives-again", "unloads-again"}
        assert all(one.ok for one in verdict.checks)
    assert bool(verdict.warnings) == (name == "warns")
    assert verdict.tainted & 4096 or case.reason is not None  # a module from outside was loaded


def test_what_a_family_accepts(world: World, tmp_path: Path) -> None:
    """An init without its hardware, and a module that is made to stay."""
    refused = world.boot(world.image("nodevice"), world.wanted("nodevice", accepted=("ENODEV",)), tmp_path / "a")
    assert not refused.fault
    assert refused.checks[1].detail == "nodevice: refused with ENODEV, its symbols were found"
    other = world.boot(world.image("refuses"), world.wanted("refuses", accepted=("ENODEV",)), tmp_path / "b")
    assert other.reason == Reason.DOES_NOT_LOAD
    stays = world.boot(world.image("stays"), world.wanted("stays", unloads=False), tmp_path / "c")
    assert not stays.fault and [one.name for one in stays.checks] == ["kernel", "loads", "lives"]


def test_images_that_lack_something(world: World, tmp_path: Path) -> None:
    """A dependency that is not there, depmod's files that name another place, a module that is not there."""
    alone = world.boot(world.image("depends"), world.wanted("depends"), tmp_path / "a")
    assert alone.reason == Reason.DOES_NOT_LOAD and "Unknown symbol foundry_there" in alone.fault
    lies = world.boot(world.image("good", listed="extra"), world.wanted("good"), tmp_path / "b")
    assert lies.reason == Reason.DOES_NOT_LOAD and "could not insert 'good'" in lies.fault
    absent = world.boot(world.image("good"), world.wanted("other"), tmp_path / "c")
    assert absent.reason == Reason.DOES_NOT_LOAD and "Module other not found" in absent.fault


def test_firmware_is_found_where_the_image_has_it(world: World, tmp_path: Path) -> None:
    there = {**world.image("firmware"), "opt/lib/firmware/foundry.bin": Entry("file", b"7 bytes")}
    assert not world.boot(there, world.wanted("firmware"), tmp_path / "a").fault
    absent = world.boot(world.image("firmware"), world.wanted("firmware"), tmp_path / "b")
    assert absent.reason == Reason.DOES_NOT_LOAD and "firmware" in absent.fault


def test_another_kernels_module(services: Clone, world: World, engine: Engine, busybox: Entry, kernels: list[str],
                                tmp_path: Path) -> None:
    newest = next(entry["dtk"] for entry in services.catalogue() if entry["kernel"] == kernels[-1])
    other = World(engine, newest, kernels[-1], busybox, tmp_path / "other")
    image = world.image("good", source=other.work / "source")
    verdict = world.boot(image, world.wanted("good"), tmp_path / "a")
    assert verdict.reason == Reason.DOES_NOT_LOAD
    assert "disagrees about version of symbol" in verdict.fault or "version magic" in verdict.fault, verdict.fault


def test_a_kernel_that_does_not_boot(world: World, tmp_path: Path) -> None:
    """It is not the module's fault, and not told as such."""
    damaged = tmp_path / "vmlinuz"
    content = bytearray((world.work / "out/vmlinuz").read_bytes())
    content[len(content) // 2: len(content) // 2 + 4096] = bytes(4096)
    damaged.write_bytes(content)
    verdict = world.boot(world.image("good"), world.wanted("good"), tmp_path / "a", seconds=20, kernel=damaged)
    assert verdict.reason == Reason.KERNEL_DOES_NOT_BOOT
    assert verdict.fault.startswith(f"the kernel {world.kernel} does not boot")


def test_images_that_others_sign(copied: Clone, world: World, tmp_path: Path) -> None:
    """What `doit sign:image` makes of a published image loads where the site's certificate is known.

    With the signature beside ours it also loads where only ours is, else not.
    """
    cell, ours = f"2.22.2.0-{world.kernel}", read_file(copied.build / "keys/signing.crt")
    copied.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    published, site = copied.doit("publish"), pair_named("site")
    assert (published.code, published.compiled) == (0, []), published.text
    wanted = Wanted(world.kernel, ("neuron",), ("neuron",), enforced=True)
    known = {"site": site.certificate.der, "ours": ssl.PEM_cert_to_DER_cert(ours.decode())}
    for words, loads in ([], ["site"]), (["--beside"], ["site", "ours"]):
        run = copied.doit("sign:image", f"--key={site.key}", f"--certificate={site.file}", "--json", *words, cell)
        assert run.code == 0, run.text
        [said] = json.loads(run.out)
        assert said["image"].startswith(f"registry.sandbox.internal/{copied.repository}:{cell}@sha256:")
        others = said["modules"][f"opt/lib/modules/{world.kernel}/neuron.ko"]
        assert [who.partition(" (")[0] for who in others] == (["'kmod-foundry sandbox'"] if words else [])
        file = copied.root / said["place"]
        for name, certificate in known.items():
            verdict = world.boot(dict(image_of(file).files), wanted, tmp_path / f"{name}{len(words)}",
                                 certificates=[certificate])
            assert verdict.reason == (None if name in loads else Reason.DOES_NOT_LOAD), verdict.fault
            assert name in loads or "Loading of module with unavailable key is rejected" in verdict.fault, verdict.fault
        world.engine.call("load", "--quiet", f"--input={file}")
        world.engine.remove_image(f"registry.sandbox.internal/{copied.repository}:signed-{said['digest'][7:19]}")
    pushed = copied.doit("sign:image", f"--key={site.key}", f"--certificate={site.file}", "--beside", "--json", cell,
                         f"--to=registry.sandbox.internal/{copied.repository}-site")
    assert pushed.code == 0, pushed.text
    assert json.loads(pushed.out)[0]["digest"] == said["digest"]
    assert copied.doit("verify", "--tags").code == 0, "what was published stays as it is"
