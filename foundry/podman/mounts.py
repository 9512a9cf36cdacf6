"""What a container sees of this machine, and may do on it."""

from __future__ import annotations

from pathlib import Path

# No network, no rights, nothing of the caller's environment.
CONFINED = (
    "--rm", "--pull=never", "--network=none", "--cap-drop=all", "--workdir=/", "--http-proxy=false",
    "--security-opt=no-new-privileges", "--security-opt=label=disable", "--log-driver=none",
)


def bind_mount(source: Path | str, target: str, *, read_only: bool) -> str:
    """The option of ``podman run`` that has a file or folder in the container, whatever it is called.

    Its value is a record of comma-separated values (podman-run(1)): ``--volume`` takes no colon in a path.
    """
    name = f"src={source}"
    if any(mark in name for mark in ',"\r\n'):
        name = '"' + name.replace('"', '""') + '"'
    return f"--mount=type=bind,{name},dst={target}{',ro' if read_only else ''}"
