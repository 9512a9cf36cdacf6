"""`doit plan` on real parts: what it says is what the next run does, and it leaves everything as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness.clone import AccessLogs, Clone
from tests.harness.released import ledger

DRIVER = "2.22.2.0"


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """All files of a checkout but the test's own: size and time."""
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path in root.rglob("*")
            if path.name != ".audit" and (stat := os.lstat(path)) and not path.is_dir()}


def plan(clone: Clone, *args: str) -> dict[str, Any]:
    before = tree(clone.root)
    run = clone.doit("plan", *args, "--json")
    assert (run.code, run.processes, run.connections) == (0, [], []), run.text
    assert tree(clone.root) == before
    found: dict[str, Any] = json.loads(run.out)
    return found


def foretold(clone: Clone, *args: str) -> dict[str, Any]:
    """The plan; then the run, which does just that."""
    found = plan(clone, *args)
    run = clone.doit(*args)
    assert run.code == 0, run.text
    compiled = sorted(one["kernel"] for one in found["cells"] if "compile" in one["actions"])
    assert (run.compiled, run.imaged) == (compiled, found["totals"]["image"])
    assert plan(clone, *args)["cells"] == []
    return found


@pytest.mark.parametrize("file, old, new, part", [
    ("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n", "containerfile"),
    ("config/drivers/neuron.yaml", "labels:\n", "labels:\n  more: Another\n", "labels"),
    ("container/build-module.sh", "set -eu\n", "set -eu\n: more\n", "build_script"),
])
def test_it_says_what_the_run_does(copied: Clone, file: str, old: str, new: str, part: str) -> None:
    """The values of what was built were kept by the run that built it."""
    copied.edit(file, old, new)
    found = foretold(copied, f"build:{DRIVER}")
    for step in found["cells"]:
        [change] = step["changes"]
        assert change["part"] == part
        assert any("more" in text.lower() for text in change["lines"]), change


def test_what_is_replaced(copied: Clone, access: AccessLogs) -> None:
    first = plan(copied, f"publish:{DRIVER}")
    assert {tuple(one["actions"]) for one in first["cells"]} == {("push",)}
    assert first["notes"], "it says that it does not know what is published"
    assert copied.doit(f"publish:{DRIVER}").code == 0
    before = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    copied.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    access.new()
    found = plan(copied, f"publish:{DRIVER}")
    assert access.new() == []
    assert {one["kernel"]: (one["replaces"]["digest"], one["replaces"]["key"]) for one in found["cells"]} == {
        kernel: (row["digest"], row["key"]) for kernel, row in before.items()}
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0, run.text
    assert {row["kernel"]: row["replaces"]["digest"] for row in ledger(copied, DRIVER)["cells"]} == {
        one["kernel"]: one["replaces"]["digest"] for one in found["cells"]}


def test_a_fresh_checkout_of_published_cells(copied: Clone, tmp_path: Path) -> None:
    """It built nothing, and can name what changed since: adopting keeps the values."""
    assert copied.doit(f"publish:{DRIVER}").code == 0
    fresh = copied.checkout(tmp_path / "fresh")
    assert fresh.doit(f"publish:{DRIVER}").code == 0
    fresh.edit("config/drivers/neuron.yaml", "labels:\n", "labels:\n  more: Another\n")
    fresh.edit("container/build-module.sh", "set -eu\n", "set -eu\n: more\n")
    for step in plan(fresh, f"publish:{DRIVER}")["cells"]:
        said = {one["part"]: one["lines"] for one in step["changes"]}
        assert step["actions"] == ["compile", "sign", "image", "push"] and step["replaces"]
        assert "+: more" in said["build_script"] and said["labels"] == ["more: none → Another"]
