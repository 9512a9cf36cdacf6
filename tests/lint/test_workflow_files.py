"""What the workflows' files say; tests/e2e plays them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.harness.clone import ROOT
from tests.harness.workflow import Workflow

BUILD, CHECKS = "build-kmod-kmm-images.yml", "checks.yml"


def test_one_run_at_a_time_publishes() -> None:
    for name, cancels in ((BUILD, False), ("update-driver-toolkit.yml", False), (CHECKS, True),
                          ("archive-driver-sources.yml", False)):
        document = Workflow(name, {}, {}).document
        assert document["concurrency"]["cancel-in-progress"] is cancels
        assert document["permissions"] == {}
        assert all("permissions" in job and "timeout-minutes" in job for job in document["jobs"].values())


def test_a_pull_request_sees_no_secret() -> None:
    text = (ROOT / ".github/workflows" / CHECKS).read_text()
    assert "secrets." not in text and "id-token" not in text and "pull_request_target" not in text


def test_a_push_that_touches_an_input_builds() -> None:
    """What cells are made from, and how: a change of any of it starts a run."""
    events: Any = dict(enumerate(Workflow(BUILD, {}, {}).document.values()))[1]  # YAML takes the key `on` for true
    paths = events["push"]["paths"]
    inputs = ["build-matrix.json", "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json",
              "config/profiles/github.yaml", "config/drivers/neuron.yaml", "config/defaults.yaml",
              "container/Containerfile", "container/build-module.sh", "foundry/plan/keys.py", "dodo.py",
              "schemas/ledger.schema.json", "requirements.txt"]
    assert [name for name in inputs if not (ROOT / name).exists() and "locks" not in name] == []
    for name in inputs:
        assert any(name == path or (path.endswith("/**") and name.startswith(path[:-2])) for path in paths), name


def test_the_checks_are_the_documented_commands() -> None:
    """What the tests that play it narrow by the environment is, in the file, what a user runs."""
    jobs = Workflow(CHECKS, {}, {}).document["jobs"]
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert runs == {"lint": ["make lint"], "test": ["make test"], "sandbox": ["make demo"]}
    told = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    assert all(re.search(rf"^{run}\b", told, re.MULTILINE) for [run] in runs.values())
    assert [step["env"] for job in jobs.values() for step in job["steps"] if "env" in step] == [
        {"TESTS": "${{ matrix.tests }}"}]
    assert not any("with" in step and "persist-credentials" not in step["with"]
                   for job in jobs.values() for step in job["steps"])


def test_the_shards_of_the_checks_have_every_test_once() -> None:
    shards = Workflow(CHECKS, {}, {}).document["jobs"]["test"]["strategy"]["matrix"]["include"]
    found: list[Path] = []
    for path in (path for shard in shards for pattern in shard["tests"].split() for path in ROOT.glob(pattern)):
        found += [path] if path.is_file() else path.rglob("test_*.py")
    assert sorted(found) == sorted((ROOT / "tests").rglob("test_*.py"))
