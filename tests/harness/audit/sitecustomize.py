"""Writes every process that this Python starts and every connection that it makes to KMOD_TEST_AUDIT.

No pause is longer than KMOD_TEST_LONGEST_PAUSE, in seconds: those between attempts, and those that GitHub asks for.

When the module that KMOD_TEST_SIGNAL names (``module:number``) begins to be imported, the process gets that signal.

Imported by Python itself at start-up, because the folder is on PYTHONPATH.
"""

import json
import os
import sys
import time

_PATH = os.environ.get("KMOD_TEST_AUDIT")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        _write(["process", [str(word) for word in arguments[1]]])  # type: ignore[attr-defined]
    elif event in ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system"):
        _write(["process", [event, *[str(word) for word in arguments[:1]]]])
    elif event == "socket.connect":
        _write(["connection", str(arguments[1])])


def _write(entry: list[object]) -> None:
    handle = os.open(str(_PATH), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(handle)


_LONGEST_PAUSE = os.environ.get("KMOD_TEST_LONGEST_PAUSE")
_sleep = time.sleep


def _brief(seconds: float) -> None:
    _sleep(min(seconds, float(str(_LONGEST_PAUSE))))


if _LONGEST_PAUSE:
    time.sleep = _brief  # type: ignore[assignment]
_MODULE, _, _NUMBER = os.environ.get("KMOD_TEST_SIGNAL", "").partition(":")


def _signal(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import" and arguments[0] == _MODULE:
        os.kill(os.getpid(), int(_NUMBER))


if _MODULE:
    sys.addaudithook(_signal)
if _PATH:
    sys.addaudithook(_hook)
