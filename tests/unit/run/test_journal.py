"""What a run did, its exit code, the first error in a log, and the checks of a machine."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from foundry.base.errors import ConfigError, Fault, FoundryError, OutsideError
from foundry.base.reasons import Reason
from foundry.cell.compile_log import first_error
from foundry.preflight.checks import install_line, os_family
from foundry.run.journal import BLOCKED, DONE, FAILED, INTERRUPTED, Journal


def journal(*errors: Exception | None) -> Journal:
    one = Journal()
    for number, error in enumerate(errors):
        def work(error: Exception | None = error) -> None:
            if error is not None:
                raise error
        one.perform(f"module:{number}", work)
    return one


@pytest.mark.parametrize("errors, code", [
    ((None,), 0),
    ((None, FoundryError("x", reason=Reason.TIMEOUT)), 1),
    ((OutsideError("x", reason=Reason.TIMEOUT),), 3),
    ((OutsideError("x", reason=Reason.TIMEOUT), FoundryError("x", reason=Reason.TIMEOUT)), 1),
    ((ConfigError([Fault("f", "", "x")]),), 2),
    ((OSError(errno.ENOSPC, "No space left on device"),), 3), ((OSError(errno.EACCES, "Permission denied"),), 3),
])
def test_exit_code(errors: tuple[Exception | None, ...], code: int) -> None:
    assert journal(*errors).exit_code() == code


def test_states() -> None:
    one = journal(None, FoundryError("x", reason=Reason.TIMEOUT))
    one.block("image:1", "module:1")
    assert [entry.state for entry in one.entries.values()] == [DONE, FAILED, BLOCKED]
    assert one.running() == []


def test_a_full_disk_is_a_sentence() -> None:
    entry = journal(OSError(errno.ENOSPC, "No space left on device", "a/b")).entries["module:0"]
    assert entry.error is not None
    assert (entry.error.reason, entry.error.message) == ("no-space", "No space left on device (a/b)")


def test_interruption_is_noted_and_goes_on() -> None:
    one = Journal()
    with pytest.raises(KeyboardInterrupt):
        one.perform("module:0", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert one.entries["module:0"].state == INTERRUPTED


@pytest.mark.parametrize("log, error", [
    ("make[1]: *** [x] Error 2\n/foundry/work/a.c:3:1: error: expected ';'\nb.c:1: error: y\n",
     "a.c:3:1: error: expected ';'"),
    ("/foundry/work/a.c:1:10: fatal error: x.h: No such file\n", "a.c:1:10: fatal error: x.h: No such file"),
    ('ERROR: modpost: "nope" [neuron.ko] undefined!\n', 'ERROR: modpost: "nope" [neuron.ko] undefined!'),
    ("foundry: this toolkit has no build tree for kernel k\n", "this toolkit has no build tree for kernel k"),
    ("cc1: warning: x\nmake: *** [Makefile:1: all] Error 2\n", "make: *** [Makefile:1: all] Error 2"),
    ("a.c:1: error: x\ncp: error writing 'y': No space left on device\n",
     "cp: error writing 'y': No space left on device"),
    ("a.c:1: error: x\ncp: error writing 'y': Disk quota exceeded\n", "cp: error writing 'y': Disk quota exceeded"),
    ("all is well\n", ""),
])
def test_first_error(tmp_path: Path, log: str, error: str) -> None:
    (tmp_path / "log").write_text(log)
    assert first_error(tmp_path / "log") == error


def test_first_error_of_no_log(tmp_path: Path) -> None:
    assert first_error(tmp_path / "none") == ""


@pytest.mark.parametrize("release, family", [
    ("ID=debian\n", "debian"), ('ID=ubuntu\nID_LIKE="debian"\n', "debian"),
    ('ID="rhel"\nID_LIKE="fedora"\n', "fedora"), ("ID=fedora\n", "fedora"), ("ID=arch\n", ""), ("", ""),
])
def test_os_family(release: str, family: str) -> None:
    assert os_family(release, "linux") == family


@pytest.mark.parametrize("tool, family, line", [
    ("podman", "debian", "apt-get install --no-install-recommends podman"), ("gpgv", "fedora", "dnf install gnupg2"),
    ("podman", "macos", "brew install podman && podman machine init && podman machine start"),
    ("gpgv", "macos", "brew install gnupg"),
    ("docker-registry", "macos", "install the package that has docker-registry"),
    ("git", "", "install the package that has git"),
])
def test_every_system_has_its_line_to_install(tool: str, family: str, line: str) -> None:
    assert os_family("ID=debian", "darwin") == "macos"
    assert install_line(tool, family) == line
