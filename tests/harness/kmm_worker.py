"""KMM's worker pod, played with a Module of ours: podman runs its init container, a guest is the node.

What is run, and where, is what KMM does (kubernetes-sigs/kernel-module-management de3f8c9: internal/module/
kernelmapper.go, internal/pod/workerpodmanager.go, internal/worker/worker.go; the firmware's place on nodes is
OpenShift's, rh-ecosystem-edge/kernel-module-management 0419e2f, internal/config/config.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from foundry.base.files import read_file
from foundry.base.process import Completed
from foundry.boot import machine
from foundry.boot.initramfs import Entry, archive, console, file, folder, link
from foundry.podman.engine import Engine
from foundry.podman.mounts import CONFINED, bind_mount

SECONDS = 90.0
_SCRIPTS = Path(__file__).parent
_PLACES = ("proc", "sys", "dev", "lib/modules", "var/lib/firmware", "tmp", "etc/kmm-worker", "etc/modprobe.d")


@dataclass(frozen=True)
class ModuleConfig:
    """The configuration of KMM's worker: a Module, as it is for one kernel."""

    kernel: str
    image: str
    directory: str
    module: str
    order: tuple[str, ...] = ()
    firmware: str = ""
    remove: tuple[str, ...] = ()

    @property
    def extraction(self) -> str:
        """The command of the init container `image-extractor`, for its shell."""
        copies = [(f"{self.directory}/lib/modules/{self.kernel}", f"/tmp{self.directory}/lib/modules")]
        if self.firmware:
            copies.append((f"{self.firmware}/*", f"/tmp{self.firmware}"))
        return "".join(f"\nmkdir -p {dest};\ncp -R {source} {dest};\n" for source, dest in copies)

    @property
    def softdeps(self) -> str:
        """The file in the worker's /etc/modprobe.d."""
        return "".join(f"softdep {module} pre: {before}\n" for module, before in pairwise(self.order))

    @property
    def settings(self) -> str:
        """What `kmm_worker.sh` reads."""
        return (f"KMM_DIRECTORY='{self.directory}'\nKMM_MODULE='{self.module}'\nKMM_ORDER='{' '.join(self.order)}'\n"
                f"KMM_FIRMWARE='{self.firmware}'\nKMM_REMOVE='{' '.join(self.remove)}'\n")


def module_configs(manifest: Path, kernel: str) -> dict[str, ModuleConfig]:
    """By name, what KMM makes of a file's Modules for nodes with a kernel; a field that is not played is an error."""
    found = {}
    for module in yaml.safe_load_all(manifest.read_bytes()):
        container = dict(module["spec"]["moduleLoader"]["container"])
        image = image_for(container.pop("kernelMappings"), kernel)
        remove, modprobe = container.pop("inTreeModulesToRemove", ()), container.pop("modprobe")
        found[module["metadata"]["name"]] = ModuleConfig(
            kernel, image, modprobe.pop("dirName"), modprobe.pop("moduleName"),
            tuple(modprobe.pop("modulesLoadingOrder", ())), modprobe.pop("firmwarePath", ""), tuple(remove))
        assert not modprobe and not container, (modprobe, container)
    return found


def image_for(mappings: Sequence[Mapping[str, Any]], kernel: str) -> str:
    """The image of the first mapping that fits a kernel."""
    mapping = next(one for one in mappings
                   if one.get("literal") == kernel or ("regexp" in one and re.search(one["regexp"], kernel)))
    return str(mapping["containerImage"]).replace("${KERNEL_FULL_VERSION}", re.sub(r"[^A-Za-z0-9._-]", "_", kernel))


def run_in_image(engine: Engine, image: str, command: str, volume: Path) -> Completed:
    """What a pod's container with an image does: pulled, /bin/sh with a command, and a volume at /tmp."""
    if not engine.has_image(image):
        engine.pull(image)
    volume.mkdir(parents=True, exist_ok=True)
    with engine.container(str(volume)) as name:
        return engine.call("run", f"--name={name}", *CONFINED, bind_mount(volume, "/tmp", read_only=False),
                           "--entrypoint=/bin/sh", image, "-c", command, check=False)


