"""`doit toolkit:pr` as the nightly workflow runs it: no git program, no checkout's history, one pull request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, entry
from tests.harness.clone import Clone, Run
from tests.harness.github import GitHub, github_fake

FILE, LOCK_FILE = "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json"
BRANCH = "refs/heads/update-driver-toolkit"
TOKEN = "ghs_canary4711canary"
NEWER = "5.14.0-570.99.1.el9_6.x86_64"


@pytest.fixture
def one() -> Iterator[GitHub]:
    with github_fake() as fake:
        fake.token = TOKEN
        yield fake
        assert fake.violations == []


@pytest.fixture
def clone(tmp_path: Path, one: GitHub) -> Clone:
    """A checkout in the profile `github` with nothing of git; main at GitHub has the same files."""
    found = Clone(tmp_path / "clone", tmp_path / "services")
    found.profile = "github"
    found.extra = {"GITHUB_API_URL": one.url, "GITHUB_REPOSITORY": one.repo, "GITHUB_TOKEN": TOKEN, "GH_TOKEN": "",
                   "NO_PROXY": "127.1,127.0.0.0/8"}
    found.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.18"]}])
    found.write(FILE, CATALOGUE)
    found.write(LOCK_FILE, LOCK)
    one.git.seed("main", {name: (found.root / name).read_bytes() for name in (FILE, LOCK_FILE, "build-matrix.json")})
    return found


def propose(clone: Clone, code: int = 0, **changes: str) -> Run:
    run = clone.doit("toolkit:pr", **changes)
    assert run.code == code, run.text
    assert run.processes == []
    assert "Traceback" not in run.text
    assert TOKEN not in run.text
    return run


def committed(one: GitHub, name: str) -> bytes:
    return one.git.raw("show", f"{BRANCH}:{name}")


def test_one_pull_request_through_its_life(clone: Clone, one: GitHub) -> None:
    assert "main has it all" in propose(clone).out
    assert one.writes() == []

    catalogue: list[dict[str, Any]] = [*CATALOGUE, entry("4.18.17", "1", NEWER)]
    clone.write(FILE, catalogue)
    run = propose(clone)
    assert f"opened {one.elsewhere}/acme/images/pull/1" in run.out
    assert committed(one, FILE) == (clone.root / FILE).read_bytes()
    changed = one.git.changed(one.git.commitish("main"), one.git.sha(BRANCH))
    assert [file.path for file in changed] == [FILE]
    pull = one.pulls[0]
    assert pull.title == "Update driver toolkits: 4.18.17"
    assert f"- `2.22.2.0` for `{NEWER}` (4.18.17)" in (pull.body or "")
    commit = one.git.commit(one.git.sha(BRANCH))
    assert commit.message.startswith("Update driver toolkits: 4.18.17\n\n1 new release\n1 new kernel\n1 new cell\n")

    before = len(one.requests)
    assert "is as it should be" in propose(clone).out
    assert {method for method, _ in one.requests[before:]} == {"GET"}
    assert len(one.requests) - before <= 6

    clone.write(FILE, [*catalogue, entry("4.16.50", "2", OLD)])
    clone.write(LOCK_FILE, {**LOCK, "base": {**LOCK["base"], "digest": "sha256:" + "9" * 64}})
    assert f"updated {one.elsewhere}/acme/images/pull/1" in propose(clone).out
    assert pull.title == "Update driver toolkits: 4.16.50, 4.18.17"
    assert "base digest was `sha256:eeeeeeeeeeee`, and is `sha256:999999999999`" in (pull.body or "")
    assert len(one.pulls) == 1

    one.merge(pull)
    assert "main has it all" in propose(clone).out

    files = [path for path in clone.root.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in "".join(str(held) for held in one.pulls)
    assert TOKEN not in one.git.git("log", "--all", "-p")


def test_what_main_has_is_no_catalogue(clone: Clone, one: GitHub) -> None:
    """As after a merge by hand that went wrong: all of it counts as new."""
    one.git.seed("main", {FILE: b"<<<<<<< HEAD\n"})
    propose(clone)
    assert f"`{FILE}` is faulty in the default branch" in (one.pulls[0].body or "")
    assert "2 new kernels" in (one.pulls[0].body or "")
    assert NEW in (one.pulls[0].body or "")


def test_work_of_others_is_given_up_only_by_force(clone: Clone, one: GitHub) -> None:
    clone.write(FILE, [*CATALOGUE, entry("4.18.17", "1", NEWER)])
    one.git.seed("update-driver-toolkit", {"theirs.txt": b"x"}, start="main")
    run = propose(clone, 1)
    assert "has changes that kmod-foundry did not make" in run.text
    assert one.writes() == []
    propose(clone, FORCE_BUILD="true")
    assert len(one.pulls) == 1


@pytest.mark.parametrize("changes, code, words", [
    ({"GITHUB_TOKEN": ""}, 3, "pull requests need a token, and none is set"),
    ({"GITHUB_TOKEN": "ghs_expired"}, 3, "GITHUB_TOKEN is refused"),
    ({"KMOD_PROFILE": "local"}, 2, "config/profiles/local.yaml: $.github_repository: no repository is named"),
])
def test_what_is_missing_is_said(clone: Clone, one: GitHub, changes: dict[str, str], code: int, words: str) -> None:
    assert words in propose(clone, code, **changes).text
    assert one.writes() == []


def test_an_empty_catalogue_is_not_proposed(clone: Clone, one: GitHub) -> None:
    clone.write(FILE, [])
    run = propose(clone, 2)
    assert "has no release yet" in run.text
    assert "run `doit toolkit`" in run.text
    assert one.requests == []


def test_it_does_not_run_with_the_group(clone: Clone) -> None:
    listed = clone.doit("info", "toolkit")
    assert listed.code == 0
    assert "toolkit:pr" not in listed.out
