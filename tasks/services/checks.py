"""What a machine must have: tools, a container that starts, space, a clock.

Each check is a function that returns a Check; adding one is adding a function
to `ALL`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import FoundryError
from tasks.services.podman import Engine

_MIN_FREE = 5 << 30  # bytes: a toolkit is 1-2 GB, and two are at work at once
_OLDEST_PLAUSIBLE = 1_750_000_000  # June 2025: a clock before it can't verify today's signatures

# Tool → package, by OS family. What the sandbox needs besides is in container/sandbox/system-packages.sh.
_TOOLS = {
    "podman": {"debian": "podman", "fedora": "podman"},
    "gpgv": {"debian": "gpgv", "fedora": "gnupg2"},
}
_INSTALL = {"debian": "apt-get install --no-install-recommends", "fedora": "dnf install"}


@dataclass(frozen=True)
class Check:
    """One finding. `mend` is the command or sentence that mends it; empty when all is well."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def os_family(release: str) -> str:
    """``debian`` or ``fedora`` from the text of /etc/os-release (os-release(5)); empty for others."""
    words = set()
    for line in release.splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words |= set(value.strip().strip('"').split())
    if words & {"debian", "ubuntu"}:
        return "debian"
    return "fedora" if words & {"fedora", "rhel", "centos"} else ""


def check_tools(engine: Engine, folder: Path) -> list[Check]:
    """The programs that every profile needs."""
    release = Path("/etc/os-release")
    family = os_family(release.read_text(encoding="utf-8") if release.exists() else "")
    found = []
    for tool, packages in _TOOLS.items():
        path = shutil.which(tool)
        command = f"{_INSTALL[family]} {packages[family]}" if family else f"install the package that has {tool}"
        found.append(Check(tool, path is not None, path or "not installed", "" if path else command))
    return found


def check_container(engine: Engine, folder: Path) -> list[Check]:
    """A container that really starts, with the settings that this machine needs."""
    if shutil.which("podman") is None:
        return []
    try:
        return [Check("container", True, f"starts with {engine.find_out_again().describe()}")]
    except FoundryError as error:
        return [Check("container", False, error.message, error.hint)]


def check_space(engine: Engine, folder: Path) -> list[Check]:
    """Room for builds below the checkout."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free"
    return [Check("space", free >= _MIN_FREE, detail, "" if free >= _MIN_FREE else "free at least 5 GiB")]


def check_clock(engine: Engine, folder: Path) -> list[Check]:
    """A clock that is not years behind: signatures and tokens have dates."""
    ok = time.time() > _OLDEST_PLAUSIBLE
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return [Check("clock", ok, now, "" if ok else "set the clock (timedatectl set-ntp true)")]


ALL: Sequence[Callable[[Engine, Path], list[Check]]] = (check_tools, check_container, check_space, check_clock)


def run_checks(engine: Engine, folder: Path) -> list[Check]:
    """All findings, in order."""
    return [check for function in ALL for check in function(engine, folder)]
