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
