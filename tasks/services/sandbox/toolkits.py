"""Toolkits from Debian's own kernels, made by container/driver-toolkit/ and pushed to the sandbox's registry."""

from __future__ import annotations

from pathlib import Path

from tasks.core.names import image_tag
from tasks.services.sandbox.debian import Archive
from tasks.services.sandbox.localstore import LocalStore

_RECIPE = "Containerfile.debian"


def kernel_tag(kernel: str) -> str:
    """The tag of what belongs to a kernel: the kernel, with what a tag can't hold as ``_``."""
    return image_tag("", kernel).removeprefix("-")


def build_toolchain(store: LocalStore, archive: Archive, recipes: Path, log: Path) -> None:
    """Make the layers that all toolkits share; the builds that follow find them in the local store."""
    store.build(
        "toolchain", recipes / _RECIPE, recipes, log=log, created=archive.date, target="toolchain",
        arguments={"BASE": archive.image}, layers=True,
    )


def build_toolkit(
    store: LocalStore, archive: Archive, kernel: str, recipes: Path, log: Path, *, rt_kernel: str = ""
) -> str:
    """Build and push the toolkit of one kernel, and of a real-time one beside it; returns its reference by digest."""
    tag = kernel_tag(kernel)
    own_log = log.with_name(f"toolkit-{tag}.log")
    own_log.unlink(missing_ok=True)
    name = f"driver-toolkit-{tag.lower()}"
    store.build(
        name, recipes / _RECIPE, recipes, log=own_log, created=archive.date,
        arguments={"BASE": archive.image, "KERNEL": kernel, "RT_KERNEL": rt_kernel}, layers=True,
    )
    return store.push(name, f"driver-toolkit:{tag}", log=own_log)
