"""A command is interrupted once; while it stops nothing but a further Ctrl-C ends it, with the same exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_WORK = """
import time
from tasks.commands.told import heed_signals, tell_interrupted
heed_signals()
try:
    print("at work", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopping", flush=True)
    input()
    print("cleared up", flush=True)
    raise SystemExit(tell_interrupted())
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(first: signal.Signals, second: signal.Signals | None) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(first)
    assert process.stdout.readline() == "stopping\n"
    if second is not None:
        process.send_signal(second)
    if second == signal.SIGINT:
        assert process.wait(30) == 130
    out, err = process.communicate("" if second == signal.SIGINT else "\n", timeout=30)
    assert process.returncode == 130
    assert out == ("" if second == signal.SIGINT else "cleared up\n")
    assert "Traceback" not in err
