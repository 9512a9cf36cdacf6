"""What outlived a run is found by where the run worked, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry.base.process import end_marked, mark_children, run, unmarked

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def _no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests set goes with them."""
    monkeypatch.setenv("KMOD_FOUNDRY_RUN", "")


def left_by(place: Path) -> subprocess.Popen[bytes]:
    """A process that a command of a run has started, and that heeds no SIGTERM."""
    mark_children(place)
    process = subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_of_one_place_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundry.base.process._GRACE_SECONDS", 0.5)
    (tmp_path / "a").mkdir()
    processes = {name: left_by(tmp_path / name) for name in ("a", "a/b", "ab")}
    service = subprocess.Popen(["sleep", "60"], env=unmarked(os.environ))
    try:
        assert end_marked(tmp_path / "a") == [processes["a"].pid]
        assert processes["a"].wait(10) == -9
        assert [processes[name].poll() for name in ("a/b", "ab")] == [None, None]
        assert service.poll() is None
    finally:
        for process in (*processes.values(), service):
            process.kill()
            process.wait()


def test_commands_bear_the_mark(tmp_path: Path) -> None:
    mark_children(tmp_path)
    assert run(["printenv", "KMOD_FOUNDRY_RUN"]).stdout.strip() == str(tmp_path)