@dataclass(frozen=True)
class Pod:
    """A worker pod, with the volume that its init container wrote."""

    name: str
    config: ModuleConfig
    volume: Path

    @property
    def entries(self) -> list[Entry]:
        """What a node has of it: /tmp, the worker's configuration, its /etc/modprobe.d."""
        place, config = f"pods/{self.name}", self.config
        return [
            *map(folder, (f"{place}/tmp", f"{place}/modprobe.d")), *_tree(self.volume, f"{place}/tmp"),
            file(f"{place}/config/config", config.settings.encode()),
            *([file(f"{place}/modprobe.d/softdep.conf", config.softdeps.encode())] if config.order else []),
        ]


@dataclass(frozen=True)
class Step:
    """A step of a play: its exit code, what was said, the modules that live then (name → version), firmware's files."""

    said: str
    code: int
    text: str
    modules: Mapping[str, str]
    firmware: tuple[str, ...]


class Node:
    """A machine with a kernel of its own, its /lib/modules, busybox, and a worker's root that has kmod.

    `place` has ``out/vmlinuz`` and ``out/root`` (what `container/boot/take.sh` leaves) and the node's ``lib/modules``.
    """

    def __init__(self, place: Path, busybox: bytes) -> None:
        self.place = place
        self.base = [
            console(), *(folder(f"{root}{name}") for root in ("", "worker/") for name in _PLACES),
            *(link(f"bin/{name}", "busybox") for name in ("sh", "mount", "umount", "chroot", "find")),
            *(file(f"{root}bin/busybox", busybox, executable=True) for root in ("", "worker/")),
            *(link(f"worker/busybox/{name}", "/bin/busybox") for name in ("cp", "find", "rm")),
            file("init", read_file(_SCRIPTS / "kmm_node.sh"), executable=True),
            file("worker/kmm_worker.sh", read_file(_SCRIPTS / "kmm_worker.sh")),
            *_tree(place / "out/root", "worker"), *_tree(place / "lib/modules", "lib/modules"),
        ]

    def play(self, pods: Sequence[Pod], *steps: str) -> list[Step]:
        """Boot it and take the steps (`kmm_node.sh`); what came of them."""
        initramfs, log = self.place / "initramfs", self.place / "play.log"
        plan = file("play", "".join(f"{one}\n" for one in steps).encode())
        initramfs.write_bytes(archive([*self.base, *(entry for pod in pods for entry in pod.entries), plan]))
        log.unlink(missing_ok=True)
        guest = machine.Guest("x86_64", self.place / "out/vmlinuz", initramfs)
        in_time = machine.boot(guest, machine.TCG, self.place, log, timeout=SECONDS)
        text = log.read_text(errors="replace")
        assert in_time and re.search(r"kmm: end\b", text), text[-4000:]
        found = list(_steps(text))
        assert [one.said for one in found] == list(steps), text[-4000:]
        return found


def _steps(log: str) -> Iterator[Step]:
    for part in re.split(r"(?m)^.*?kmm: step ", log)[1:]:
        lines = re.findall(r"(?m)kmm: (code|text|module|firmware) (.*?)\r?$", part)
        told = {kind: [value for one, value in lines if one == kind] for kind, _ in lines}
        words = [value.split() for value in told.get("module", ())]
        yield Step(part.splitlines()[0].strip(), int(told["code"][0]), "\n".join(told.get("text", ())),
                   {name: version for name, version, *_ in words}, tuple(sorted(told.get("firmware", ()))))


def _tree(root: Path, place: str) -> Iterator[Entry]:
    """What is in a folder, links as they are."""
    for path in sorted(root.rglob("*")):
        name = f"{place}/{path.relative_to(root).as_posix()}"
        if path.is_symlink():
            yield link(name, str(path.readlink()))
        else:
            yield folder(name) if path.is_dir() else file(name, read_file(path), executable=True)
