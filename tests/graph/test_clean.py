"""`doit clean`: of every stage, exactly what it leaves; never while a run is at work."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path

import pytest

from foundry.run.stages import stage_of
from tests.harness.checkout import NEW, OLD
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.project import Project

CELL = f"2.22.2.0-{OLD}"


@pytest.fixture
def files(project: Project) -> dict[str, list[Path]]:
    """Task → the files that it leaves, all of which are there."""
    project.publishes("kmod")
    row = ledger_row(NEW, key_inputs=key_inputs(project.root, f"2.22.2.0-{NEW}"), registries=["registry.test/kmod"])
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(row))
    found: dict[str, list[Path]] = {}
    name = title = ""
    for line in project.doit("info", "*").out.splitlines():
        if stage_of(line) is not None:
            name = line
        title = line.partition(" ")[0] or title
        if title == "targets" and line.startswith(" - "):
            found.setdefault(name, []).append(project.root / line.removeprefix(" - "))
    for path in {path for paths in found.values() for path in paths}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return found


@pytest.mark.parametrize("stage", ["fetch:2.22.2.0", "source:2.22.2.0", f"module:{CELL}", f"image:{CELL}",
                                   f"push:{CELL}", "notes:2.22.2.0", "ledger:2.22.2.0"])
def test_a_stage(project: Project, files: dict[str, list[Path]], stage: str) -> None:
    """What it leaves, and nothing else; with --dry-run nothing."""
    everything = {path for paths in files.values() for path in paths}
    shown = project.doit("clean", "--dry-run", stage)
    assert (shown.code, {path for path in everything if path.exists()}) == (0, everything)
    done = project.doit("clean", stage)
    assert done.code == 0
    assert {path for path in everything if not path.exists()} == set(files[stage])
    assert done.out.count("removed ") == shown.out.count("would remove ") == len(files[stage])
    assert (project.root / "build/local/release/2.22.2.0/images.json").exists()


@pytest.mark.parametrize("args, stages", [
    (["build"], {"image"}), (["build:2.22.2.0"], {"image"}), (["build:2.22.2.0@4.16"], {"image"}),
    (["image:*"], {"image"}), (["module"], {"module"}), ([f"build/local/cells/{CELL}/image.json"], {"image"}),
    (["-c", f"image:{CELL}"], {"image", "module", "source", "fetch"}), ([], {"image", "module", "source", "fetch"}),
])
def test_groups_patterns_files_and_what_they_depend_on(
    project: Project, files: dict[str, list[Path]], args: list[str], stages: set[str]
) -> None:
    """Of the stages, what the one cell that is not published yet has."""
    assert project.doit("clean", *args).code == 0
    for stage in ("fetch:2.22.2.0", "source:2.22.2.0", f"module:{CELL}", f"image:{CELL}", f"push:{CELL}"):
        assert any(path.exists() for path in files[stage]) is (stage.partition(":")[0] not in stages), stage


@pytest.mark.parametrize("name", ["toolkit", "sync", "archive:neuron", "sandbox:up", "dtk:kernels"])
def test_what_leaves_nothing_says_so(project: Project, name: str) -> None:
    done = project.doit("clean", name)
    assert (done.code, done.out) == (0, "")
    assert f"note: {name} leaves no files that could be removed" in done.err


def test_it_waits_for_a_run(project: Project, files: dict[str, list[Path]]) -> None:
    file = files[f"image:{CELL}"][0]
    with (project.root / "build/local/.run.lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cleaning = subprocess.Popen(project.command("clean", f"image:{CELL}"), cwd=project.root, stderr=subprocess.PIPE,
                                    env=project.environment(KMOD_TEST_LONGEST_PAUSE="0.05"), text=True)
        assert cleaning.stderr is not None
        assert next(line for line in cleaning.stderr if "waiting" in line)
        assert file.exists()
    assert cleaning.wait(30) == 0
    cleaning.stderr.close()
    assert not file.exists()


def test_then_they_are_pending(project: Project) -> None:
    project.write(f"build/local/cells/{CELL}/image.json", "{}")
    project.doit("clean", f"image:{CELL}")
    [row] = [row for row in json.loads(project.doit("status", "--json").out) if row["kernel"] == OLD]
    assert row["state"] == "pending"
