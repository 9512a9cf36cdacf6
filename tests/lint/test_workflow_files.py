"""What the workflows' files say; tests/e2e plays them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundry.config.signing import IMAGES, MODULES, key_place
from tests.harness.clone import ROOT
from tests.harness.workflow import Workflow

GITHUB = ROOT / "config/profiles/github.yaml"
SIGNING_LINES = re.compile(r"^(# (?:image_)?signing:.*)$", re.MULTILINE)  # as comments: they wait for the owner's keys
BUILD, CHECKS = "build-kmod-kmm-images.yml", "checks.yml"


def test_one_run_at_a_time_publishes() -> None:
    for name, cancels in ((BUILD, False), ("update-driver-toolkit.yml", False), (CHECKS, True),
                          ("archive-driver-sources.yml", False), ("build-driver-toolkit.yml", False),
                          ("verify-images.yml", False)):
        document = Workflow(name, {}, {}).document
        assert document["concurrency"]["cancel-in-progress"] is cancels
        assert document["permissions"] == {}
        assert all("permissions" in job and "timeout-minutes" in job for job in document["jobs"].values())


def test_a_pull_request_sees_no_secret() -> None:
    text = (ROOT / ".github/workflows" / CHECKS).read_text()
    assert "secrets." not in text and "id-token" not in text and "pull_request_target" not in text


# What each job may do with its own token, and whether it may take an AWS role.
READS = {"contents": "read", "id-token": "write", "packages": "read"}
PUSHES = {"contents": "read", "id-token": "write", "packages": "write"}
ATTESTS = {"attestations": "write", "id-token": "write"}  # the token is for Sigstore, and the push role not for it
DEPLOYS = {"pages": "write", "id-token": "write"}  # the same of GitHub Pages
RIGHTS = {
    BUILD: {"plan": READS, "shard": PUSHES, "attestations": ATTESTS, "release": PUSHES | {"contents": "write"},
            "site": READS, "pages": DEPLOYS},
    "build-driver-toolkit.yml": {"plan": READS, "toolkit": PUSHES, "ledger": PUSHES},
    "verify-images.yml": {"verify": READS},
    "update-driver-toolkit.yml": {"toolkit": {"contents": "write", "pull-requests": "write"}},
    "archive-driver-sources.yml": {"archive": {"contents": "read"}},
    CHECKS: {job: {"contents": "read"} for job in ("lint", "test", "plan", "sandbox")},
}
FILES = sorted(path.name for path in (ROOT / ".github/workflows").iterdir())


def test_each_job_has_the_rights_that_it_needs() -> None:
    """One that is added here is one that somebody has looked at: docs/decisions/0022-what-each-job-may.md."""
    assert {name: {job: value["permissions"] for job, value in jobs_of(name).items()} for name in FILES} == RIGHTS


@pytest.mark.parametrize("name", FILES)
def test_the_push_role_is_for_jobs_that_push(name: str) -> None:
    """In the environment that its trust names; all others take the role that reads, and who takes none has no token."""
    for job in jobs_of(name).values():
        roles = {str(step["with"]["role-to-assume"]) for step in job["steps"]
                 if step.get("uses", "").startswith("aws-actions/configure-aws-credentials@")}
        pushes = job["permissions"].get("packages") == "write"
        wanted = {"${{ vars.AWS_ROLE_ARN }}" if pushes else "${{ vars.AWS_READ_ROLE_ARN }}"}
        takes = "id-token" in job["permissions"] and job["permissions"] not in (ATTESTS, DEPLOYS)
        assert roles == (wanted if takes else set())
        deploys = job["permissions"] == DEPLOYS
        assert job.get("environment") == ("publish" if pushes else "github-pages" if deploys else None)


@pytest.mark.parametrize("name", FILES)
def test_no_cache_decides_anything(name: str) -> None:
    """A cache is written by any job, also one that somebody took over, and unpacked over whatever is there."""
    used = [step for job in jobs_of(name).values() for step in job["steps"] if "uses" in step]
    assert {step["uses"].partition("@")[0] for step in used} <= {
        "actions/attest-build-provenance", "actions/checkout", "actions/upload-artifact", "actions/download-artifact",
        "actions/upload-pages-artifact", "actions/deploy-pages", "aws-actions/configure-aws-credentials"}
    assert not [step for step in used if any("cache" in option for option in step.get("with", {}))]


@pytest.mark.parametrize("name", FILES)
def test_single_steps_get_secrets(name: str) -> None:
    """Not for a whole job, of which other steps run other programs; nothing runs with a pull request's own files."""
    text = (ROOT / ".github/workflows" / name).read_text()
    document = Workflow(name, {}, {}).document
    assert not [one for one in (document, *jobs_of(name).values()) if "env" in one]
    assert "pull_request_target" not in text and "workflow_run" not in text and "secrets: inherit" not in text
    assert all(step["with"]["persist-credentials"] is False for job in jobs_of(name).values() for step in job["steps"]
               if step.get("uses", "").startswith("actions/checkout@"))


def test_only_the_step_that_signs_gets_the_key() -> None:
    """Shards compile what others wrote: keys are in one step's environment there. The release signs ledgers."""
    steps = {(name, step.get("name", step.get("run"))): str(step) for name in FILES for job in jobs_of(name).values()
             for step in job["steps"]}
    assert [place for place, text in steps.items() if "SIGNING" in text] == [
        (BUILD, "build and push"), (BUILD, "release")]
    env = next(step["env"] for step in jobs_of(BUILD)["shard"]["steps"] if step.get("name") == "build and push")
    wanted = set()
    for line, use in zip(SIGNING_LINES.findall(GITHUB.read_text()), (MODULES, IMAGES), strict=True):
        named = key_place(yaml.safe_load(line.removeprefix("# "))[use.setting]["key"])
        wanted |= {named.variable, use.passphrase}
    assert wanted == {name for name in env if "SIGNING" in name}
    released = next(step["env"] for step in jobs_of(BUILD)["release"]["steps"] if step.get("name") == "release")
    assert {name for name in released if "SIGNING" in name} == {name for name in wanted if "IMAGE" in name}
    assert all(one[name] == f"${{{{ secrets.{name} }}}}" for one in (env, released) for name in wanted & one.keys())


def test_machines_that_build_can_boot() -> None:
    """The profile requires proofs: QEMU and the like are there before the step that needs them."""
    assert yaml.safe_load(GITHUB.read_text())["proof"] == "required"
    runs = [step["run"] for step in jobs_of(BUILD)["shard"]["steps"] if "run" in step]
    assert runs[:2] == ["make runtime", "make boots"] and "doit run" in runs[2]


def test_tags_are_looked_at_every_day() -> None:
    """Where nothing is there to write with."""
    [trigger] = events_of("verify-images.yml")["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", trigger["cron"])
    assert [step["run"] for step in jobs_of("verify-images.yml")["verify"]["steps"] if "run" in step] == [
        "make runtime", ".venv/bin/doit verify --tags"]


def jobs_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = Workflow(name, {}, {}).document["jobs"]
    return found


def events_of(name: str) -> Any:
    return dict(enumerate(Workflow(name, {}, {}).document.values()))[1]  # YAML takes the key `on` for true


def test_a_push_that_touches_an_input_builds() -> None:
    """What cells are made from, and how: a change of any of it starts a run."""
    paths = events_of(BUILD)["push"]["paths"]
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
    plan = runs.pop("plan")
    assert plan == ["make runtime", ".venv/bin/doit plan --since HEAD^1 release"]
    assert all(step.removeprefix(".venv/bin/") in (ROOT / "docs/commands.md").read_text() for step in plan)
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
