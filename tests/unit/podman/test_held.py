"""Open files without a name are found with whichever thread has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry.podman import held

# It writes 8 MiB, removes the file, and leaves it to a thread with open files of its own (unshare(2), CLONE_FILES).
HOLDER = """
import ctypes, os, sys, threading
handle = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(handle, bytes(8 << 20))
os.unlink(sys.argv[1])
alone, ended = threading.Event(), threading.Event()
def keep():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    alone.set()
    ended.wait()
if sys.argv[2] == "thread":
    threading.Thread(target=keep).start()
    alone.wait()
    os.close(handle)
print("ready", flush=True)
sys.stdin.read()
ended.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("who", ["process", "thread"])
def test_a_file_without_a_name(who: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "file"), who]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"ready\n"
        mine = sum(sum(held._nameless(thread).values()) for thread in held._threads(str(holder.pid))[-1:])
        within = held.held_in(held._namespace("/proc/self"))
        holder.communicate(b"")
    assert within >= mine >= 8 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_descriptor_that_was_closed_meanwhile_hides_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which there are and what they lead to are two looks: here others are listed that are no longer there."""
    handle = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(handle, bytes(1 << 20))
        os.unlink(tmp_path / "file")
        facts = os.fstat(handle)
        monkeypatch.setattr(os, "listdir", lambda _: ["999998", str(handle), "999999"])
        assert held._nameless("/proc/self") == {(facts.st_dev, facts.st_ino): facts.st_blocks * 512}
    finally:
        os.close(handle)
