"""What a toolkit has for booting its kernel, kept by the toolkit's digest: so it is not pulled again for a boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, read_file, scratch, sha256_bytes, sha256_file, write_atomic
from foundry.base.process import failure_sentence
from foundry.base.reasons import Reason
from foundry.base.records import output_facts, outputs_changed, read_record, write_record
from foundry.plan.cells import Cell
from foundry.podman.mounts import CONFINED, bind_mount
from foundry.run.context import Foundry

FOLDER = "boot"
HOST = "host"  # the link to the node's own modules, as KMM's documentation calls it
# What only `wanted` proofs may go without: it says nothing of the modules.
NO_PROOF = (Reason.NO_KERNEL_IMAGE, Reason.KERNEL_DOES_NOT_BOOT, Reason.TOOLKIT_UNUSABLE)
SCRIPT = "container/boot/take.sh"
_RECORD, _KERNEL, _ROOT = "kit.json", "vmlinuz", "root.cpio"
_STAGE = "kit"
_SECONDS = 600.0
_NO_KERNEL, _INCOMPLETE = 4, 5  # exit codes of the script


@dataclass(frozen=True)
class Kit:
    """A kernel's image, the archive of the guest's programs, what modprobe calls itself, whether there is a mount."""

    kernel: Path
    root: Path
    kernel_sha256: str
    modprobe: str
    mounts: bool


def kit_folder(foundry: Foundry, cell: Cell, in_tree: Sequence[str]) -> Path:
    """Where the kit of the cell's toolkit is; `in_tree` are paths of modules below ``/lib/modules/<kernel>``."""
    more = f"-{sha256_bytes(canonical_json(sorted(in_tree)))[:12]}" if in_tree else ""
    digest = cell.toolkit_digest.removeprefix("sha256:")[:12]
    return foundry.root / foundry.config.build / FOLDER / f"{cell.kernel}-{digest}{more}"


def kernel_of(folder: Path) -> str:
    """The kernel whose kit is in a folder; empty where that is none."""
    record = read_record(folder / _RECORD, _STAGE)
    return str(record["kernel"]) if record is not None else ""


def kit_here(folder: Path) -> Kit | None:
    """The kit of a folder; None where it is not there or not whole."""
    record = read_record(folder / _RECORD, _STAGE)
    if record is None or outputs_changed(record, folder):
        return None
    return Kit(folder / _KERNEL, folder / _ROOT, record["outputs"][_KERNEL]["sha256"], record["modprobe"],
               record["mounts"])


def take_kit(foundry: Foundry, cell: Cell, image: str, in_tree: Sequence[str], log: Path) -> Kit:
    """The kit, taken out of the cell's toolkit, which is in podman's store as `image`, unless it is here already.

    Raises FoundryError ``no-kernel-image`` for a toolkit without the kernel's image, ``toolkit-unusable`` for one that
    lacks a program or module.
    """
    from foundry.boot.initramfs import archive, entries_of

    folder = kit_folder(foundry, cell, in_tree)
    if kit := kit_here(folder):
        return kit
    engine = foundry.containers.engine
    with scratch(folder.parent, "kit") as work:
        (work / "out").mkdir()
        with engine.container(f"kit {cell.kernel}") as name:
            done = engine.call(
                "run", f"--name={name}", *CONFINED, "--user=0", f"--env=KERNEL={cell.kernel}", "--env=LC_ALL=C",
                bind_mount((foundry.root / SCRIPT).absolute(), "/foundry/take.sh", read_only=True),
                bind_mount((work / "out").absolute(), "/foundry/out", read_only=False),
                "--entrypoint=/bin/sh", image, "/foundry/take.sh", *in_tree, check=False, timeout=_SECONDS,
            )
        if done.returncode == _NO_KERNEL:
            raise FoundryError(f"the toolkit of {cell.kernel} has no image of that kernel (vmlinuz)", log=log,
                               reason=Reason.NO_KERNEL_IMAGE, hint="a toolkit has it where kernel-core is installed")
        if done.returncode == _INCOMPLETE:
            said = done.stderr.strip().rpartition("\n")[2]
            raise FoundryError(f"{cell.kernel} can't be booted: {said}", reason=Reason.TOOLKIT_UNUSABLE, log=log,
                               hint="the toolkit lacks what the kernel's own packages have")
        if done.returncode != 0:
            raise FoundryError(failure_sentence(done), reason=Reason.PODMAN_FAILED, hint="run `doit doctor`", log=log)
        modprobe = read_file(work / "out/release").decode(errors="replace").strip()[:200] or "unknown"
        mounts = any((work / "out/root").glob("**/mount"))
        made = work / "made"
        made.mkdir()
        write_atomic(made / _ROOT, archive(entries_of(work / "out/root")))
        (work / "out" / _KERNEL).replace(made / _KERNEL)
        (made / _KERNEL).chmod(0o644)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _RECORD).unlink(missing_ok=True)
        for file in (_KERNEL, _ROOT):
            (made / file).replace(folder / file)
    write_record(folder / _RECORD, _STAGE, {
        "kernel": cell.kernel, "toolkit": cell.toolkit, "in_tree": sorted(in_tree), "modprobe": modprobe,
        "mounts": mounts,
        "inputs": {}, "outputs": output_facts(folder, [_KERNEL, _ROOT]),
    })
    return Kit(folder / _KERNEL, folder / _ROOT, sha256_file(folder / _KERNEL), modprobe, mounts)


def keep_kit(foundry: Foundry, cell: Cell, image: str, modules: Path, log: Path) -> None:
    """Take what a boot needs out of the toolkit while it is here; what goes wrong, the boot finds and says."""
    if not foundry.states.to_prove(cell.arch):
        return
    try:
        take_kit(foundry, cell, image, in_tree_of(read_file(modules / "modules.dep")), log)
    except FoundryError as error:
        if error.reason not in NO_PROOF:
            raise


def in_tree_of(depends: bytes) -> list[str]:
    """The kernel's own modules that depmod's list names, as their paths below ``/lib/modules/<kernel>``."""
    words = depends.decode(errors="replace").replace(":", " ").split()
    return sorted({word.removeprefix(f"{HOST}/") for word in words if word.startswith(f"{HOST}/")})
