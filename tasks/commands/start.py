"""What doit loads first: until a command is at work, Ctrl-C ends the process as it ends any, without a traceback."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # else the caller has it ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from tasks.commands.loader import Loader

__all__ = ["Loader"]
