"""The one error type that users meet, and the exit codes that go with it.

Every fault that a user can cause or mend is a `FoundryError`: one sentence on
what is wrong, a hint on what to do, the path of a log, a command to replay.
It carries a machine-readable `Reason` for records, ``status --json`` and tests.
Anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.base.plain_text import plain
from foundry.base.reasons import Reason

EXIT_TASK_FAILED = 1
EXIT_CONFIG = 2
EXIT_OUTSIDE = 3
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141  # as shells show the end by SIGPIPE
EXIT_CODES = {  # as `doit help` and docs/commands.md have them
    0: "all done, or nothing to do",
    EXIT_TASK_FAILED: "a task failed; where a task failed and another lacked something outside, 1 wins",
    EXIT_CONFIG: "the command line, the configuration or an environment variable is wrong",
    EXIT_OUTSIDE: "something outside is missing: a tool, a credential, the network, space on the disk",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_NO_READER: "nobody reads any more what a viewer prints, as of `doit list | head -1`",
}

_ADDRESS = "check network, proxy and the address in config/"
_LATER = "try again later; if it stays so, tell the server's operator"
_UNSAFE = "don't use the package; tell the vendor"
# What to do about reasons whose raisers know no better.
_HINTS = {
    **dict.fromkeys((
        Reason.HTTP_UNREACHABLE, Reason.HTTP_FAILED, Reason.HTTP_404, Reason.HTTP_STATUS, Reason.HTTP_REDIRECT,
        Reason.HTTP_RANGE, Reason.HTTP_TOO_LARGE, Reason.HTTP_UPLOAD, Reason.URL_UNSUPPORTED, Reason.FILE_MISSING,
        Reason.FILE_UNREADABLE,
    ), _ADDRESS),
    Reason.HTTP_TIMEOUT: f"{_ADDRESS}; the setting `network_timeout` says how long to wait",
    **dict.fromkeys((
        Reason.HTTP_TRUNCATED, Reason.RPM_DAMAGED, Reason.RPM_UNREADABLE, Reason.RPM_UNSUPPORTED,
        Reason.PACKAGE_MISLABELLED,
    ), _LATER),
    Reason.REPODATA_TOO_LARGE: "no repository needs that much: check its address in config/, tell the vendor",
    **dict.fromkeys((Reason.KEY_DAMAGED, Reason.KEY_UNREADABLE, Reason.KEY_FINGERPRINT),
                    "check `signing` in the family file: it must name the vendor's public key"),
    **dict.fromkeys((
        Reason.PACKAGE_UNSAFE_PATH, Reason.PACKAGE_UNSAFE_LINK, Reason.PACKAGE_UNSAFE_TYPE, Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_BAD, Reason.SIGNATURE_EXPIRED, Reason.SIGNATURE_WEAK,
        Reason.SIGNATURE_WRONG_KIND,
    ), _UNSAFE),
    Reason.BASE_NOT_LOCKED: "run `doit toolkit`",
    Reason.DISK: "free some space, check the folder's rights, and run again",
}
_OS_HINTS = {
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
                    "something else is in the place of a file or folder of ours: move it away"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "may this user write there?"),
}
_LONGEST = 300  # characters of a sentence of the system's


class _Plain:
    """A text of an error, plain whatever was put into it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.place = f"_{name}"

    def __get__(self, error: FoundryError, owner: type) -> str:
        return str(getattr(error, self.place))

    def __set__(self, error: FoundryError, text: str) -> None:
        setattr(error, self.place, plain(text))


class FoundryError(Exception):
    """A task failed for a reason that can be told in one sentence."""

    exit_code = EXIT_TASK_FAILED
    message, hint, replay = _Plain(), _Plain(), _Plain()

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        hint: str = "",
        log: Path | None = None,
        replay: str = "",
        retry: bool = False,
    ) -> None:
        super().__init__(plain(message))
        self.message = message
        self.reason = reason
        self.hint = hint or _HINTS.get(reason, "")
        self.log = log
        self.replay = replay
        self.retry = retry

    @property
    def sentence(self) -> str:
        """What is wrong in one line, for tables and lists."""
        return self.message.partition("\n")[0]

    def render(self) -> str:
        """The lines that a user sees; the first is the sentence itself."""
        lines = [self.message]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.log is not None:
            lines.append(f"  log: {self.log}")
        if self.replay:
            lines.append(f"  replay: {self.replay}")
        return "\n".join(lines)


class OutsideError(FoundryError):
    """Something outside is missing: a tool, a credential, the network, space."""

    exit_code = EXIT_OUTSIDE


def from_os(error: OSError, *, doing: str = "", log: Path | None = None) -> OutsideError:
    """A full disk, a folder in a file's place, missing rights and the like, in one sentence; `doing` begins it."""
    why = error.strerror or str(error)
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        why = re.sub(r"^\[Errno \d+\] ", "", str(error.args[0][0][-1]))  # it gathers (from, to, why) of all files
    place = error.filename2 or error.filename
    sentence = (f"{doing}: {why}" if doing else f"{why} ({place})" if place else why)[:_LONGEST]
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or says_no_space(sentence):
        return no_space(sentence, log=log)
    return OutsideError(sentence, reason=Reason.DISK, hint=_OS_HINTS.get(error.errno or 0, ""), log=log)


def no_space(message: str, *, log: Path | None = None) -> OutsideError:
    """The error of a disk that is full."""
    return OutsideError(message, reason=Reason.NO_SPACE, hint="free some space and run again", log=log)


def says_no_space(text: str) -> bool:
    """True when a program said in `text` that the disk is full."""
    return any(os.strerror(number).lower() in text.lower() for number in (errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in one configuration file.

    `path` is a JSON path such as ``$[0].ocp_versions[1]``; empty when the file
    as a whole is meant.
    """

    file: str
    path: str
    message: str

    def render(self) -> str:
        """``file: path: message``."""
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class UsageError(FoundryError):
    """The command line asks for something that does not exist."""

    exit_code = EXIT_CONFIG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, reason=Reason.USAGE, hint=hint)


def _by_numbers(fault: Fault) -> list[tuple[int, str]]:
    """A sort key in which 4.9 comes before 4.10, and ``$[2]`` before ``$[10]``; a number may be of any length."""
    parts = re.split(r"([0-9]+)", "\0".join((fault.file, fault.path, fault.message)))
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


class ConfigError(FoundryError):
    """The configuration is wrong; holds every fault that was found, not just the first."""

    exit_code = EXIT_CONFIG

    def __init__(self, faults: Sequence[Fault], *, hint: str = "") -> None:
        self.faults = tuple(sorted(set(faults), key=_by_numbers))
        count = len(self.faults)
        head = "the configuration has a fault" if count == 1 else f"the configuration has {count} faults"
        lines = [f"{head}:", *(f"  {fault.render()}" for fault in self.faults)]
        super().__init__("\n".join(lines), reason=Reason.CONFIGURATION, hint=hint)

    @property
    def sentence(self) -> str:
        """The first fault, and how many more there are."""
        more = len(self.faults) - 1
        return plain(self.faults[0].render()) + (f" (and {more} more)" if more else "")
