"""The custom toolkits: which kernel gets which, by what recipe, and the key of each.

A toolkit belongs to a kernel: releases with the same kernel have the same one. Its key is a hash over all that it
is built from; the names of secrets are no part of it, nor is anything that they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foundry.base.errors import ConfigError, Fault, UsageError
from foundry.base.files import canonical_json, sha256_bytes
from foundry.base.names import OCI_ARCH, is_kernel, kernel_arch, kernel_tag
from foundry.base.versions import rhel_release, rt_kernel_of, version_key
from foundry.config.load import Config
from foundry.config.toolkit_recipes import TEMPLATE, ToolkitRecipe
from foundry.plan.keys import FileHashes, key_of

PART_NAMES = {
    "recipe": "the recipe's files", "arguments": "the recipe's settings", "base": "the base image",
    "kernel": "the kernel", "labels": "the labels", "platform": "the platform",
}
_ALONE = re.compile(r"\.el([0-9]+)[.+]")  # CentOS Stream's kernels name no minor


@dataclass(frozen=True)
class Toolkit:
    """The toolkit of one kernel; `releases` are those whose nodes have it, as far as the kernel list knows."""

    kernel: str
    arch: str
    recipe: ToolkitRecipe
    releases: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The tag of the index over its architectures."""
        return kernel_tag(self.kernel)

    @cached_property
    def _facts(self) -> dict[str, str]:
        rhel = rhel_release(self.kernel) or ""
        alone = _ALONE.search(self.kernel)
        return {"kernel": self.kernel, "arch": self.arch, "rhel": alone[1] if alone else rhel,
                "rhel_major": rhel.partition(".")[0], "rhel_rt_kernel": rt_kernel_of(self.kernel) if rhel else ""}

    def fill(self, text: str) -> str:
        """A template of the recipe with the kernel's facts. ConfigError where the kernel's name lacks one."""
        def value(match: re.Match[str]) -> str:
            found = self._facts[match[1]]
            if not found:
                why = f"{text!r} asks for {{{match[1]}}}, which {self.kernel} does not name"
                raise ConfigError([Fault(self.recipe.file, "", why)])
            return found

        return TEMPLATE.sub(value, text)

    @property
    def base_name(self) -> str:
        """The base image's name, with its tag."""
        return self.fill(self.recipe.data["base"])

    @property
    def rt_kernel(self) -> str:
        """The real-time kernel that goes with it if the package repositories have it, or a pattern; empty for none."""
        return self.fill(self.recipe.data.get("rt_kernel", ""))

    @property
    def arguments(self) -> dict[str, str]:
        """The Containerfile's arguments for packages and repositories."""
        given: Mapping[str, Any] = self.recipe.data.get("arguments", {})
        return {
            name: self.fill(value if isinstance(value, str) else " ".join(value)) for name, value in given.items()
        }

    @property
    def labels(self) -> dict[str, str]:
        """The recipe's own labels."""
        return {name: self.fill(text) for name, text in self.recipe.data["labels"].items()}

    @property
    def files(self) -> tuple[str, ...]:
        """Containerfile and script, relative to the root."""
        return self.recipe.data["containerfile"], self.recipe.data["script"]


@dataclass(frozen=True)
class ToolkitKey:
    """What a toolkit is built from, as one hash, and by parts."""

    key: str
    parts: Mapping[str, str]


def toolkit_key(toolkit: Toolkit, base_digest: str, hashes: FileHashes) -> ToolkitKey:
    """The key of a toolkit on that base. OSError when a file of the recipe can't be read."""
    parts = {
        "recipe": _hash([hashes.get(file) for file in toolkit.files]), "arguments": _hash(toolkit.arguments),
        "base": base_digest, "kernel": kernels_hash(toolkit.kernel, toolkit.rt_kernel),
        "labels": _hash([toolkit.base_name, toolkit.labels]), "platform": f"linux/{OCI_ARCH[toolkit.arch]}",
    }
    return ToolkitKey(key_of(parts), parts)


def kernels_hash(kernel: str, rt_kernel: str) -> str:
    """The part of a key that stands for the kernels that a toolkit has, or would have if there is a real-time one."""
    return _hash([kernel, rt_kernel])


def toolkit_of(config: Config, kernel: str, releases: Iterable[str] = ()) -> Toolkit:
    """The toolkit of a kernel by the first recipe that fits.

    Raises UsageError for what is no kernel, and for one of an architecture that is not wanted; ConfigError where no
    recipe fits.
    """
    arch, arches = kernel_arch(kernel), config.settings.arch
    if not is_kernel(kernel) or not arch:
        raise UsageError(f"{kernel!r} is no kernel with its architecture, as `uname -r` prints it",
                         hint="such as 5.14.0-427.68.2.el9_4.x86_64")
    if arch not in arches:
        raise UsageError(f"kernel {kernel} is one for {arch}, and toolkits are made for {' and '.join(arches)}",
                         hint="the setting `arch` says for which")
    for recipe in config.toolkit_recipes:
        if recipe.fits(kernel):
            return Toolkit(kernel, arch, recipe, tuple(releases))
    names = ", ".join(recipe.name for recipe in config.toolkit_recipes) or "none"
    fault = Fault("config", "$.toolkits.recipes", f"no recipe makes toolkits for {kernel}; there are {names}")
    raise ConfigError([fault], hint="add a file to config/toolkits/, and its name to `toolkits.recipes`")


def listed(config: Config) -> list[Toolkit]:
    """The toolkits of the kernel list, the lowest kernel first; each once, with all its releases.

    Raises what `toolkit_of` raises.
    """
    releases: dict[str, list[str]] = {}
    for entry in config.kernels.releases:
        if entry.arch in config.settings.arch:
            releases.setdefault(entry.kernel, []).append(entry.version)
    return [
        toolkit_of(config, kernel, sorted(dict.fromkeys(releases[kernel]), key=version_key))
        for kernel in sorted(releases, key=lambda kernel: (version_key(kernel), kernel))
    ]


def _hash(value: object) -> str:
    return sha256_bytes(canonical_json(value))
