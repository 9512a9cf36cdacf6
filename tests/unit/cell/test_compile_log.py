"""What a build log says of the machine, and what is only said of the driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.cell.compile_log import first_error, last_line, machine_fault


@pytest.mark.parametrize("line, reason", [
    ("gcc: fatal error: Killed signal terminated program cc1", "out-of-memory"),
    ("virtual memory exhausted: Cannot allocate memory", "out-of-memory"),
    ("cc1: out of memory allocating 65536 bytes after a total of 1 bytes", "out-of-memory"),
    ("Killed", "out-of-memory"), ("/foundry/build-module.sh: line 7:    12 Killed  make -j 2", "out-of-memory"),
    ("tail: memory exhausted", "out-of-memory"), ("ld.lld: error: std::bad_alloc", "out-of-memory"),
    ("/bin/sh: 0: Cannot fork", "out-of-processes"),
    ("make[2]: vfork: Resource temporarily unavailable", "out-of-processes"),
    ("bash: fork: retry: Resource temporarily unavailable", "out-of-processes"),
    ("main.c:1:2: error: #error not Killed at all", None), ("make: *** [Makefile:3: all] Error 1", None),
    ("main.c: warning: the process is killed here", None),
])
def test_machine_fault(line: str, reason: str | None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"first\n{line}\nmake: *** [all] Error 2\n")
    found = machine_fault(log)
    assert (found and found[0]) == reason
    if found is not None:
        assert found[1] == line


@pytest.mark.parametrize("text, error", [
    ("/foundry/work/Makefile:2: *** needs Linux 7.  Stop.\nmake[1]: *** [/x/Makefile:2065: /foundry/work] Error 2",
     "Makefile:2: *** needs Linux 7.  Stop."),
    ("make[1]: *** No rule to make target '/foundry/work/x.o', needed by 'y'.  Stop.",
     "make[1]: *** No rule to make target 'x.o', needed by 'y'.  Stop."),
    ('ERROR: "sym" [/foundry/work/x.ko] undefined!', 'ERROR: "sym" [x.ko] undefined!'),
    ('ERROR: modpost: "sym" [x.ko] undefined!', 'ERROR: modpost: "sym" [x.ko] undefined!'),
    ("FATAL: modpost: GPL-incompatible module x.ko uses GPL-only symbol 'y'",
     "FATAL: modpost: GPL-incompatible module x.ko uses GPL-only symbol 'y'"),
    ("  ERROR: Kernel configuration is invalid.", "ERROR: Kernel configuration is invalid."),
    ("FAILED: load BTF from vmlinux: No such file", "FAILED: load BTF from vmlinux: No such file"),
    ("BTF: .tmp_vmlinux.btf: pahole is not available", "BTF: .tmp_vmlinux.btf: pahole is not available"),
    ("/bin/sh: 1: bc: not found", "/bin/sh: 1: bc: not found"),
    ("bash: line 1: flex: command not found", "bash: line 1: flex: command not found"),
    ("make[2]: flex: No such file or directory", "make[2]: flex: No such file or directory"),
    ("/usr/bin/env: 'python': No such file or directory", "/usr/bin/env: 'python': No such file or directory"),
    ("/foundry/build-module.sh: 66: ./configure: Permission denied",
     "/foundry/build-module.sh: 66: ./configure: Permission denied"),
    ("  BTF [M] /foundry/work/x.ko\nSkipping BTF generation for x.ko due to unavailability of vmlinux",
     "make: *** [all] Error 2"),
])
def test_the_first_error(text: str, error: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"  CC [M] x.o\n{text}\nmake: *** [all] Error 2\n")
    assert first_error(log) == error


INCLUDED = "In file included from /usr/src/k/include/linux/module.h:20,\n              from /foundry/work/hello.c:1:\n"


@pytest.mark.parametrize("text, error", [
    (INCLUDED + "/usr/src/k/include/linux/param.h:25:30: error: expected x\n   25 | #define y\n      |   ^\n"
     "/usr/src/k/include/linux/y.h:3:1: note: in expansion of macro 'Y'\n"
     "/foundry/work/hello.c:5:1: note: in expansion of macro 'MODULE'\n/foundry/work/hello.c:9:1: error: other",
     "hello.c:5: error: expected x (/usr/src/k/include/linux/param.h:25)"),
    ("In function 'f',\n    inlined from 'start' at /foundry/work/hello.c:5:9:\n"
     "./include/linux/compiler.h:30:38: error: call to 'x' declared with attribute error: no",
     "hello.c:5: error: call to 'x' declared with attribute error: no (./include/linux/compiler.h:30)"),
    (INCLUDED + "./include/linux/x.h:3:10: fatal error: y.h: No such file or directory",
     "hello.c:1: fatal error: y.h: No such file or directory (./include/linux/x.h:3)"),
    (INCLUDED + "/foundry/work/own.h:3:1: error: x", "own.h:3:1: error: x"),
    ("hello.c:5:1: error: x", "hello.c:5:1: error: x"),
    # another file's lines don't count
    (INCLUDED + "/foundry/work/hello.c:2:1: warning: x\n./include/a.h:1:1: error: y\n/foundry/work/b.c:3:1: error: z",
     "./include/a.h:1:1: error: y"),
])
def test_the_drivers_own_line(text: str, error: str, tmp_path: Path) -> None:
    """Not that of a kernel's header in which its mistake comes to light."""
    log = tmp_path / "log"
    log.write_text(f"  CC [M] x.o\n{text}\nmake: *** [all] Error 2\n")
    assert first_error(log) == error


def test_only_of_the_last_try(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Killed\n")
    begin = log.stat().st_size
    with log.open("a") as stream:
        stream.write("a.c:1: error: no\n")
    assert machine_fault(log, begin) is None
    assert first_error(log, begin) == last_line(log, begin) == "a.c:1: error: no"
    assert machine_fault(tmp_path / "none") is None


def test_a_log_of_lines_without_end(tmp_path: Path) -> None:
    """Empty ones count for nothing; of others the first and the last ones are looked at."""
    log = tmp_path / "log"
    log.write_text("a.c:1: error: first\n" + "\n" * 1_000_000 + "Killed\n\n")
    assert (first_error(log), last_line(log), machine_fault(log)) == (
        "a.c:1: error: first", "Killed", ("out-of-memory", "Killed"))
    log.write_text("a.c:1: error: first\n" + "x\n" * 200_000 + "Killed\n" + "x\n" * 200_000 + "last\n")
    assert (first_error(log), last_line(log), machine_fault(log)) == ("a.c:1: error: first", "last", None)
