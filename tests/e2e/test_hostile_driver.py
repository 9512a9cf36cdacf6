"""The driver's own code against everything outside its own compile.

Each attack stands where a package's code runs: in place of the compile, or before it. The container that
finishes the modules, and this machine, must not notice more of it than a refusal.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from foundry.formats.modules.elf import read_module
from tests.harness.clone import Clone
from tests.harness.refusal import no_container, refused

DRIVER = "2.22.2.0"
COMPILE = 'make -j "$JOBS" "$@"'
FAKE = "cp /bin/true neuron.ko"  # the gate would refuse it; the attack comes first


def attack(copied: Clone, kernels: list[str], script: str) -> str:
    """Have the script run in place of the compile; the cell's name."""
    copied.edit("container/build-module.sh", COMPILE, script)
    return f"{DRIVER}-{kernels[0]}"


@pytest.mark.parametrize("script, words", [
    (f"{FAKE}; ln -sf /etc/passwd neuron.ko", "neuron.ko, which is no plain file"),
    (f"{FAKE}; ln neuron.ko other", "neuron.ko, which is no plain file"),
    ("mkfifo neuron.ko", "did not produce neuron.ko"),
    (f"{FAKE}; truncate -s 2G neuron.ko", "more than"),
    (f"{FAKE}; cp neuron.ko evil.ko", "also produced evil.ko, which is not listed"),
    (f"{FAKE}; i=0; while [ $i -lt 1500 ]; do mkdir deep; cd deep; i=$((i + 1)); done", "folders without end"),
])
def test_what_it_leaves_is_refused(script: str, words: str, copied: Clone, kernels: list[str]) -> None:
    """Links, pipes, giants, further modules, folders without end: refused, and no later run is disturbed."""
    cell = attack(copied, kernels, script)
    run = copied.doit(f"module:{cell}")
    assert run.code == 1, run.text
    assert words in run.out
    assert "Traceback" not in run.text
    assert not (copied.cell(cell) / "module.json").exists()
    no_container(copied)
    copied.edit("container/build-module.sh", script, f"{FAKE}; echo again >&2")
    assert copied.doit(f"module:{cell}").code == 1  # the gate
    assert "again" in (copied.cell(cell) / "build.log").read_text()


def test_programs_that_it_leaves_are_nobodys(copied: Clone, kernels: list[str]) -> None:
    """A set-user-ID program of a build that failed can't be run as root by anyone on this machine."""
    script = "cp /bin/sh shell; chmod 6755 shell; mkfifo pipe; mkdir -m 3777 open; exit 9"
    cell = attack(copied, kernels, script)
    run = copied.doit(f"module:{cell}")
    refused(copied, run, f"module:{cell}", 1, "compile-failed", "exit code 9", hint="replay")
    work = copied.cell(cell) / "work"
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    left = (work / "build/shell").stat()
    assert not left.st_mode & (stat.S_ISUID | stat.S_ISGID)
    assert left.st_uid != 0 or os.geteuid() != 0, "it is not root's"
    assert not (work / "build/open").stat().st_mode & (stat.S_ISGID | stat.S_ISVTX)
    assert not os.path.lexists(work / "build/pipe")


def test_it_does_not_make_depmods_lists(copied: Clone, kernels: list[str]) -> None:
    """A package that puts programs of its own in the way of depmod, strip and cp changes neither list nor module."""
    cell = f"{DRIVER}-{kernels[0]}"
    honest = {path.name: path.read_bytes() for path in sorted((copied.cell(cell) / "depmod").iterdir())}
    module = (copied.cell(cell) / "neuron.ko").read_bytes()
    wrapped = (
        "for name in depmod strip cp sed; do printf '#!/bin/sh\\nreal=/usr/sbin/%s; [ -e $real ] || real=/usr/bin/%s\\n"
        "$real \"$@\"; echo softdep neuron pre: evil >> /foundry/out/root/lib/modules/*/modules.softdep\\n' $name $name"
        " > /tmp/bin/$name; chmod 755 /tmp/bin/$name; done; mkdir -p /foundry/out/modules 2> /dev/null || :\n    "
    )
    attack(copied, kernels, wrapped + COMPILE)
    run = copied.doit(f"module:{cell}")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[0]]
    assert {path.name: path.read_bytes() for path in sorted((copied.cell(cell) / "depmod").iterdir())} == honest
    assert (copied.cell(cell) / "neuron.ko").read_bytes() == module
    assert read_module(copied.cell(cell) / "neuron.ko").first("name") == "neuron"


@pytest.mark.parametrize("script, reason, words", [
    ("truncate -s 1T huge && exit 0; exit 9", "compile-failed", "exit code 9"),
    (f"{FAKE}; for i in 1 2 3 4 5 6 7 8; do head -c 64M /dev/zero > big$i; done; sleep 20", "compile-too-large",
     "wrote more than 0.1 GiB"),
])
def test_it_fills_no_disk(script: str, reason: str, words: str, copied: Clone, kernels: list[str]) -> None:
    copied.edit("config/defaults.yaml", "compile_disk: 16", "compile_disk: 0.1")
    cell = attack(copied, kernels, script)
    run = copied.doit(f"module:{cell}")
    refused(copied, run, f"module:{cell}", 1, reason, words)
    no_container(copied)


def test_its_output_has_an_end(copied: Clone, kernels: list[str]) -> None:
    """Of what it prints the beginning and the end are kept; what a terminal would act on is not."""
    script = "printf 'first \\033]0;title\\007 \\302\\233 line\\n'; yes x | head -c 90M; echo last; exit 9"
    cell = attack(copied, kernels, script)
    run = copied.doit(f"module:{cell}")
    log: Path = copied.cell(cell) / "build.log"
    assert run.code == 1
    assert log.stat().st_size < 20 << 20
    data = log.read_bytes()
    assert b"first ?]0;title? ? line\n" in data
    assert b"\nlast\n" in data[-200:]
    assert b"bytes are left out here" in data
    assert b"\x1b" not in run.out.encode()
