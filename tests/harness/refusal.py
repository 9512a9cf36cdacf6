"""What every refusal of a bad input must look like, and that nothing half-done is left behind it."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry.podman.engine import Engine
from tests.harness.clone import Clone, Run

_LINE = re.compile(r"^  FAILED (?P<task>[a-z]+:\S+): (?P<sentence>.+(?:\n  (?:hint|log|replay): .+)*)$", re.MULTILINE)
_LOCKS = re.compile(r"\.run\.lock|\.lock-[a-z0-9-]+")


@dataclass(frozen=True)
class Failure:
    """A failed task as a run printed it; what it did not print is empty."""

    sentence: str
    hint: str
    log: str
    replay: str


def failures(run: Run) -> dict[str, Failure]:
    """The failures that a run printed, by task."""
    found = {}
    for match in _LINE.finditer(run.out):
        first, *rest = match.group("sentence").split("\n")
        parts = dict(line.strip().split(": ", 1) for line in rest)
        found[match.group("task")] = Failure(first, parts.get("hint", ""), parts.get("log", ""),
                                             parts.get("replay", ""))
    return found


def refused(clone: Clone, run: Run, task: str, code: int, reason: str, *words: str, hint: str = "") -> Failure:
    """One sentence with `words`, a hint, the exit code, the reason for machines, and nothing half-done."""
    assert "Traceback" not in run.text, run.text
    assert run.code == code, run.text
    assert task in failures(run), run.text
    failure = failures(run)[task]
    for word in words:
        assert word in failure.sentence, failure
    assert len(failure.sentence) < 600, failure
    assert failure.hint, failure
    assert hint in failure.hint, failure
    note = failure_note(clone, task)
    assert (note["stage"], note["reason"]) == (task.partition(":")[0], reason), note
    assert note["message"] == failure.sentence
    assert not (clone.root / _folder(clone, task) / f"{task.partition(':')[0]}.json").exists(), "it has a record"
    nothing_left(clone)
    return failure


def failure_note(clone: Clone, task: str) -> dict[str, Any]:
    """The task's ``failure.json``."""
    found: dict[str, Any] = json.loads((_folder(clone, task) / "failure.json").read_text(encoding="utf-8"))
    return found


def nothing_left(clone: Clone) -> None:
    """No temporary file, folder or mount of the clone; what a failed compile leaves to replay is not temporary."""
    names = [path.relative_to(clone.build) for path in clone.build.rglob(".*")]
    temporary = [str(name) for name in names if not _LOCKS.fullmatch(name.name) and "work" not in name.parts[2:3]]
    assert temporary == []
    if "TMPDIR" in clone.extra:
        assert list(Path(clone.extra["TMPDIR"]).iterdir()) == []
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    inside = [line.split()[1] for line in mounts if f" {clone.build}/" in line]
    assert [place for place in inside if "/work/" in place or "/." in place] == []


def no_container(clone: Clone) -> None:
    """No container of the clone, running or not, and none of its temporary images."""
    mark = Engine(clone.build / "engine" / "engine.json").mark
    argv = ["podman", "ps", "--all", f"--filter=name=^{mark}-", "--format={{.Names}}"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split() == []
    argv = ["podman", "images", f"--filter=reference=*{mark}", "--quiet"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split() == []


def _folder(clone: Clone, task: str) -> Path:
    stage, _, name = task.partition(":")
    return clone.build / ("sources" if stage in ("fetch", "source") else "cells") / name
