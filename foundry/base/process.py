"""The one place where commands are started.

Commands are argument lists. Each is logged so that it can be pasted into a
shell, runs in a process group of its own so that an interruption leaves
nothing behind, and has a time limit. Of the command and its output only plain
text is logged, without secrets.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from foundry.base import command_log
from foundry.base.errors import FoundryError, OutsideError, no_space, says_no_space
from foundry.base.files import open_file
from foundry.base.plain_text import plain
from foundry.base.reasons import Reason

_GRACE_SECONDS = 5.0
_CLEANUP_SECONDS = 60.0
_MARK = "KMOD_FOUNDRY_RUN"  # in the environment of what a run starts: where it works
_running: dict[subprocess.Popen[bytes], bool] = {}  # → whether it is patient
_running_lock = threading.Lock()
_stopping = threading.Event()
_cut_off = threading.Event()  # a command was ended by a signal: it may have left something


@dataclass(frozen=True)
class Completed:
    """A finished command: exit code, output, wall seconds; `output` holds bytes instead of `stdout` if asked."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float
    output: bytes = field(default=b"", repr=False)


def shell_line(argv: Sequence[str]) -> str:
    """The command as one line that can be pasted into a shell."""
    return shlex.join(argv)


def run(
    argv: Sequence[str],
    *,
    log: Path | None = None,
    timeout: float = 3600.0,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    hint: str = "",
    reason: Reason = Reason.COMMAND_FAILED,
    patient: bool = False,
    unset: Sequence[str] = (),
    binary: bool = False,
    tidy: bool = False,
) -> Completed:
    """Run a command to its end.

    With `log`, the command line and all it prints are appended there and
    `Completed.stdout`/`.stderr` stay empty. `env` is added to the environment, the names in
    `unset` are taken out of it. What a `binary` command prints is kept as bytes, in `Completed.output`.
    A `patient` command is not asked to end by `stop_all`, only killed when it
    takes too long. A `tidy` one leaves nothing behind, however it ends: `was_cut_off` does not count it.

    Raises OutsideError when the program is not installed or (with `check`) says that the
    disk is full, FoundryError when it takes longer than `timeout` seconds or (with `check`)
    exits non-zero.
    """
    started = time.monotonic()
    sink, begin = None, 0
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = log.open("ab", buffering=0)
        sink.write(f"$ {plain(shell_line(argv))}\n".encode())
        sink.flush()
        begin = sink.tell()
    try:
        process = _start(argv, sink is not None, _environment(env, unset), cwd, patient)
        try:
            out, err = process.communicate(stdin, timeout=timeout) if sink is None else _logged(
                process, stdin, timeout, sink)
        except subprocess.TimeoutExpired as error:
            if not tidy:
                _cut_off.set()
            _end([process])
            raise FoundryError(
                f"{argv[0]} took longer than {timeout:.0f} s and was stopped",
                reason=Reason.TIMEOUT, hint=hint, log=log, replay=shell_line(argv), retry=True,
            ) from error
        except BaseException:  # an interruption, too, leaves no process behind; it is raised on
            _end([process])
            raise
        finally:
            with _running_lock:
                _running.pop(process, None)
        _refuse_when_stopping()
    finally:
        if sink is not None:
            sink.close()
    if process.returncode < 0 and not tidy:
        _cut_off.set()
    done = Completed(
        tuple(argv), process.returncode,
        "" if binary else (out or b"").decode(errors="replace"),
        (err or b"").decode(errors="replace"),
        time.monotonic() - started,
        (out or b"") if binary else b"",
    )
    if check and done.returncode != 0:
        sentence = failure_sentence(done, _tail(log, begin))
        if says_no_space(sentence):
            raise no_space(sentence, log=log)
        raise FoundryError(sentence, reason=reason, hint=hint, log=log, replay=shell_line(argv))
    return done


def was_cut_off() -> bool:
    """Whether a command of this process was ended by a signal, whosoever sent it."""
    return _cut_off.is_set()


def run_even_when_stopping(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Run a short command that cleans up, also after `stop_all`; True when it succeeded."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            list(argv), env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=_CLEANUP_SECONDS, check=False, start_new_session=True,
        )
        return done.returncode == 0
    return False


def mark_children(place: Path) -> None:
    """Every command of this process, and what those start, bears the place of the run: `end_marked` finds it."""
    os.environ[_MARK] = str(place.absolute())


