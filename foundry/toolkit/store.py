"""The local images of toolkits that users build: the tools stay, as all toolkits of a base share them, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason
from foundry.podman.build import build_image
from foundry.podman.engine import Engine

_TOOLCHAINS = "localhost/kmod-foundry-toolchain"


@dataclass(frozen=True)
class ToolkitStore:
    """Builds with `engine`; `tags` are the whole names of images by the names that the recipe's steps give them."""

    engine: Engine
    work: Path
    tags: Mapping[str, str]

    def build(
        self, name: str, recipe: Path, context: Path, *, log: Path, created: int,
        arguments: Mapping[str, str] | None = None, target: str = "", layers: bool = False,
        labels: Mapping[str, str] | None = None, secrets: Mapping[str, Path] | None = None,
    ) -> str:
        """``podman build``; returns the image's id."""
        return build_image(
            self.engine, self.work, self.tags[name], recipe, context, log=log, created=created, arguments=arguments,
            target=target, layers=layers, labels=labels, secrets=secrets, more=["--format=oci"],
            reason=Reason.TOOLKIT_BUILD_FAILED, quiet=False,
        )


def toolchain_tag(recipe: str, base_name: str, base_digest: str) -> str:
    """The name that the tools of a recipe have on a base."""
    return f"{_TOOLCHAINS}:{_kind(recipe, base_name)}-{base_digest.partition(':')[2][:16]}"


def drop_older(engine: Engine, recipe: str, base_name: str, keep: str) -> None:
    """Remove the tools on older bases of the same name."""
    listed = engine.call(
        "images", "--format={{.Repository}}:{{.Tag}}", f"--filter=reference={_TOOLCHAINS}", check=False)
    for name in listed.stdout.split():
        if name.startswith(f"{_TOOLCHAINS}:{_kind(recipe, base_name)}-") and name != keep:
            engine.remove_image(name)


def _kind(recipe: str, base_name: str) -> str:
    return f"{recipe}-{sha256_bytes(base_name.encode())[:8]}"
