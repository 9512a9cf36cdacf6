"""The stand-in for GitHub's releases, driven by PyGithub as shipped; refusals and disturbances."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import github
import pytest
import requests
from github.GitRelease import GitRelease
from github.GitReleaseAsset import GitReleaseAsset
from github.Repository import Repository

from tests.harness.github import GitHub, github_fake
from tests.harness.github_exchange import (
    already_exists,
    broken,
    conflict,
    delay,
    drop,
    drop_after,
    half_upload,
    instead_after,
    not_found,
    primary_rate_limit,
    says,
    secondary_rate_limit,
    too_many,
    unauthorized,
)
from tests.harness.github_state import Fault

TOKEN = "token-canary"
CONTENT = b"a driver's source" * 100


@pytest.fixture
def one() -> Iterator[GitHub]:
    """GitHub; nothing may differ from its description."""
    with github_fake() as fake:
        fake.token = TOKEN
        yield fake
        assert fake.violations == []


@pytest.fixture
def repo(one: GitHub) -> Repository:
    """The repository by PyGithub, which repeats nothing."""
    return client(one).get_repo(one.repo)


def client(one: GitHub, **more: Any) -> github.Github:
    settings: dict[str, Any] = {
        "retry": None, "seconds_between_requests": 0, "seconds_between_writes": 0, "per_page": 100, **more}
    return github.Github(base_url=one.url, auth=github.Auth.Token(one.token or "any"), **settings)


def upload(release: GitRelease, name: str, content: bytes = CONTENT) -> GitReleaseAsset:
    return release.upload_asset_from_memory(BytesIO(content), len(content), name)


def bytes_of(asset: GitReleaseAsset) -> bytes:
    _, _, chunks = asset.download_asset(chunk_size=4096)
    return b"".join(chunks)


def refused(status: int, ask: Callable[[], Any]) -> Any:
    """What GitHub said to a request that it refuses."""
    with pytest.raises(github.GithubException) as caught:
        ask()
    assert caught.value.status == status
    return caught.value.data


# -- releases ------------------------------------------------------------------------


def test_a_draft_is_filled_and_published(one: GitHub, repo: Repository) -> None:
    draft = repo.create_git_release("driver-1", "driver-1", "notes", draft=True)
    refused(404, lambda: repo.get_release("driver-1"))
    asset = upload(draft, "source.tar.gz")
    assert (asset.state, asset.size) == ("uploaded", len(CONTENT))
    assert draft.update_release("driver-1", "notes", draft=False).published_at is not None
    found = repo.get_release("driver-1")
    assert [held.name for held in found.assets] == ["source.tar.gz"]
    assert repo.get_latest_release().id == found.id
    assert one.git.sha("refs/tags/driver-1") == one.git.sha("refs/heads/main")
    assert [method for method, _ in one.writes()] == ["POST", "POST", "PATCH"]
    assert one.count("POST", "/assets?") == 1


def test_digests_are_those_of_the_bytes(one: GitHub, repo: Repository) -> None:
    asset = upload(repo.create_git_release("v1", "v1", "", draft=True), "a file (1).tar.gz")
    assert asset.name == "a.file.1.tar.gz"
    content = bytes_of(asset)
    assert content == CONTENT == one.releases[0].asset(asset.name).content
    assert asset.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    (path, headers), = one.elsewhere_requests
    assert path.startswith("/stored/")
    assert "Authorization" not in headers
    one.tamper(one.releases[0].assets[0], b"something else")
    asset.update()
    assert asset.digest == f"sha256:{hashlib.sha256(b'something else').hexdigest()}"
    refusing = f"{one.elsewhere}{path}"
    assert requests.get(refusing, headers={"Authorization": "token x"}, timeout=10).status_code == 400


def test_browsers_get_what_is_published(one: GitHub, repo: Repository) -> None:
    for draft in (False, True):
        asset = one.seed_asset(one.seed_release("v1", draft=draft), "x.tar.gz", CONTENT)
        url = repo.get_release_asset(asset.id).browser_download_url
        answer = requests.get(url, timeout=10)
        assert (answer.status_code, answer.content == CONTENT) == ((404, False) if draft else (200, True))


def test_lists_have_pages(one: GitHub) -> None:
    for number in range(7):
        release = one.seed_release(f"v{number}", draft=number % 2 == 0)
        for index in range(number):
            one.seed_asset(release, f"{index}.tar.gz", b"x")
    listed = list(client(one, per_page=3).get_repo(one.repo).get_releases())
    assert [release.tag_name for release in listed] == [f"v{number}" for number in reversed(range(7))]
    assert one.count("GET", "/releases?") == 3
    assert [asset.name for asset in listed[0].get_assets()] == [f"{index}.tar.gz" for index in range(6)]
    link = requests.get(f"{one.url}/repos/acme/images/releases?per_page=2&page=2", timeout=10,
                        headers={"Authorization": f"Bearer {TOKEN}"}).links
    assert {name: found["url"].rpartition("page=")[2] for name, found in link.items()} == {
        "prev": "1", "next": "3", "last": "4", "first": "1"}


def test_a_tag_has_one_published_release_and_any_number_of_drafts(one: GitHub, repo: Repository) -> None:
    drafts = [repo.create_git_release("v1", "v1", "", draft=True) for _ in range(2)]
    drafts[0].update_release("v1", "", draft=False)
    for ask in (lambda: repo.create_git_release("v1", "v1", ""), lambda: drafts[1].update_release("v1", "", False)):
        assert refused(422, ask)["errors"] == [
            {"resource": "Release", "code": "already_exists", "field": "tag_name"}]
    drafts[1].delete_release()
    assert [release.id for release in one.releases] == [drafts[0].id]
    refused(404, lambda: repo.get_release(drafts[1].id))


def test_a_name_is_taken_also_by_an_upload_that_died(one: GitHub, repo: Repository) -> None:
    one.seed_asset(one.seed_release("v1", draft=True), "x.tar.gz", b"", state="starter")
    release = repo.get_release(one.releases[0].id)
    starter = release.assets[0]
    assert (starter.state, starter.digest, starter.size) == ("starter", None, 0)
    errors = refused(422, lambda: upload(release, "x.tar.gz"))["errors"]
    assert errors == [{"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}]
    starter.delete_asset()
    assert upload(release, "x.tar.gz").state == "uploaded"


def test_an_upload_dies_half_way(one: GitHub, repo: Repository) -> None:
    release = repo.create_git_release("v1", "v1", "", draft=True)
    one.faults.append(("POST", "/assets", half_upload()))
    with pytest.raises(requests.ConnectionError):
        upload(release, "x.tar.gz", b"x" * 5_000_000)
    assert [asset.state for asset in release.get_assets()] == ["starter"]
    with pytest.raises(requests.HTTPError, match="404"):  # PyGithub's streams have errors of their own
        bytes_of(release.get_assets()[0])


def test_uploads_beside_each_other(one: GitHub, repo: Repository) -> None:
    release = repo.create_git_release("v1", "v1", "", draft=True)
    names = [f"{number}.tar.gz" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: upload(release, name, name.encode()), names))
    assert {asset.name: asset.content for asset in one.releases[0].assets} == {name: name.encode() for name in names}
    assert len({asset.id for asset in one.releases[0].assets}) == 8


def test_notes_have_a_longest_length_and_line_ends(one: GitHub, repo: Repository) -> None:
    release = repo.create_git_release("v1", "v1", "a\nb\r\nc")
    assert release.body == "a\nb\r\nc"
    one.crlf = True
    assert repo.get_release("v1").body == "a\r\nb\r\nc"
    release.update_release("v1", "ä" * 125_000)
    error, = refused(422, lambda: release.update_release("v1", "ä" * 125_001))["errors"]
    assert error["field"] == "body"
    assert len(one.releases[0].body or "") == 125_000


def test_which_release_is_the_latest(one: GitHub, repo: Repository) -> None:
    refused(404, repo.get_latest_release)
    repo.create_git_release("v1", "v1", "")
    repo.create_git_release("v2", "v2", "", make_latest="false")
    repo.create_git_release("v3", "v3", "", prerelease=True)
    assert repo.get_latest_release().tag_name == "v1"
    repo.get_release("v2").update_release("v2", "", make_latest="true")
    assert repo.get_latest_release().tag_name == "v2"


def test_a_release_needs_a_commit_for_its_tag(one: GitHub, repo: Repository) -> None:
    error, = refused(422, lambda: repo.create_git_release("v1", "v1", "", target_commitish="nowhere"))["errors"]
    assert error["field"] == "target_commitish"
    assert one.releases == []


# -- credentials, limits, disturbances -------------------------------------------------


def test_credentials_and_permission(one: GitHub, repo: Repository) -> None:
    wrong = github.Github(base_url=one.url, auth=github.Auth.Token("wrong"), retry=None)
    assert refused(401, lambda: wrong.get_repo(one.repo))["message"] == "Bad credentials"
    nobody = github.Github(base_url=one.url, retry=None)
    assert refused(401, lambda: nobody.get_repo(one.repo))["message"] == "Requires authentication"
    one.read_only = True
    refused(403, lambda: repo.create_git_release("v1", "v1", ""))
    one.hidden = True
    refused(404, lambda: list(repo.get_releases()))
    refused(404, lambda: client(one).get_repo("acme/another"))
    one.token = ""
    one.hidden = False
    assert requests.get(f"{one.url}/repos/ACME/images", timeout=10).status_code == 200


def test_the_rate_is_limited(one: GitHub, repo: Repository) -> None:
    one.remaining = 2
    asking = client(one)
    asking.get_repo(one.repo)
    assert asking.rate_limiting == (1, 5000)
    assert asking.get_rate_limit().resources.core.remaining == 1
    asking.get_repo(one.repo)
    with pytest.raises(github.RateLimitExceededException):
        asking.get_repo(one.repo)


@pytest.mark.parametrize("fault, status", [
    (unauthorized(), 401), (primary_rate_limit(), 403), (secondary_rate_limit(), 403), (not_found(), 404),
    (conflict(), 409), (already_exists(), 422), (too_many(), 429), (broken(), 500), (instead_after(), 502),
    (says(418, {"message": "tea"}), 418),
])
def test_answers_in_place_of_the_right_one(one: GitHub, repo: Repository, fault: Fault, status: int) -> None:
    one.faults.append(("POST", "/releases", fault))
    refused(status, lambda: repo.create_git_release("v1", "v1", ""))
    assert len(one.releases) == (status == 502)
    assert one.faults == []


@pytest.mark.parametrize("fault, done", [(drop(), 0), (drop_after(), 1)])
def test_the_connection_ends(one: GitHub, repo: Repository, fault: Fault, done: int) -> None:
    one.faults.append(("POST", "/releases", fault))
    with pytest.raises(requests.ConnectionError):
        repo.create_git_release("v1", "v1", "")
    assert len(one.releases) == done


def test_later_and_standing_disturbances(one: GitHub, repo: Repository) -> None:
    one.after("POST", "/releases", 2, broken())
    one.always("GET", "/releases/tags", delay(0.05))
    repo.create_git_release("v1", "v1", "")
    refused(500, lambda: repo.create_git_release("v2", "v2", ""))
    repo.create_git_release("v2", "v2", "")
    assert repo.get_release("v1").tag_name == "v1"
    assert one.count("POST") == 3
