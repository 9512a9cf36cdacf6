"""``podman build`` as the sandbox and the toolkits use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from foundry.base.files import read_file, scratch
from foundry.base.reasons import Reason
from foundry.podman.engine import Engine


def build_image(
    engine: Engine, work: Path, tag: str, recipe: Path, context: Path, *, log: Path, created: int,
    arguments: Mapping[str, str] | None = None, target: str = "", layers: bool = False,
    labels: Mapping[str, str] | None = None, secrets: Mapping[str, Path] | None = None,
    more: Sequence[str] = (), reason: Reason = Reason.SANDBOX_IMAGE_FAILED, quiet: bool = True,
) -> str:
    """Build an image under the tag; returns its id. `created` (seconds) is its time and its files'.

    With `layers` every step is a layer that later builds use again, and the network is the machine's. `secrets` are
    files by name: podman mounts them while a step that asks for them runs, and keeps them nowhere. `work` takes a
    temporary file. Raises FoundryError `reason`, and what `Engine.call` raises.
    """
    with scratch(work, "build") as folder:
        identity = folder / "id"
        engine.call(
            "build", *(["--quiet"] if quiet else []), "--pull=never", "--force-rm",
            f"--network={'host' if layers else 'none'}", f"--layers={str(layers).lower()}", "--identity-label=false",
            f"--timestamp={created}", *more,
            *([f"--target={target}"] if target else []),
            *(f"--label={name}={value}" for name, value in (labels or {}).items()),
            *(f"--secret=id={name},src={path.absolute()}" for name, path in (secrets or {}).items()),
            f"--tag={tag}", f"--iidfile={identity}",
            *(f"--build-arg={key}={value}" for key, value in (arguments or {}).items()),
            f"--file={recipe}", str(context),
            log=log, reason=reason, hint="read the log",
        )
        return read_file(identity).decode(errors="replace").strip().removeprefix("sha256:")
