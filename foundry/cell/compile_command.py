"""The command that compiles a cell's modules in its toolkit: the stage runs it, the source archive tells it."""

from __future__ import annotations

from dataclasses import dataclass

from foundry.base.templates import fill_known
from foundry.config.recipe import Recipe

# No network, no rights, nothing of the caller's environment.
CONFINED = (
    "--rm", "--pull=never", "--network=none", "--cap-drop=all", "--user=0", "--workdir=/", "--http-proxy=false",
    "--security-opt=no-new-privileges", "--security-opt=label=disable",
)


@dataclass(frozen=True)
class Places:
    """Absolute paths on this machine: the build script, the patched source, and two empty folders to write to."""

    script: str
    source: str
    work: str
    out: str


def compile_arguments(
    places: Places, *, recipe: Recipe, kernel: str, arch: str, toolkit: str, jobs: str,
) -> list[str]:
    """What follows ``podman run``: sources read-only, always the same paths inside."""
    facts = {"kernel": kernel, "kernel_build": f"/lib/modules/{kernel}/build", "arch": arch}
    modules = [f"{one.file}:{one.destination}" if one.destination else one.file for one in recipe.modules]
    environment = {
        "KERNEL": kernel, "JOBS": jobs, "STRIP": recipe.strip, "MODULES": " ".join(modules), "LC_ALL": "C",
        **({"LOADING_ORDER": " ".join(recipe.loading_order)} if recipe.loading_order else {}),
        **({"PRE_BUILD": fill_known(" ".join(recipe.pre_build), facts)} if recipe.pre_build else {}),
    }
    mounts = [
        (places.script, "/foundry/build-module.sh", "ro"), (places.source, "/foundry/src", "ro"),
        (places.work, "/foundry/work", "rw"), (places.out, "/foundry/out", "rw"),
    ]
    return [
        *CONFINED,
        *(f"--env={name}={value}" for name, value in environment.items()),
        *(f"--volume={source}:{target}:{mode}" for source, target, mode in mounts),
        "--entrypoint=/bin/sh", toolkit, "/foundry/build-module.sh",
        *(fill_known(word, facts) for word in recipe.make),
    ]
