"""The command that compiles a cell's modules in its toolkit: the stage runs it, the source archive tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    places: Places, *, kernel: str, toolkit: str, modules: Sequence[str], strip: str, make: Sequence[str], jobs: str,
) -> list[str]:
    """What follows ``podman run``: sources read-only, always the same paths inside.

    `modules` are the paths of the .ko below the source, `make` what make is told besides.
    """
    environment = {"KERNEL": kernel, "JOBS": jobs, "STRIP": strip, "MODULES": " ".join(modules), "LC_ALL": "C"}
    mounts = [
        (places.script, "/foundry/build-module.sh", "ro"), (places.source, "/foundry/src", "ro"),
        (places.work, "/foundry/work", "rw"), (places.out, "/foundry/out", "rw"),
    ]
    return [
        *CONFINED,
        *(f"--env={name}={value}" for name, value in environment.items()),
        *(f"--volume={source}:{target}:{mode}" for source, target, mode in mounts),
        "--entrypoint=/bin/sh", toolkit, "/foundry/build-module.sh", *make,
    ]
