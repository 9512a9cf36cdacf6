"""The driver's own code against everything outside its own compile.

Each attack stands where a package's code runs: in place of the compile, or before it. The container that
finishes the modules, and this machine, must not notice more of it than a refusal.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from foundry.formats.modules.elf import read_module
from foundry.podman.engine import Engine
from tests.harness.clone import Clone
from tests.harness.refusal import no_container, refused

DRIVER = "2.22.2.0"
COMPILE = 'make -j "$jobs" ${pahole:+PAHOLE=/tmp/bin/pahole} "$@"'
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
    ("for i in 1 2 3 4 5 6 7 8; do head -c 64M /dev/zero > /tmp/big$i; done; sleep 20", "compile-too-large",
     "wrote more than 0.1 GiB"),
    ("exec 3> x; rm x; head -c 300M /dev/zero >&3; sleep 20", "compile-too-large", "wrote more than 0.1 GiB"),
    ("i=0; while [ $i -lt 200 ]; do mkdir dddddddddddddddddddddddddddddd; cd dddddddddddddddddddddddddddddd;"
     " i=$((i + 1)); done; head -c 300M /dev/zero > hidden; sleep 20", "output-unsafe", "without end"),
])
def test_it_fills_no_disk(script: str, reason: str, words: str, copied: Clone, kernels: list[str]) -> None:
    copied.edit("config/defaults.yaml", "compile_disk: 16", "compile_disk: 0.1")
    cell = attack(copied, kernels, script)
    run = copied.doit(f"module:{cell}")
    refused(copied, run, f"module:{cell}", 1, reason, words)
    no_container(copied)


@pytest.mark.parametrize("script", [
    "truncate -s 300G /foundry/out/modules.huge 2> /dev/null && exit 0; touch /usr/lib/x /var/x /etc/x /x"
    " 2> /dev/null && exit 0; [ -e /x ] || [ -w /usr ] || exit 9",
    "head -c 10M /dev/zero > /dev/shm/x || :; exit 9",
])
def test_it_writes_only_where_it_is_watched(script: str, copied: Clone, kernels: list[str]) -> None:
    """Its folder and /tmp; what else it finds is read-only, or a few megabytes of memory."""
    cell = attack(copied, kernels, script)
    refused(copied, copied.doit(f"module:{cell}"), f"module:{cell}", 1, "compile-failed", "exit code 9")


_MALLOC = "{ head -c 20G /dev/zero | tail -c 20G; } > /dev/null || exit 8"
_FORKS = "bomb() { bomb & bomb & wait; }; bomb; exit 9"


@pytest.mark.parametrize("script, reason, words", [
    (_MALLOC, "out-of-memory", ""),
    (_FORKS, "out-of-processes", "fork"),
    ("kill -KILL 0; exit 137", "container-killed", "signal 9"),
    ("exit 139", "container-killed", "signal 11"),
    ("echo Error: no >&2; exit 125", "podman-failed", "podman"),
])
@pytest.mark.parametrize("cgroups", [True, False])
def test_it_takes_no_more_of_the_machine(
    cgroups: bool, script: str, reason: str, words: str, copied: Clone, kernels: list[str]
) -> None:
    """Said as what it is, tried twice, and not kept against the driver: with cgroups, and on machines without."""
    for line in ("compile_memory: 16", "compile_processes: 2048"):
        copied.edit("config/defaults.yaml", line, f"{line.split()[0]} {0.25 if 'memory' in line else 100}")
    if not cgroups:
        engine = copied.build / "engine/engine.json"
        engine.write_text(json.dumps({**json.loads(engine.read_text()), "limits": []}))
    cell = attack(copied, kernels, f"echo a try >&2; {script}")
    started = time.monotonic()
    run = copied.doit(f"module:{cell}")
    refused(copied, run, f"module:{cell}", 1, reason, words)
    assert time.monotonic() - started < 90
    assert (copied.cell(cell) / "build.log").read_text().count("\na try\n") == 2
    no_container(copied)
    state = copied.status()[cell]
    assert (state["state"], state["code"], state["failure"]["retry"]) == ("pending", reason, True)


def test_a_container_that_somebody_removes(copied: Clone, kernels: list[str]) -> None:
    """The compile is tried again, and this time it goes well."""
    cell = f"{DRIVER}-{kernels[0]}"
    script = "if [ ! -e /foundry/src/again ]; then sleep 60; fi; " + COMPILE
    attack(copied, kernels, script)
    ended = threading.Event()

    def remove() -> None:
        mark = Engine(copied.build / "engine" / "engine.json").mark
        while not ended.wait(0.1):
            argv = ["podman", "ps", "--no-trunc", f"--filter=name=^{mark}-", "--format={{.Names}} {{.Command}}"]
            listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
            for line in listed:
                if " compile" in line and (copied.cell(cell) / "work/src").is_dir():
                    (copied.cell(cell) / "work/src/again").touch()
                    subprocess.run(["podman", "rm", "--force", "--time=0", line.split()[0]], capture_output=True,
                                   check=False)
                    return

    somebody = threading.Thread(target=remove)
    somebody.start()
    try:
        run = copied.doit(f"module:{cell}")
    finally:
        ended.set()
        somebody.join()
    assert run.code == 0, run.text
    assert "tried again" in (copied.cell(cell) / "build.log").read_text()


def test_time_is_for_all_of_it(copied: Clone, kernels: list[str]) -> None:
    """Not for each command: a second try has none left."""
    copied.edit("config/defaults.yaml", "compile_timeout: 3600", "compile_timeout: 4")
    cell = attack(copied, kernels, "echo a try >&2; trap '' TERM; sleep 60 & wait; sleep 60")
    started = time.monotonic()
    run = copied.doit(f"module:{cell}")
    refused(copied, run, f"module:{cell}", 1, "timeout", "took longer than 4 s", hint="compile_timeout")
    assert time.monotonic() - started < 30
    assert (copied.cell(cell) / "build.log").read_text().count("\na try\n") == 1
    assert copied.status()[cell]["state"] == "pending"
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
