"""What commands print, as logs take it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from foundry.base import command_log
from foundry.base.errors import FoundryError
from foundry.base.process import run

HOSTILE = b"a\x1b[31mb\r\nc\rd\x07\x00\xc2\x9be\xc3\xa4\tf\x7f\n"
SHOWN = "a?[31mb\nc\nd???eä\tf?\n"


def through(data: bytes, size: int) -> bytes:
    """What a log gets of data that comes in pieces of `size` bytes."""
    source, target = os.pipe()

    def write() -> None:
        with os.fdopen(target, "wb", buffering=0) as sink:
            for at in range(0, len(data), size):
                sink.write(data[at:at + size])

    writer, log = threading.Thread(target=write), io.BytesIO()
    writer.start()
    with os.fdopen(source, "rb") as stream:
        command_log.copy(stream, log)
    writer.join()
    return log.getvalue()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_nothing_that_a_terminal_acts_on(size: int) -> None:
    assert through(HOSTILE, size).decode() == SHOWN


def test_beginning_and_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_HEAD": 100, "_TAIL": 100, "_CHUNK": 10}.items():
        monkeypatch.setattr(command_log, name, value)
    data = b"".join(b"%09d\n" % number for number in range(100))
    kept = through(data, 10)
    assert kept.startswith(data[:100])
    assert kept.endswith(data[-100:])
    assert b"\n\xe2\x80\xa6 800 bytes are left out here \xe2\x80\xa6\n" in kept
    assert through(data[:200], 10) == data[:200]


def test_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    """Who prints goes on where the log can't be written any more."""
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    source, target = os.pipe()

    def write() -> None:
        os.write(target, b"x" * 200_000)
        os.close(target)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(source, "rb") as stream:
        command_log.copy(stream, Full())
    writer.join(5)
    assert not writer.is_alive()


def test_run_logs_input_and_both_streams(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    done = run(["sh", "-c", "cat; echo error >&2"], log=log, stdin=b"given\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert log.read_text().endswith("given\nerror\n")


def test_what_goes_on_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert run(["sh", "-c", "echo begun; exec true"], log=log, timeout=30).seconds < 20
    with pytest.raises(FoundryError) as caught:
        run(["sh", "-c", "echo begun; sleep 60"], log=log, timeout=0.3)
    assert caught.value.reason == "timeout"
    assert log.read_text().endswith("begun\n")
