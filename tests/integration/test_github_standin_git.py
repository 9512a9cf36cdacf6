"""The stand-in for GitHub's git objects and pull requests, driven by PyGithub as shipped."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github
import pytest
from github import InputGitAuthor, InputGitTreeElement
from github.Repository import Repository

from tests.harness.github import GitHub, github_fake

pytestmark = pytest.mark.usefixtures("one")


@pytest.fixture
def one() -> Iterator[GitHub]:
    """GitHub; nothing may differ from its description."""
    with github_fake() as fake:
        yield fake
        assert fake.violations == []


@pytest.fixture
def repo(one: GitHub) -> Repository:
    """The repository by PyGithub, which repeats nothing."""
    settings: dict[str, Any] = {"retry": None, "seconds_between_requests": 0, "seconds_between_writes": 0}
    return github.Github(base_url=one.url, auth=github.Auth.Token("any"), **settings).get_repo(one.repo)


def change(repo: Repository, branch: str, path: str, content: str | None, parent: str = "main") -> str:
    """Commit a file to a new branch by the API alone; the commit's sha."""
    start = repo.get_branch(parent).commit
    blob = None if content is None else repo.create_git_blob(content, "utf-8").sha
    element = InputGitTreeElement(path, "100644", "blob", sha=blob)
    tree = repo.create_git_tree([element], base_tree=repo.get_git_tree(start.sha))
    commit = repo.create_git_commit(f"Change {path}", tree, [repo.get_git_commit(start.sha)])
    repo.create_git_ref(f"refs/heads/{branch}", commit.sha)
    return commit.sha


def errors(caught: pytest.ExceptionInfo[github.GithubException]) -> list[dict[str, str]]:
    data: Any = caught.value.data
    assert caught.value.status == 422
    return list(data.get("errors", [])) or [{"message": data["message"]}]


def test_a_commit_is_that_of_git(one: GitHub, repo: Repository, tmp_path: Path) -> None:
    """A clone of the bare repository has what was made by the API."""
    sha = change(repo, "update/locks", "config/locks/x.json", "{}\n")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--branch=update/locks", one.git.folder, clone], check=True)
    assert (clone / "config/locks/x.json").read_text(encoding="utf-8") == "{}\n"
    assert (clone / "README.md").exists()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True)
    assert head.stdout.strip() == sha == repo.get_git_ref("heads/update/locks").object.sha
    assert repo.get_branch("update/locks").commit.sha == sha
    assert [ref.ref for ref in repo.get_git_matching_refs("heads/update/")] == ["refs/heads/update/locks"]


def test_a_commit_tells_its_people_and_files(one: GitHub, repo: Repository) -> None:
    tree = repo.create_git_tree([InputGitTreeElement("a/b.txt", "100644", "blob", content="x\ny\n")])
    author = InputGitAuthor("A Robot", "robot@example.org", "2025-03-04T05:06:07Z")
    made = repo.create_git_commit("Why\n\nBecause", tree, [], author)
    assert (made.author.name, made.committer.email) == ("A Robot", "robot@example.org")
    found = repo.get_commit(made.sha)
    assert (found.commit.message, found.stats.additions) == ("Why\n\nBecause", 2)
    assert found.commit.author.date.isoformat() == "2025-03-04T05:06:07+00:00"
    assert [(file.filename, file.status) for file in found.files] == [("a/b.txt", "added")]
    assert [entry.path for entry in repo.get_git_tree(tree.sha, recursive=True).tree] == ["a", "a/b.txt"]
    with pytest.raises(github.GithubException) as caught:
        _ = repo.get_commit("nowhere").sha
    assert "No commit found" in errors(caught)[0]["message"]


def test_contents(one: GitHub, repo: Repository) -> None:
    one.git.seed("main", {"a/b.txt": b"x" * 100, "a/c d.bin": b"\0\xff", "large": b"x" * 1_000_001})
    file = repo.get_contents("a/b.txt", ref="main")
    assert not isinstance(file, list)
    assert file.decoded_content == b"x" * 100
    folder = repo.get_contents("a")
    assert isinstance(folder, list)
    assert [held.path for held in folder] == ["a/b.txt", "a/c d.bin"]
    assert folder[1].decoded_content == b"\0\xff"
    root = repo.get_contents("")
    assert isinstance(root, list)
    assert [held.type for held in root] == ["file", "dir", "file"]
    large = repo.get_contents("large")
    assert not isinstance(large, list)
    assert (large.encoding, large.size) == ("none", 1_000_001)
    assert repo.get_git_blob(large.sha).size == 1_000_001
    for path, ref in (("a/none", "main"), ("a/b.txt", "nowhere")):
        with pytest.raises(github.GithubException) as caught:  # UnknownObjectException if it says "Not Found" only
            repo.get_contents(path, ref=ref)
        assert caught.value.status == 404


def test_a_tree_takes_and_removes(one: GitHub, repo: Repository) -> None:
    one.git.seed("main", {"a/b.txt": b"1", "a/c.txt": b"2"})
    sha = change(repo, "less", "a/b.txt", None)
    assert [entry.path for entry in one.git.entries(sha, recursive=True)] == ["README.md", "a", "a/c.txt"]
    for element in (InputGitTreeElement("no", "100644", "blob", sha=None),
                    InputGitTreeElement("no", "100644", "blob", sha="1" * 40)):
        with pytest.raises(github.GithubException) as caught:
            repo.create_git_tree([element], base_tree=repo.get_git_tree(sha))
        assert errors(caught)
    whole = repo.create_git_tree([InputGitTreeElement("copy", "040000", "tree", sha=repo.get_git_tree(sha).sha)])
    assert [entry.path for entry in whole.tree] == ["copy"]


