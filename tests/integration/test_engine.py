"""The engine on machines of several kinds, played by a wrapper that refuses what such a machine refuses."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from foundry.base.errors import OutsideError
from foundry.podman.engine import Engine
from foundry.podman.probe import LONGEST_RUNROOT, EngineSettings
from tests.harness.store import cold_store

pytestmark = pytest.mark.podman
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")


class Machine:
    """A PATH on which `podman` is a wrapper around the real one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.log = folder / "log"
        self.state = folder / "engine.json"
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def refuse(self, *, unless: str, say: str, verbs: str = "run|build") -> None:
        """A podman that starts containers only when its arguments hold `unless`."""
        real = shutil.which("podman", path=os.environ["PATH"].partition(":")[2])
        wrapper = self.folder / "podman"
        wrapper.write_text(
            f'#!/bin/sh\necho "$*" >> {self.log}\n'
            f'for verb; do case "$verb" in {verbs})\n'
            f'  case "$*" in *{unless}*) ;; *) echo "{say}" >&2; exit 126 ;; esac ;; esac; done\n'
            f'exec {real} "$@"\n'
        )
        wrapper.chmod(0o755)

    def runs(self) -> int:
        """How many containers were tried."""
        return sum(1 for line in self.log.read_text().splitlines() if "--rootfs" in line) if self.log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_it_finds_settings_with_which_a_container_starts(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.refuse(unless="nofile=1024:1024", say="setrlimit RLIMIT_NOFILE: Operation not permitted")
    engine = Engine(machine.state)
    assert engine.settings().run_args == LIMITS
    assert "this machine needs" in capsys.readouterr().err
    tried = machine.runs()
    assert tried > 0
    assert Engine(machine.state).settings() == engine.settings()
    assert machine.runs() == tried, "found out once"


def test_a_build_may_need_other_settings_than_a_run(machine: Machine) -> None:
    """As podman 5.4 does in a confined machine."""
    machine.refuse(unless="nofile=1024:1024", say="error setting rlimits for ready process", verbs="build")
    engine = Engine(machine.state)
    settings = engine.settings()
    assert settings.build_args == LIMITS
    assert engine.command("build", "x")[-4:] == [*LIMITS, engine.build_mark, "x"]
    tried = machine.runs()
    assert Engine(machine.state).settings() == settings
    assert machine.runs() == tried, "found out once"


def test_a_machine_without_builds(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of modules need no `RUN`: it is said, and cells are built."""
    machine.refuse(unless="never-this", say="no RUN here", verbs="build")
    assert Engine(machine.state).settings().build_args == ()
    said = capsys.readouterr().err
    assert "`RUN` in a Containerfile does not work on this machine" in said and "no RUN here" in said


def test_a_plain_machine_needs_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A podman that starts whatever it is asked to (the limits are added behind the engine's back)."""
    real = shutil.which("podman", path=os.environ["PATH"].partition(":")[2])
    wrapper = machine.folder / "podman"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$1" in run|build)\n'
        f'  verb=$1; shift; exec {real} --runtime=runc "$verb" {" ".join(LIMITS)} "$@" ;;\nesac\n'
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    engine = Engine(machine.state)
    assert engine.settings() == EngineSettings()
    assert capsys.readouterr().err == ""


def test_another_machine_is_found_out_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build/` may be carried to a machine with other limits, another podman, another kernel."""
    machine.refuse(unless="nofile=1024:1024", say="no")
    Engine(machine.state).settings()
    tried = machine.runs()
    monkeypatch.setenv("CONTAINERS_CONF", "")
    Engine(machine.state).settings()
    assert machine.runs() > tried


def test_a_long_runroot_is_said(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """podman's own answers on the store; no container starts, as it would end 20 s late."""
    monkeypatch.setattr("foundry.podman.probe._NO_LIMIT_SINCE", (99,))
    real = shutil.which("podman", path=os.environ["PATH"].partition(":")[2])
    wrapper = machine.folder / "podman"
    wrapper.write_text(f'#!/bin/sh\ncase " $* " in *" run "*|*" build "*) exit 0 ;; esac\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    with cold_store(tmp_path / "store") as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        Engine(machine.state).settings()
        assert capsys.readouterr().err == ""
        conf = Path(store["CONTAINERS_STORAGE_CONF"])
        runroot = tmp_path / ("x" * LONGEST_RUNROOT)
        text = conf.read_text()
        conf.write_text(re.sub('runroot = ".*"', f'runroot = "{runroot}"', text))
        shutil.rmtree(tmp_path / "store/graph")  # it remembers its runroot
        Engine(tmp_path / "other.json").settings()
        assert f"20 s longer on this machine: {runroot} has more than 50 characters" in capsys.readouterr().err


def test_a_container_in_a_cold_store_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that cleans up after it takes the store's options; podman would wait 20 s for it otherwise."""
    with cold_store(tmp_path / "store") as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        started = time.monotonic()
        Engine(tmp_path / "engine.json").settings()
        assert time.monotonic() - started < 15


def test_no_settings_help(machine: Machine) -> None:
    machine.refuse(unless="never-this", say="cgroups in hybrid mode not supported")
    with pytest.raises(OutsideError, match=r"can't start a container .*hybrid") as raised:
        Engine(machine.state).settings()
    assert raised.value.reason == "podman-cannot-start"
    assert raised.value.exit_code == 3
    assert not machine.state.exists()


def test_podman_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutsideError, match="podman is not installed") as raised:
        Engine(tmp_path / "engine.json").settings()
    assert raised.value.exit_code == 3
