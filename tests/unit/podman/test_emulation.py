"""Which architectures run in containers here: from what binfmt_misc says, and from nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundry.podman.emulation import host_arch, not_here

# As the kernel shows formats that Debian's qemu-user-static registers (Documentation/admin-guide/binfmt-misc.rst).
MAGIC = "7f454c460201010000000000000000000200{machine}"
AARCH64, X86_64, ARM, BIG = "b700", "3e00", "2800", "00b7"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine for x86_64 whose binfmt_misc is switched on and has nothing yet."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "1", "x86_64")))
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    return tmp_path


def register(folder: Path, name: str, machine: str, *, flags: str = "POCF", state: str = "enabled") -> None:
    magic = MAGIC.format(machine=machine)
    (folder / name).write_text(
        f"{state}\ninterpreter /usr/bin/{name}\nflags: {flags}\noffset 0\nmagic {magic}\nmask {'ff' * 20}\n")


def test_the_machines_own_needs_nothing(folder: Path) -> None:
    assert not_here(["x86_64"], folder) == {}
    assert not_here([], folder) == {}


@pytest.mark.parametrize("name", ["qemu-aarch64", "FEX", "box64"])
def test_a_format_that_containers_find(folder: Path, name: str) -> None:
    """Known by what it is for, not by its name."""
    register(folder, name, AARCH64)
    assert not_here(["x86_64", "aarch64"], folder) == {}


@pytest.mark.parametrize("machine, changes, why", [
    (AARCH64, {"flags": "POC"}, "qemu-aarch64 of binfmt_misc lacks the flag F, so containers can't use it"),
    (AARCH64, {"flags": ""}, "lacks the flag F"),
    (AARCH64, {"state": "disabled"}, "has nothing that runs programs for aarch64"),
    (ARM, {}, "has nothing"), (BIG, {}, "has nothing"), (X86_64, {}, "has nothing"), ("", {}, "has nothing"),
    ("zz", {}, "has nothing"),
])
def test_formats_that_do_not_help(folder: Path, machine: str, changes: dict[str, str], why: str) -> None:
    register(folder, "qemu-aarch64", machine, **changes)
    [(arch, text)] = not_here(["x86_64", "aarch64"], folder).items()
    assert arch == "aarch64"
    assert text.startswith("needs a machine for aarch64: this one is x86_64, and ")
    assert why in text


def test_switched_off_not_mounted_and_formats_without_magic(folder: Path, tmp_path: Path) -> None:
    register(folder, "qemu-aarch64", AARCH64)
    (folder / "status").write_text("disabled\n")
    assert "aarch64" in not_here(["aarch64"], folder)
    assert "aarch64" in not_here(["aarch64"], tmp_path / "nothing")
    (folder / "status").write_text("enabled\n")
    (folder / "python").write_text("enabled\ninterpreter /usr/bin/python\nflags: \nextension .pyc\n")
    (folder / "garbage").write_bytes(b"\xff\n\n enabled")
    assert not_here(["aarch64"], folder) == {}


def test_an_arm_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "1", "arm64")))
    assert host_arch() == "aarch64"
    assert not_here(["aarch64"], folder) == {}
    assert "this one is aarch64" in not_here(["x86_64"], folder)["x86_64"]
    register(folder, "qemu-x86_64", X86_64)
    assert not_here(["x86_64"], folder) == {}
