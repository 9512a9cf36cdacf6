"""The sandbox's toolkits: Debian's own kernels by the recipe that users have, pushed to the sandbox's registry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from foundry.base.names import kernel_arch, tag_of
from foundry.base.yaml_files import parse_yaml
from foundry.config.toolkit_recipes import ToolkitRecipe
from foundry.plan.toolkits import Toolkit
from foundry.sandbox.debian import IMAGE, SUITE, Survey
from foundry.sandbox.localstore import LocalStore
from foundry.toolkit import image
from foundry.toolkit.image import Order

_RECIPE = "config/toolkits/debian.yaml"
# All that the toolkits are made by.
FILES = (_RECIPE, "container/driver-toolkit/Containerfile.debian", "container/driver-toolkit/toolkit.sh")


@dataclass(frozen=True)
class Kit:
    """What all toolkits have in common: the base as podman has it here, and as it was pushed."""

    survey: Survey
    recipe: ToolkitRecipe
    project: Path
    base: str  # by digest

    def order(self, kernel: str, rt_kernel: str = "") -> Order:
        """The order of one kernel's toolkit."""
        toolkit = Toolkit(kernel, kernel_arch(kernel), self.recipe)
        name, _, digest = self.base.partition("@")
        return Order(
            kernel, rt_kernel, self.project / self.recipe.data["containerfile"], self.survey.image, f"{name}:{SUITE}",
            digest, self.survey.date, toolkit.arguments, toolkit.labels,
        )


def kernel_tag(kernel: str) -> str:
    """The tag of what belongs to a kernel: the kernel, with what a tag can't hold as ``_``."""
    return tag_of(kernel)


def push_debian(store: LocalStore, log: Path) -> str:
    """Have the base of the toolkits in the registry, for toolkits that users build; its reference by digest."""
    return store.push(IMAGE, f"{IMAGE}:{SUITE}", log=log, keep=True)


def read_recipe(project: Path) -> ToolkitRecipe:
    """The recipe of Debian's toolkits."""
    return ToolkitRecipe("debian", parse_yaml((project / _RECIPE).read_bytes()))


def build_toolchain(store: LocalStore, kit: Kit, kernel: str, log: Path) -> None:
    """Make the layers that all toolkits share; the builds that follow find them in the local store."""
    image.build_toolchain(store, replace(kit.order(kernel), labels={}), "toolchain", log)


def build_toolkit(store: LocalStore, kit: Kit, kernel: str, log: Path, *, rt_kernel: str = "") -> str:
    """Build and push the toolkit of one kernel, and of a real-time one beside it; returns its reference by digest."""
    tag = kernel_tag(kernel)
    own_log = log.with_name(f"toolkit-{tag}.log")
    own_log.unlink(missing_ok=True)
    name = f"driver-toolkit-{tag.lower()}"
    image.build_toolkit(store, kit.order(kernel, rt_kernel), name, own_log)
    return store.push(name, f"driver-toolkit:{tag}", log=own_log)
