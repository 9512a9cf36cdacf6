"""The nightly workflow and the one of pull requests, played step by step as their files say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.checkout import CATALOGUE as RELEASES
from tests.harness.checkout import LOCK as LOCKED
from tests.harness.clone import AUDIT, ROOT, AccessLogs, Clone
from tests.harness.fleet import TOKEN, Fleet
from tests.harness.github import github_fake
from tests.harness.workflow import Job, Play, Workflow

NIGHT, CHECKS = "update-driver-toolkit.yml", "checks.yml"
CATALOGUE, LOCK = "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json"
BRANCH = "refs/heads/update-driver-toolkit"
DRIVERS = {"2.22.2.0": ["4.16", "4.18"]}
FOUND = ["4.16.30", "4.16.48", "4.18.15", "4.18.16"]


# -- update-driver-toolkit.yml -----------------------------------------------------


@pytest.fixture
def fleet(services: Clone, tmp_path: Path) -> Iterator[Fleet]:
    """A repository whose catalogue knows one release; its releases are the sandbox's."""
    with github_fake() as github:
        github.token = TOKEN
        one = Fleet(tmp_path, services, github, services.build / "locks", DRIVERS)
        releases = yaml.safe_load((ROOT / "config/profiles/sandbox.yaml").read_text())["releases"]
        releases["signatures"]["fingerprint_file"] = "keys/neuron.fingerprint"  # where `use_profile` has it
        one.change(releases=releases)
        known = json.loads((one.main.root / CATALOGUE).read_text())
        one.main.write(CATALOGUE, [entry for entry in known if entry["version"] == "4.16.30"])
        github.git.seed("main", {name: (one.main.root / name).read_bytes()
                                 for name in (CATALOGUE, LOCK, "build-matrix.json")})
        yield one
        assert github.violations == []


class Nights:
    """One night after the other, each on a fresh machine: nothing lasts but what is in the repository."""

    def __init__(self, fleet: Fleet, **contexts: Any) -> None:
        self.fleet = fleet
        self.count = 0
        self.workflow = Workflow(NIGHT, {"github": {"token": TOKEN}, "secrets": {}, **contexts}, fleet.environment)

    def next(self, result: str = "success") -> Job:
        self.count += 1
        job = Play(self.workflow, self.fleet.folder / "artifacts", self.count).play("toolkit", self.fleet.machine())
        assert job.result == result, job.text
        assert TOKEN not in job.text + job.summary
        return job


def test_nights(fleet: Fleet, access: AccessLogs) -> None:
    """New releases become a pull request; once merged, all is quiet."""
    github, nights = fleet.github, Nights(fleet)
    access.new()
    job = nights.next()
    assert "catalogue refreshed" in job.summary and "sent." in job.summary
    assert len(access.new()) > 2 + 3 * 2
    [pull] = github.pulls
    assert pull.title == "Update driver toolkits: 4.16.48, 4.18.15, 4.18.16"
    catalogue = github.git.raw("show", f"{BRANCH}:{CATALOGUE}")
    assert catalogue == (job.clone.root / CATALOGUE).read_bytes()
    assert [entry["version"] for entry in json.loads(catalogue)] == FOUND

    writes = len(github.writes())
    nights.next()
    assert len(access.new()) > 2 + 3 * 2, "no cache that another job could have written says what they are"
    assert len(github.writes()) == writes, "the pull request is as it should be"

    github.merge(pull)
    fleet.main.write(CATALOGUE, catalogue.decode())
    assert "main has it all" in nights.next().text
    assert (len(github.pulls), len(access.new())) == (1, 2), "two channels; the catalogue has the rest"


def test_a_night_that_finds_nobody(fleet: Fleet) -> None:
    """No pull request is opened on half an answer."""
    nights = Nights(fleet)
    nights.next()
    fleet.main.write(CATALOGUE, [])
    good = yaml.safe_load((fleet.main.root / "config/profiles/github.yaml").read_text())["releases"]
    fleet.change(releases=good | {"graph": "http://127.0.0.1:1/graph"})
    writes = len(fleet.github.writes())
    job = nights.next("failure")
    assert job.step("find releases and their toolkits").code == 3
    assert job.step("pull request").code is None, "left out"
    assert len(fleet.github.writes()) == writes


def test_a_token_of_its_own_opens_the_pull_request(fleet: Fleet) -> None:
    """GitHub's own token may do nothing here."""
    Nights(fleet, github={"token": "ghs_powerless"}, secrets={"TOOLKIT_PR_TOKEN": TOKEN}).next()
    assert len(fleet.github.pulls) == 1
    job = Nights(fleet, github={"token": "ghs_powerless"}).next("failure")
    assert job.step("pull request").code == 3


