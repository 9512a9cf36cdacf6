"""The commands that make a cell's modules in its toolkit: the stage runs them, the source tarball tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foundry.base.templates import fill_known
from foundry.config.recipe import Recipe
from foundry.podman.mounts import CONFINED, bind_mount

_SCRIPT = "/foundry/build-module.sh"
_LARGEST_FILE = 4 << 30  # bytes that a program in a container may write into one file


@dataclass(frozen=True)
class Places:
    """Absolute paths on this machine: the build script, the patched source, and empty folders to write to.

    The driver's own code writes to `work`; the modules that are taken from there are put into
    `modules`, and what is made of them comes to `out`. The compile alone needs neither of these.
    Where there is a `tmp` for temporary files, a container writes nowhere else.
    """

    script: str
    source: str
    work: str
    modules: str = ""
    out: str = ""
    tmp: str = ""


def compile_arguments(
    places: Places, *, recipe: Recipe, kernel: str, arch: str, toolkit: str, jobs: str, user: str = "0",
) -> list[str]:
    """What follows ``podman run`` to compile: sources read-only, always the same paths inside."""
    facts = {"kernel": kernel, "kernel_build": f"/lib/modules/{kernel}/build", "arch": arch}
    environment = {
        "KERNEL": kernel, "JOBS": jobs,
        **({"PRE_BUILD": fill_known(" ".join(recipe.pre_build), facts)} if recipe.pre_build else {}),
    }
    mounts = [(places.source, "/foundry/src", "ro"), (places.work, "/foundry/work", "rw")]
    return [
        *_arguments(places, environment, mounts, toolkit, user), "compile",
        *(fill_known(word, facts) for word in recipe.make),
    ]


def finish_arguments(
    places: Places, *, recipe: Recipe, kernel: str, toolkit: str, in_tree: Sequence[str] = ()
) -> list[str]:
    """What follows ``podman run`` to strip the modules and make depmod's files; nothing of the driver runs there.

    With `in_tree`, the kernel's own modules that they need: to make depmod's files anew, which know these, too.
    """
    modules = [f"{one.base}:{one.destination}" if one.destination else one.base for one in recipe.modules]
    environment = {
        "KERNEL": kernel, "STRIP": recipe.strip, "MODULES": " ".join(modules),
        **({"LOADING_ORDER": " ".join(recipe.loading_order)} if recipe.loading_order else {}),
        **({"IN_TREE": " ".join(in_tree)} if in_tree else {}),
    }
    mounts = [(places.modules, "/foundry/modules", "ro"), (places.out, "/foundry/out", "rw")]
    return [*_arguments(places, environment, mounts, toolkit, "0"), "link" if in_tree else "finish"]


def _arguments(
    places: Places, environment: Mapping[str, str], mounts: Sequence[tuple[str, str, str]], toolkit: str, user: str
) -> list[str]:
    mounts = [(places.script, _SCRIPT, "ro"), *mounts]
    if places.tmp:
        mounts += [(places.tmp, "/tmp", "rw"), (places.tmp, "/var/tmp", "rw")]  # noqa: S108 - inside
    return [
        *CONFINED, f"--user={user}", f"--ulimit=fsize={_LARGEST_FILE}:{_LARGEST_FILE}",
        *(f"--env={name}={value}" for name, value in {**environment, "LC_ALL": "C"}.items()),
        *(bind_mount(source, target, read_only=mode == "ro") for source, target, mode in mounts),
        *(("--read-only", "--read-only-tmpfs=false") if places.tmp else ()),
        "--entrypoint=/bin/sh", toolkit, _SCRIPT,
    ]