def unmarked(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service that is to outlive the run."""
    return {name: value for name, value in environment.items() if name != _MARK}


def end_marked(place: Path) -> list[int]:
    """End what outlived a killed run of the place: asked first, then killed; those that were there.

    Where there is no ``/proc`` (macOS) none is seen.
    """
    return end_processes(lambda: _with_entry("environ", f"{_MARK}={place.absolute()}\0"))


def end_processes(find: Callable[[], list[int]]) -> list[int]:
    """End the processes that `find` finds, none of them a child of this one; those that it found at first."""
    first = found = find()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in found:
            with suppress(OSError):
                os.kill(pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        while (found := find()) and time.monotonic() < deadline:
            time.sleep(0.02)
    return first


def with_word(begin: str) -> list[int]:
    """The processes with a word in their command line that begins so."""
    return _with_entry("cmdline", begin)


def _with_entry(file: str, begin: str) -> list[int]:
    """Other processes of this user of whose entries in a file of ``/proc/PID`` one begins so; each ends with NUL."""
    found, wanted = [], b"\0" + os.fsencode(begin)
    for path in Path("/proc").glob(f"[0-9]*/{file}"):
        with suppress(OSError):  # somebody else's, or it has ended meanwhile
            if wanted in b"\0" + path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def failure_sentence(done: Completed, printed: str = "") -> str:
    """One sentence on a command that failed, with the last line that it printed."""
    code = done.returncode
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    words = [word for word in done.argv[:3] if not word.startswith("-")]
    last = (done.stderr.strip() or done.stdout.strip() or printed.strip()).rsplit("\n", 1)[-1][:300]
    return f"{' '.join(words[:2])} {how}" + (f": {last}" if last else "")


def _tail(log: Path | None, begin: int) -> str:
    """The end of what a command printed to its log, from byte `begin` on."""
    if log is None:
        return ""
    with open_file(log) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(begin, size - 2000))
        return stream.read().decode(errors="replace")


def stop_all() -> None:
    """End every command that is still running and start no other; for a process about to exit.

    Threads that wait for a command get a KeyboardInterrupt, so that they clean up behind themselves.
    """
    _stopping.set()
    with _running_lock:
        processes = dict(_running)
    _end(list(processes), patient=[process for process, patient in processes.items() if patient])


def _environment(env: Mapping[str, str] | None, unset: Sequence[str]) -> dict[str, str] | None:
    if not env and not unset:
        return None
    return {name: value for name, value in {**os.environ, **(env or {})}.items() if name not in unset}


def _refuse_when_stopping() -> None:
    if _stopping.is_set():
        raise KeyboardInterrupt


def _logged(
    process: subprocess.Popen[bytes], stdin: bytes, timeout: float, sink: IO[bytes]
) -> tuple[bytes, bytes]:
    """As `communicate`, with all that is printed in the log."""
    taken = cast(IO[bytes], process.stdin)
    reader = threading.Thread(target=command_log.copy, args=(process.stdout, sink), daemon=True)
    reader.start()
    try:
        with suppress(BrokenPipeError), taken:
            taken.write(stdin)
        process.wait(timeout)
    finally:
        if process.poll() is None:
            _end([process])
        reader.join(_GRACE_SECONDS)  # something that went on without the command may still have the pipe
    return b"", b""


def _start(
    argv: Sequence[str], logged: bool, env: Mapping[str, str] | None, cwd: Path | None, patient: bool
) -> subprocess.Popen[bytes]:
    _refuse_when_stopping()
    try:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if logged else subprocess.PIPE,
            env=env, cwd=cwd, start_new_session=True,
        )
    except FileNotFoundError as error:
        raise OutsideError(
            f"{argv[0]} is not installed",
            reason=Reason.TOOL_MISSING, hint="run `doit doctor`: it names the package to install",
        ) from error
    with _running_lock:
        _running[process] = patient
    if _stopping.is_set():  # since the check above
        _end([process])
        raise KeyboardInterrupt
    return process


def _end(
    processes: Sequence[subprocess.Popen[bytes]], patient: Sequence[subprocess.Popen[bytes]] = ()
) -> None:
    """Ask all process groups but the patient ones to end, wait for all, then kill what is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if number == signal.SIGTERM and process in patient:
                continue
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        if all(process.returncode is not None for process in processes):
            return