# -- checks.yml --------------------------------------------------------------------


@pytest.fixture
def checkout(services: Clone, tmp_path: Path) -> Clone:
    """All tracked files in a repository of their own, with the Python environment made."""
    clone = Clone(tmp_path / "checkout", services.services)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=True, text=True).stdout.split("\0")
    for name in listed:
        if name and (ROOT / name).is_file():
            (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone.root / name)
    commit(clone, "init", "--quiet")
    commit(clone, "add", "--all")
    os.utime(clone.root / "requirements-dev.txt", (0, 0))  # what it names is installed
    (clone.root / ".venv").symlink_to(ROOT / ".venv")
    return clone


def commit(clone: Clone, *args: str) -> None:
    subprocess.run(["git", *args], cwd=clone.root, check=True, capture_output=True)


def checked(clone: Clone, name: str, tests: str = "", **environment: str) -> Job:
    """A job of checks.yml; `tests` takes the place of a shard's."""
    workflow = Workflow(CHECKS, {"github": {}}, {"GITHUB_ACTIONS": "true", **environment})
    shard = {"shard": "one", "tests": tests} if tests else None
    return Play(workflow, clone.root.parent / "artifacts", 1).play(name, clone, shard)


def test_lint_finds_what_a_pull_request_brings(checkout: Clone) -> None:
    """Three of the linters, on part of the project, as it is and with a fault for each."""
    most = [f"tests/{name}" for name in ("unit", "graph", "integration", "e2e", "bench")]  # tests/lint looks at them
    commit(checkout, "rm", "-rf", "--quiet", "requirements.txt", "docs", *most)
    three = "-k 'test_ruff or test_shellcheck or test_secrets' -p no:cacheprovider"
    job = checked(checkout, "lint", PYTEST_ADDOPTS=three)
    assert job.result == "success" and "3 passed" in job.text, job.text
    checkout.write("tasks/planted.py", "import os\n")
    checkout.write("container/planted.sh", "#!/bin/sh\necho $1\n")
    checkout.write("docs/planted.md", "AKIA" + "IOSFODNN7" + "ABCDEFG\n")
    commit(checkout, "add", "--all")
    job = checked(checkout, "lint", PYTEST_ADDOPTS=three)
    assert job.result == "failure" and "3 failed" in job.text, job.text


def test_tests_that_fail_or_skip_fail_the_check(checkout: Clone) -> None:
    job = checked(checkout, "test", "tests/unit/base/test_versions.py")
    assert job.result == "success" and " passed" in job.text, job.text
    for body in ("assert False", "pytest.skip('not here')"):
        checkout.write("tests/unit/test_planted.py", f"import pytest\n\n\ndef test_planted():\n    {body}\n")
        job = checked(checkout, "test", "tests/unit/test_planted.py")
        assert job.result == "failure", job.text


def test_the_plan_of_a_pull_request(checkout: Clone, access: AccessLogs) -> None:
    """Its summary says what would be built and replaced, and why; without a network request."""
    checkout.write(LOCK, LOCKED)
    checkout.write(CATALOGUE, RELEASES)
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16.30"]}])
    for message in ("before", "after"):
        commit(checkout, "add", "--all")
        commit(checkout, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", f"--message={message}")
        if message == "before":
            checkout.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    (checkout.root / ".venv").unlink()
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv" / "bin").symlink_to(ROOT / ".venv" / "bin")
    (checkout.root / ".venv" / ".runtime").touch()  # `make runtime` finds it; with it doit sees this folder
    access.new()
    job = checked(checkout, "plan", PYTHONPATH=f"{checkout.root}:{AUDIT}")
    assert job.result == "success", job.text
    assert "image 1, push 1, replace 1" in job.summary and "+ARG MORE" in job.summary, job.summary
    assert access.new() == []


def test_a_build_in_the_sandbox(checkout: Clone, kernels: list[str], access: AccessLogs) -> None:
    """Of one cell. In Actions the profile would be `github`; nothing is pushed."""
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16.30"]}])
    access.new()
    job = checked(checkout, "sandbox")
    assert job.result == "success", job.text
    assert (checkout.cell(f"2.22.2.0-{kernels[0]}") / "image.oci.tar").exists()
    assert not [line for line in access.new() if '"PUT ' in line or '"POST ' in line]
