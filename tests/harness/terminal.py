"""A command on a terminal of its own, and what can be read on its screen."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from pathlib import Path
from types import TracebackType

import pyte

_SECONDS = 120.0


class Terminal:
    """A terminal with a command, which leads its session.

    `text` is all that was written. A screen is its lines without the blanks at their ends; `screen` is that of now,
    with what has gone off its top, `screens` are those after each write.
    """

    def __init__(
        self, command: Sequence[str], root: Path, environ: Mapping[str, str], *, columns: int = 80, rows: int = 24,
    ) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._closing = threading.Event()
        self.text = b""
        self.screens: list[list[str]] = []
        self.process = subprocess.Popen(
            command, cwd=root, env={"TERM": "xterm-256color", **environ}, stdin=theirs, stdout=theirs, stderr=theirs,
            preexec_fn=partial(os.login_tty, theirs),  # noqa: PLW1509 - only the child itself can take a terminal
            pass_fds=(theirs,),
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.close()

    def _read(self) -> None:
        with suppress(OSError):  # EIO: nobody has the other end any more
            while not self._closing.is_set():
                if not select.select([self._ours], [], [], 0.05)[0]:
                    continue
                data = os.read(self._ours, 65536)
                self.text += data
                self._stream.feed(data)
                self.screens.append(self.screen)

    @property
    def screen(self) -> list[str]:
        """The lines from the first one on."""
        columns = self._screen.columns
        gone = ["".join(row[column].data for column in range(columns)) for row in list(self._screen.history.top)]
        return [line.rstrip() for line in [*gone, *self._screen.display]]

    def until(self, pattern: str) -> None:
        """Wait until a line of the screen has what the regular expression says."""
        deadline = time.monotonic() + _SECONDS
        while not any(re.search(pattern, line) for line in self.screen):
            assert time.monotonic() < deadline and self.process.poll() is None, "\n".join(self.screen)
            time.sleep(0.02)

    def ended(self) -> int:
        """Wait until the command has ended; its exit code."""
        code = self.process.wait(_SECONDS)
        self._reader.join(_SECONDS)
        return code

    def close(self) -> None:
        """Take the terminal away, as somebody does who closes its window."""
        self._closing.set()
        self._reader.join()  # as long as somebody reads from it, it stays open
        if self._ours >= 0:
            os.close(self._ours)
        self._ours = -1
