"""Whether containers of another architecture run on this machine: its own, or by the kernel's binfmt_misc.

Linux hands programs of a foreign architecture to the interpreter that is registered for them
(Documentation/admin-guide/binfmt-misc.rst). In a container it is found only if the kernel opened it when it was
registered, which is the flag F. Finding out reads a few small files and starts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path("/proc/sys/fs/binfmt_misc")
_MACHINE = slice(18, 20)  # e_machine in an ELF header (elf.h), little endian
_ELF = b"\x7fELF"
_MACHINES = {"x86_64": 62, "aarch64": 183}
_NAMES = {"arm64": "aarch64", "amd64": "x86_64"}  # what uname says on other systems


def host_arch() -> str:
    """The machine's architecture, ``x86_64`` or ``aarch64`` where it is one of those."""
    machine = os.uname().machine
    return _NAMES.get(machine, machine)


def not_here(arches: Iterable[str], folder: Path = FOLDER) -> dict[str, str]:
    """Those of `arches` whose programs don't run in containers here, each with the reason in words."""
    host = host_arch()
    reasons = {arch: _reason(arch, folder) for arch in arches if arch != host}
    return {arch: f"needs a machine for {arch}: this one is {host}, and {why}" for arch, why in reasons.items() if why}


def _reason(arch: str, folder: Path) -> str:
    """Why programs of `arch` don't run in containers here; empty when they do."""
    without_flag = ""
    for entry in _entries(folder):
        lines = entry.read_text(encoding="utf-8", errors="replace").splitlines()
        facts = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        if not _is_for(facts.get("magic", ""), arch) or "enabled" not in lines:
            continue
        if "F" in facts.get("flags:", ""):
            return ""
        without_flag = f"{entry.name} of binfmt_misc lacks the flag F, so containers can't use it"
    return without_flag or f"binfmt_misc has nothing that runs programs for {arch}"


def _entries(folder: Path) -> list[Path]:
    """The registered formats; none where all are switched off or the file system is not mounted."""
    try:
        if (folder / "status").read_text(encoding="utf-8").strip() != "enabled":
            return []
        return sorted(path for path in folder.iterdir() if path.name not in ("status", "register"))
    except OSError:
        return []


def _is_for(magic: str, arch: str) -> bool:
    """Whether a format's magic, in hex digits, is the beginning of ELF programs for `arch`."""
    try:
        start = bytes.fromhex(magic)
    except ValueError:
        return False
    return start.startswith(_ELF) and int.from_bytes(start[_MACHINE], "little") == _MACHINES[arch]
