"""`doit sync` in the sandbox: toolkits in a registry of the user's, by digest; the second time nothing is sent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_publish_aws import HOST, KEYS, held, no_secrets, token_of
from tests.harness.aws import ACCOUNT, ecr_fake
from tests.harness.clone import Clone
from tests.harness.front import Front, front, says
from tests.harness.registry import Pusher, htpasswd, real_registry
from tests.harness.released import digest
from tests.harness.secrets import PASSWORD, USER

REPOSITORY = "mine/driver-toolkit"
PROFILE = "config/profiles/sandbox.yaml"


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Front]:
    with real_registry(tmp_path / "mine") as address, front(address) as one:
        yield one


@pytest.fixture
def clone(new_clone: Callable[[], Clone], mine: Front, tmp_path: Path) -> Clone:
    """A clone that mirrors into a registry of its own."""
    clone = new_clone()
    clone.edit(PROFILE, "services: sandbox", "\n".join([
        "services: sandbox", f"mirror: {{registry: mirror.internal, repository: {REPOSITORY}}}",
        f"addresses: {{mirror.internal: '{mine.address}'}}"]))
    clone.extra = {"HOME": str(tmp_path)}
    return clone


def wanted(clone: Clone) -> dict[str, str]:
    """Tag → digest of the toolkits that cells of the matrix need, by the catalogue."""
    entries = clone.catalogue()
    kernels = {row["kernel"] for row in clone.status().values()}
    return {f"{entry['version']}-{entry['arch']}": entry["dtk"].partition("@")[2]
            for entry in entries if entry["kernel"] in kernels}


def test_mirror(clone: Clone, mine: Front) -> None:
    tags = wanted(clone)
    first = clone.doit("sync")
    assert first.code == 0, first.text
    assert first.podman("pull") == []
    assert {tag: digest(f"{mine.upstream}/{REPOSITORY}:{tag}") for tag in tags} == tags
    toolkits = len(set(tags.values()))
    assert f"mirror.internal/{REPOSITORY}: {toolkits} toolkits copied, 0 there already, 0 failed; 0 tags" in first.out
    mine.requests.clear()
    again = clone.doit("sync")
    assert again.code == 0, again.text
    assert [verb for verb, *_ in mine.requests] == ["GET"] * len(tags), "one a tag, and nothing else"
    assert f"0 toolkits copied, {toolkits} there already" in again.out
    assert again.processes == []


def test_builds_pull_from_the_mirror(clone: Clone, mine: Front) -> None:
    """By the name that the catalogue has; from the toolkit's own registry when the mirror has it no more."""
    assert clone.doit("sync").code == 0
    state = json.loads((clone.build / "mirror.json").read_text())
    reference = clone.catalogue()[0]["dtk"]
    found = reference.partition("@")[2]
    assert state[found] == f"mirror.internal/{REPOSITORY}"
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    for gone in (False, True):
        subprocess.run(["podman", "image", "rm", "--force", reference], capture_output=True, check=False)
        mine.requests.clear()
        if gone:
            mine.always("/manifests/", says(404))
        run = clone.doit("build", FORCE_BUILD="true")
        assert run.code == 0, run.text
        assert [argv[-1] for argv in run.podman("pull")][:1] == [reference]
        assert mine.count(f"/manifests/{found}") >= 1
        assert gone or mine.count("/blobs/", "GET") >= 1


def test_a_tag_of_something_else_is_moved(clone: Clone, mine: Front) -> None:
    tags = wanted(clone)
    tag = next(iter(tags))
    other = Pusher(mine.upstream, REPOSITORY).image([b"other"], tag=tag)["digest"]
    run = clone.doit("sync")
    assert run.code == 0, run.text
    assert f"{tag} was {other}" in run.out and "1 tags moved" in run.out
    assert digest(f"{mine.upstream}/{REPOSITORY}:{tag}") == tags[tag]


def test_one_that_fails_does_not_stop_the_others(clone: Clone, mine: Front) -> None:
    tags = wanted(clone)
    path = clone.build / "driver-toolkit.json"
    entries = json.loads(path.read_text())
    bad = entries[0]["dtk"]
    gone = f"{bad.partition('@')[0]}@sha256:{'0' * 64}"
    path.write_text(json.dumps([{**entry, "dtk": gone} if entry["dtk"] == bad else entry for entry in entries]))
    run = clone.doit("sync")
    assert run.code == 3, run.text
    assert gone in run.text and "hint:" in run.text and "1 failed" in run.out
    others = {tag: found for tag, found in tags.items() if found != bad.partition("@")[2]}
    assert others
    assert {tag: digest(f"{mine.upstream}/{REPOSITORY}:{tag}") for tag in others} == others
    mine.always("/v2/", says(403))
    run = clone.doit("sync")
    assert run.code == 3 and "refuses" in run.text


def test_no_mirror_and_no_catalogue(new_clone: Callable[[], Clone]) -> None:
    clone = new_clone()
    run = clone.doit("sync")
    assert run.code == 2
    assert f"{PROFILE}: $.mirror" in run.text and "hint:" in run.text
    clone.edit(PROFILE, "services: sandbox", "services: sandbox\nmirror: {registry: 'x.test', repository: y}")
    clone.write("build/sandbox/driver-toolkit.json", [])
    run = clone.doit("sync")
    assert run.code == 2
    assert "hint: run `doit toolkit`" in run.text


def test_ecr(new_clone: Callable[[], Clone], tmp_path: Path) -> None:
    """The profile `ecr` as it is: a token of AWS, no repository at first."""
    clone = new_clone()
    tags = wanted(clone)
    with real_registry(tmp_path / "ecr", htpasswd(tmp_path / "ecr")) as address, front(address) as one, \
            ecr_fake() as fake:
        clone.use_profile("ecr", {HOST: one.address})
        fake.token = token_of(USER, PASSWORD)
        clone.extra = {**KEYS, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_ECR": fake.url, "AWS_ACCOUNT_ID": ACCOUNT,
                       "DTK_ECR_REPOSITORY_NAME": "team/dtk", "HOME": str(tmp_path)}
        lacking = clone.doit("sync")
        assert lacking.code == 3, lacking.text
        assert "create-repository --repository-name team/dtk" in lacking.text
        clone.edit("config/profiles/ecr.yaml", "create_repository: false", "create_repository: true")
        run = clone.doit("sync")
        assert run.code == 0, run.text
        assert "team/dtk" in fake.repositories
        assert held(one, "team/dtk") == tags
        asked = fake.asked("DescribeRepositories")
        assert clone.doit("sync").code == 0
        assert fake.asked("DescribeRepositories") == asked, "only who writes asks for the repository"
        assert fake.violations == []
        no_secrets(clone, lacking, run)
