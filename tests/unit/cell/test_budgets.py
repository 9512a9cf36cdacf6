"""What a compile may take: podman's options, and the watch over what it writes."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from foundry.base.errors import FoundryError
from foundry.base.process import Completed
from foundry.cell import budgets
from foundry.cell.budgets import budget_arguments, watched
from foundry.config.settings import Settings
from foundry.podman.engine import Engine
from foundry.podman.probe import MEMORY, PROCESSES

GIB = 1 << 30


@dataclass
class Some:
    compile_memory: float = 0.5
    compile_processes: int = 100


def arguments(limits: Sequence[str], own_user: bool = True, **said: Any) -> list[str]:
    return budget_arguments(cast(Settings, Some(**said)), limits, own_user=own_user, slots=3)[1:]


def test_with_cgroups() -> None:
    assert arguments((MEMORY, PROCESSES)) == [f"--memory={GIB // 2}", f"--memory-swap={GIB // 2}", "--pids-limit=100"]


def test_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process, and the user of all compiles that run at once; a user of this machine has other processes."""
    assert arguments(()) == [f"--ulimit=data={GIB // 2}:{GIB // 2}", "--ulimit=nproc=300:300"]
    assert arguments((), own_user=False) == [f"--ulimit=data={GIB // 2}:{GIB // 2}"]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1 << 20))  # no limit can be raised
    assert arguments((PROCESSES,)) == [f"--ulimit=data={1 << 20}:{1 << 20}", "--pids-limit=100"]


def test_no_more_than_the_machine_has() -> None:
    [memory, _, _] = arguments((MEMORY, PROCESSES), compile_memory=1e6)
    assert int(memory.partition("=")[2]) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert arguments((MEMORY, PROCESSES), compile_memory=0, compile_processes=0) == []


@dataclass
class Removed:
    """In place of an engine: which containers were ended."""

    names: list[str] = field(default_factory=list)

    def call(self, *_: str, **__: object) -> Completed:
        return Completed((), 125, "", "no such container", 0.0)

    def remove_containers(self, names: Sequence[str]) -> None:
        self.names += names


@pytest.mark.parametrize("gib, depth, reason", [(0.001, 1, "compile-too-large"), (1, 150, "output-unsafe")])
def test_watched(gib: float, depth: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep it is written, and while the folders change."""
    monkeypatch.setattr(budgets, "_LOOK_SECONDS", 0.01)
    engine = Removed()
    (tmp_path / "d/".join([""] * (depth + 1))).mkdir(parents=True, exist_ok=True)
    (tmp_path / "file").write_bytes(bytes(1 << 21))
    started = time.monotonic()
    with pytest.raises(FoundryError) as caught, watched(
        cast(Engine, engine), "name", [tmp_path, tmp_path / "none"], gib=gib, what="it", log=tmp_path / "log"
    ):
        while not engine.names and time.monotonic() - started < 10:
            (tmp_path / "passing").write_text("x")
            (tmp_path / "passing").unlink()
    assert (caught.value.reason, engine.names) == (reason, ["name"])
    with watched(cast(Engine, engine), "name", [tmp_path], gib=0, what="it", log=tmp_path / "log"):
        time.sleep(0.05)


def test_the_run_is_stopped_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch ends with it, and has nothing to say of its own."""
    asked, said = threading.Event(), list[object]()
    monkeypatch.setattr(budgets, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(threading, "excepthook", said.append)

    class Stopping(Removed):
        def call(self, *_: str, **__: object) -> Completed:
            asked.set()
            raise KeyboardInterrupt

    with watched(cast(Engine, Stopping()), "name", [tmp_path], gib=1, what="it", log=tmp_path / "log"):
        assert asked.wait(10)
    assert said == []
