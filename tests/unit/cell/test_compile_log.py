"""What a build log says of the machine, and what is only said of the driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.cell.compile_log import first_error, last_line, machine_fault, said_by_podman


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
    assert first_error(log).removesuffix(" (making all: Error 2)") == error


# What the tools of a toolkit wrote for drivers with such faults, whole.
_MADE = "make[1]: *** [/usr/src/linux-6.1.0-55-common/scripts/Makefile.build:468: /foundry/work/thing.o] Error 1\n"


@pytest.mark.parametrize("text, error", [
    # `$(error …)` of several lines
    ("Makefile:8: *** thing: cannot find the SDK.\nSet SDK_DIR and try again..  Stop.\n",
     "Makefile:8: *** thing: cannot find the SDK. Set SDK_DIR and try again..  Stop."),
    # a compiler that the Makefile tried, and what it made of that
    ("/foundry/work/t.c:1:9: error: 'y' undeclared here (not in a function)\n    1 | int x = y;\n      |         ^\n"
     "make[1]: *** No rule to make target '/foundry/work/a.o', needed by '/foundry/work/thing.o'.  Stop.\n",
     "make[1]: *** No rule to make target 'a.o', needed by 'thing.o'.  Stop."),
    ("make[1]: no-such-prog: No such file or directory\n/foundry/work/Makefile:3: *** X came out empty.  Stop.\n",
     "Makefile:3: *** X came out empty.  Stop."),
    # the assembler
    ("  AS [M]  /foundry/work/a.o\n/foundry/work/a.S: Assembler messages:\n"
     "/foundry/work/a.S:2: Error: number of operands mismatch for `mov'\n"
     f"/foundry/work/a.S:3: Error: no such instruction: `bogus'\n{_MADE}",
     "a.S:2: Error: number of operands mismatch for `mov'"),
    # the linker, in the kernel's build and alone
    ("  LD [M]  /foundry/work/thing.o\nld: /foundry/work/b.o: in function `twice':\n/foundry/work/b.c:2: multiple"
     f" definition of `twice'; /foundry/work/a.o:/foundry/work/a.c:2: first defined here\n{_MADE}",
     "b.c:2: multiple definition of `twice'; a.o:a.c:2: first defined here (making thing.o: Error 1)"),
    (f"make: Leaving directory '/x'\nld: cannot open linker script file a.lds: No such file or directory\n{_MADE}",
     "ld: cannot open linker script file a.lds: No such file or directory (making thing.o: Error 1)"),
    ("ld: unrecognized option '--no-such-flag'\nld: use the --help option for usage information\n" + _MADE,
     "ld: unrecognized option '--no-such-flag' (making thing.o: Error 1)"),
    ("gcc -o x x.c\n/usr/bin/ld: /tmp/ccVnxq8F.o: in function `main':\nx.c:(.text+0x5): undefined reference to `g'\n"
     "collect2: error: ld returned 1 exit status\nmake: *** [Makefile:7: pre] Error 1\n",
     "x.c:(.text+0x5): undefined reference to `g' (making pre: Error 1)"),
    # objtool, which calls all that it says a warning
    (f"/foundry/work/thing.o: warning: objtool: gelf_getehdr: invalid `Elf' handle\n{_MADE}",
     "thing.o: warning: objtool: gelf_getehdr: invalid `Elf' handle (making thing.o: Error 1)"),
    # what a Makefile calls for itself
    ("python3 gen.py\nmake: python3: No such file or directory\nmake: *** [Makefile:7: pre] Error 127\n",
     "make: python3: No such file or directory (making pre: Error 127)"),
    ("cp /nope/gen.h gen.h\ncp: cannot stat '/nope/gen.h': No such file or directory\n"
     "make[1]: *** [/foundry/work/Makefile:4: gen.h] Error 1\n",
     "cp: cannot stat '/nope/gen.h': No such file or directory (making gen.h: Error 1)"),
    ("perl -e 'use Nope;'\nCan't locate Nope.pm in @INC at -e line 1.\nBEGIN failed--compilation aborted at -e line"
     " 1.\nmake: *** [Makefile:7: pre] Error 2\n", "Can't locate Nope.pm in @INC at -e line 1. (making pre: Error 2)"),
    ("if true; then echo 'error: no OFED'; exit 1; fi\nerror: no OFED\nmake: *** [Makefile:7: pre] Error 1\n",
     "error: no OFED"),
    ("Error: this driver needs OFED\nmake: *** [Makefile:7: pre] Error 1\n", "Error: this driver needs OFED"),
    # on the two streams of a container, which don't keep the order between them
    ("make: *** [Makefile:7: pre] Error 1\nPlease install OFED\n", "Please install OFED (making pre: Error 1)"),
    ("$ podman run --rm\nmake: *** [Makefile:7: pre] Error 3\n", "make: *** [Makefile:7: pre] Error 3"),
    ("sh -c 'kill -SEGV $$'\nmake[1]: *** [/foundry/work/Makefile:4: x] Segmentation fault\n",
     "sh -c 'kill -SEGV $$' (making x: Segmentation fault)"),
])
def test_what_a_build_failed_of(text: str, error: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"make: Entering directory '/usr/src/k'\n{text}make: *** [/usr/src/k/Makefile:2065: /x] Error 2\n")
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
    # a macro of the driver's own, with one of the kernel's in it
    ("In function 'f':\n"
     "././include/linux/compiler_types.h:387:45: error: call to 'x' declared with attribute error: no\n"
     "  387 |  x\n././include/linux/minmax.h:52:1: note: in expansion of macro 'BUILD'\n"
     "/foundry/work/own.h:2:23: note: in expansion of macro 'min'\n"
     "/foundry/work/hello.c:6:9: note: in expansion of macro 'SMALLER'\n",
     "hello.c:6: error: call to 'x' declared with attribute error: no (././include/linux/compiler_types.h:387)"),
    ("/foundry/work/own.h:2:19: error: 'struct a' has no member named 'nope'\n"
     "/foundry/work/hello.c:7:9: note: in expansion of macro 'GET'\n",
     "hello.c:7: error: 'struct a' has no member named 'nope' (own.h:2)"),
    # the driver's header that includes it, not what includes that
    ("In file included from /usr/src/k/include/linux/pci.h:3,\n                 from /foundry/work/own.h:4,\n"
     "                 from /foundry/work/hello.c:1:\n/usr/src/k/include/linux/x.h:3:1: error: y\n",
     "own.h:4: error: y (/usr/src/k/include/linux/x.h:3)"),
    # another file's lines don't count
    (INCLUDED + "/foundry/work/hello.c:2:1: warning: x\n./include/a.h:1:1: error: y\n/foundry/work/b.c:3:1: error: z",
     "./include/a.h:1:1: error: y"),
])
def test_the_drivers_own_line(text: str, error: str, tmp_path: Path) -> None:
    """Not that of a kernel's header in which its mistake comes to light."""
    log = tmp_path / "log"
    log.write_text(f"  CC [M] x.o\n{text}\nmake: *** [all] Error 2\n")
    assert first_error(log) == error


@pytest.mark.parametrize("log, said", [
    ("Error: OCI runtime error: runc: no\n", "Error: OCI runtime error: runc: no"),
    ("x\nError: no such image\ntime=1 level=warning msg=x\n", "Error: no such image"),
    ("./configure: 2: pyhton: not found\n", ""), ("Error: the driver's\n" + "more\n" * 9, ""),
])
def test_what_podman_says_itself(log: str, said: str, tmp_path: Path) -> None:
    """Programs in a container end with podman's exit codes, too: only its words tell."""
    (tmp_path / "log").write_text(log)
    assert said_by_podman(tmp_path / "log") == said


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