def test_refs_move_forward_only(one: GitHub, repo: Repository) -> None:
    first, second = (change(repo, name, "x.txt", name) for name in ("one", "two"))
    ref = repo.get_git_ref("heads/one")
    with pytest.raises(github.GithubException) as caught:
        ref.edit(second)
    assert errors(caught)[0]["message"] == "Update is not a fast forward"
    ref.edit(second, force=True)
    assert one.git.sha("refs/heads/one") == second != first
    with pytest.raises(github.GithubException) as caught:
        repo.create_git_ref("refs/heads/one", first)
    assert errors(caught)[0]["message"] == "Reference already exists"
    ref.delete()
    with pytest.raises(github.GithubException) as caught:
        ref.delete()
    assert errors(caught)[0]["message"] == "Reference does not exist"
    with pytest.raises(github.UnknownObjectException):
        _ = repo.get_git_ref("heads/one").object.sha


def test_compare(one: GitHub, repo: Repository) -> None:
    for number in range(3):
        one.git.seed("side", {f"{number}.txt": b"x\n", "README.md": b"other\n"}, start="main")
    one.git.seed("main", {"main.txt": b"x"})
    found = repo.compare("main", "side")
    assert (found.status, found.ahead_by, found.behind_by, found.total_commits) == ("diverged", 3, 1, 3)
    assert {file.filename: file.status for file in found.files} == {
        "0.txt": "added", "1.txt": "added", "2.txt": "added", "README.md": "modified"}
    assert len(list(found.get_commits(comparison_commits_per_page=2))) == 3
    assert repo.compare("main", "main").status == "identical"
    assert (repo.compare("side", "main").status, repo.compare("main~1", "main").ahead_by) == ("diverged", 1)


def test_a_pull_request_from_change_to_merge(one: GitHub, repo: Repository) -> None:
    first = change(repo, "update", "x.txt", "1\n")
    pull = repo.create_pull(base="main", head="update", title="Update", body="Why")
    assert (pull.number, pull.state, pull.head.sha, pull.commits, pull.changed_files) == (1, "open", first, 1, 1)
    assert (pull.mergeable, pull.user.login, pull.head.label) == (True, "robot", "acme:update")
    second = one.git.seed("update", {"y.txt": b"2\n"})
    assert [held.head.sha for held in repo.get_pulls(head="acme:update", base="main")] == [second]
    pull.edit(title="Update again", body="More")
    assert (one.pulls[0].title, one.pulls[0].body) == ("Update again", "More")
    merged = one.merge(one.pulls[0])
    assert repo.get_branch("main").commit.sha == merged
    assert repo.get_pull(1).merged
    assert list(repo.get_pulls()) == []
    assert [held.merge_commit_sha for held in repo.get_pulls(state="closed")] == [merged]


def test_pull_requests_that_are_refused(one: GitHub, repo: Repository) -> None:
    def refused(**asked: str) -> dict[str, str]:
        with pytest.raises(github.GithubException) as caught:
            repo.create_pull(**{"base": "main", "title": "x", **asked})  # type: ignore[arg-type]
        return errors(caught)[0]

    repo.create_git_ref("refs/heads/same", one.git.commitish("main"))
    change(repo, "update", "x.txt", "1\n")
    assert refused(head="same")["message"] == "No commits between main and same"
    assert refused(head="nowhere") == {"resource": "PullRequest", "code": "invalid", "field": "head"}
    assert refused(head="update", base="nowhere")["field"] == "base"
    pull = repo.create_pull(base="main", head="update", title="x")
    assert refused(head="acme:update")["message"] == "A pull request already exists for acme:update."
    pull.edit(state="closed")
    repo.create_pull(base="main", head="update", title="x")
    with pytest.raises(github.GithubException) as caught:
        pull.edit(state="open")
    assert "already exists" in errors(caught)[0]["message"]
    assert [held.state for held in one.pulls] == ["closed", "open"]


def test_a_fork_has_a_branch_of_the_same_name(one: GitHub, repo: Repository) -> None:
    theirs = one.seed_pull("update", owner="stranger", files={"evil.txt": b"x"})
    assert list(repo.get_pulls(head="acme:update")) == []
    assert [pull.number for pull in repo.get_pulls()] == [1]
    assert [pull.number for pull in repo.get_pulls(head="update")] == [1]  # GitHub ignores a head without owner
    change(repo, "update", "x.txt", "1\n")
    ours = repo.create_pull(base="main", head="update", title="x")
    assert [pull.number for pull in repo.get_pulls(head="acme:update")] == [ours.number]
    found = repo.get_pull(theirs.number)
    assert (found.head.repo.full_name, found.head.repo.fork, found.user.login) == ("stranger/images", True, "stranger")
    assert repo.compare("main", "stranger:update").ahead_by == 1


def test_a_branch_that_goes_closes_its_pull_request(one: GitHub, repo: Repository) -> None:
    sha = change(repo, "update", "x.txt", "1\n")
    pull = repo.create_pull(base="main", head="update", title="x")
    repo.get_git_ref("heads/update").delete()
    pull.update()
    assert (pull.state, pull.merged, pull.head.sha) == ("closed", False, sha)


def test_pull_requests_have_pages(one: GitHub, repo: Repository) -> None:
    one.crlf = True
    for number in range(5):
        one.seed_pull(f"branch-{number}", body="a\nb")
    repo.requester.per_page = 2
    listed = list(repo.get_pulls(state="all", direction="asc"))
    assert [pull.number for pull in listed] == [1, 2, 3, 4, 5]
    assert listed[0].body == "a\r\nb"
    assert one.count("GET", "/pulls?") == 3
