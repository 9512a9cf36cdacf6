"""Who may push, with which credentials, and where these go: a real registry with each way to log in."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.registry.mirror import tag_digest
from tests.harness.front import Asked, Fault, Front, front, pass_on, relative, says
from tests.harness.registry import htpasswd, real_registry, token_issuer
from tests.harness.secrets import BASIC, PASSWORD, USER, no_secrets
from tests.integration.pushing import Provider, auth_file, sample, stored, writer

UPLOADS = "/blobs/uploads/"
PUBLIC_SAYS = "Your Authorization Token has expired. Please run 'aws ecr-public get-login-password' to fetch a new one."
PRIVATE_SAYS = "Your authorization token has Expired. Reauthenticate and try again."


def denied(message: str) -> bytes:
    return json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def upstream(storage: Path) -> Iterator[str]:
    with real_registry(storage, htpasswd(storage)) as address:
        yield address


def bare(one: Front) -> int:
    return sum("Authorization" not in headers for _, _, headers in one.requests)


def test_basic_auth(one: Front, tmp_path: Path) -> None:
    notes: list[str] = []
    ours = writer(one, environ=auth_file(tmp_path), notes=notes)
    ours.push(sample(), "basic")
    assert bare(one) == 1
    for environ in ({}, auth_file(tmp_path, f"robot:{PASSWORD}x")):
        with pytest.raises(OutsideError) as caught:
            writer(one, environ=environ, notes=notes).push(sample(), "basic")
        assert caught.value.reason == "registry-unauthorized"
        no_secrets(caught.value.render(), repr(caught.value))
    no_secrets(notes, repr(ours), repr(ours.registry), repr(ours.registry.auth), repr(ours.registry.credentials),
               vars(ours), repr(sample()), repr(ours.registry.credentials.find("registry.test", "x")))


@pytest.mark.parametrize("status, said", [(400, PUBLIC_SAYS), (403, PRIVATE_SAYS)])
@pytest.mark.parametrize("at", ["HEAD", "POST", "PUT /v2/library/kmod/blobs", "PUT /v2/library/kmod/manifests", "GET"])
def test_a_password_that_ended_is_replaced(one: Front, status: int, said: str, at: str) -> None:
    """As ECR Public and ECR say it; an answer to HEAD has no body to say it in, so GET is asked."""
    provider = Provider(PASSWORD, PASSWORD)
    ours = writer(one, provider=provider)
    ours.push(sample(), "before")
    refused = says(status, denied(said))
    one.faults += [(at, refused), *([("GET", refused)] if at == "HEAD" else [])]
    ours.push(sample(), "after")
    assert provider.forgotten == 1


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_registry_that_refuses_head(one: Front, tmp_path: Path, status: int) -> None:
    """Whether it has a blob, or a tag, is asked by GET: nothing is sent twice."""
    one.always("HEAD", says(status))
    content = sample()
    for sent in (3, 0):
        ours = writer(one, environ=auth_file(tmp_path))
        ours.push(content, f"head-{status}")
        assert tag_digest(ours.registry, ours.repository, f"head-{status}") == content.digest
        assert bool(ours.sent.blobs) == bool(sent or status == 404), "what is said to be missing is sent again"
    assert tag_digest(ours.registry, ours.repository, "never-pushed") == ""


def test_a_password_that_had_ended_before_it_was_used(one: Front) -> None:
    provider = Provider("old", PASSWORD)
    refused = says(403, denied(PRIVATE_SAYS))
    one.faults.append(("HEAD", says(401, b"", WWW_Authenticate='Basic realm="x"')))
    one.faults += [("HEAD", refused), ("GET", refused)]
    writer(one, provider=provider).push(sample(), "old")
    assert provider.forgotten == 1
    provider = Provider("old", PASSWORD)
    writer(one, provider=provider).push(sample(), "refused-with-401")
    assert provider.forgotten == 1


def test_a_password_that_ended_is_replaced_once_for_all_threads(one: Front) -> None:
    provider = Provider(PASSWORD, "new")
    ours = writer(one, provider=provider)
    ours.push(sample(), "threads")
    refused, let = says(403, denied(PRIVATE_SAYS)), pass_on(one)

    def fault(handler: Asked) -> None:
        """From now on the registry knows the new password alone."""
        sent = handler.headers.get("Authorization", "")
        if sent == basic("new"):
            handler.headers.replace_header("Authorization", BASIC)
        (refused if sent == BASIC else let)(handler)

    one.always("", fault)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ours.push(sample(), f"threads-{number}"), range(8)))
    assert provider.forgotten == 1


@pytest.mark.parametrize("status", [400, 403])
def test_passwords_that_have_all_ended(one: Front, status: int) -> None:
    provider = Provider(PASSWORD)
    ours = writer(one, provider=provider)
    ours.push(sample(), "ended")
    before = len(one.requests)
    one.always("/v2/", says(status, denied(PUBLIC_SAYS)))
    with pytest.raises(OutsideError) as caught:
        ours.check()
    assert "expired" in caught.value.message
    assert provider.forgotten == 1
    assert len(one.requests) - before <= 4
    no_secrets(caught.value.render())


def test_tokens(tmp_path: Path) -> None:
    with token_issuer(tmp_path / "issuer", life=2) as issuer, real_registry(tmp_path, issuer.setting()) as address, \
            front(address) as one:
        ours = writer(one, environ=auth_file(tmp_path))
        ours.push(sample(), "first")
        ours.push(sample(), "second")
        assert issuer.asked == [("repository:library/kmod:pull,push", "user")]
        before = len(one.requests)
        assert before == 1 + 2 * 10
        one.faults.append(("POST", forced(issuer.url)))  # the registry thinks that it has ended
        ours.push(sample(), "third")
        assert (len(issuer.asked), len(one.requests) - before) == (2, 11)


def test_a_token_that_ends_between_two_images(tmp_path: Path) -> None:
    """The registry's clock says when; it allows a minute, so the issuer's is set back."""
    with token_issuer(tmp_path / "issuer", life=-57) as issuer, real_registry(tmp_path, issuer.setting()) as address, \
            front(address) as one:
        ours = writer(one, environ=auth_file(tmp_path))
        ours.push(sample(), "first")
        assert len(issuer.asked) == 1
        time.sleep(4)
        ours.push(sample(), "second")
        assert len(issuer.asked) == 2


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def forced(issuer: str) -> Fault:
    return says(401, b"", WWW_Authenticate=f'Bearer realm="{issuer}/token",service="test-registry"')


def test_an_issuer_that_says_that_the_password_ended(tmp_path: Path) -> None:
    """ECR Public's issuer of tokens is asked with the password that the cloud's API gives."""
    with token_issuer(tmp_path / "issuer") as issuer, real_registry(tmp_path, issuer.setting()) as address, \
            front(address) as one:
        provider = Provider("old", PASSWORD)
        writer(one, provider=provider).push(sample(), "x")
        assert provider.forgotten == 1
        assert [who for _, who in issuer.asked] == ["anyone", "user"]
        with pytest.raises(OutsideError) as caught:
            writer(one, provider=Provider("old", "older")).push(sample(), "x")
        assert caught.value.reason == "registry-unauthorized"


def test_credentials_that_may_read_only(tmp_path: Path) -> None:
    """A registry with tokens answers 401, not 403, to a token that lacks a right."""
    with token_issuer(tmp_path / "issuer", withheld=("push",)) as issuer, front("") as one, \
            real_registry(tmp_path, issuer.setting()) as one.upstream:
        ours = writer(one, environ=auth_file(tmp_path))
        for work in (ours.check, lambda: ours.push(sample(), "denied")):
            with pytest.raises(OutsideError) as caught:
                work()
            assert caught.value.reason == "registry-unauthorized"
            assert "with the credentials of" in caught.value.message and caught.value.hint
        assert len(issuer.asked) == 3


def without_host(one: Front, where: str) -> str:
    return relative(where)


def with_query(one: Front, where: str) -> str:
    return f"{where}&more=%2Fa"


def at_another_host(one: Front, where: str) -> str:
    return where.replace(one.address, one.elsewhere)


@pytest.mark.parametrize("change", [without_host, with_query])
def test_where_an_upload_is(one: Front, tmp_path: Path, change: Callable[[Front, str], str]) -> None:
    one.location = lambda where: change(one, where)
    writer(one, environ=auth_file(tmp_path)).push(sample(), "location")
    puts = [urlsplit(path).query for verb, path, _ in one.requests if verb == "PUT" and UPLOADS in path]
    assert len(puts) == 2
    assert all(query.startswith("_state=") and query.count("&digest=sha256:") == 1 for query in puts)
    assert all(("more=%2Fa&" in query) == (change is with_query) for query in puts)


def test_an_upload_elsewhere_gets_no_credentials(one: Front, tmp_path: Path) -> None:
    one.location = lambda where: at_another_host(one, where)
    writer(one, environ=auth_file(tmp_path)).push(sample(), "elsewhere")
    assert len(one.elsewhere_requests) == 2
    assert not any("authorization" in name.lower() for _, headers in one.elsewhere_requests for name in headers)
    assert one.count(UPLOADS, "PUT") == 0


def test_nobody_elsewhere_learns_credentials_by_asking(one: Front, tmp_path: Path) -> None:
    """A challenge of another host would name an issuer that gets the password."""
    with token_issuer(tmp_path / "issuer") as issuer, front("127.0.0.1:1") as other:
        other.always("PUT", forced(issuer.url))
        other.always("DELETE", says(404))
        one.location = lambda where: where.replace(one.address, other.address)
        with pytest.raises(OutsideError) as caught:
            writer(one, environ=auth_file(tmp_path)).push(sample(), "elsewhere")
        assert (caught.value.reason, issuer.asked) == ("http-status", [])
        assert other.address in caught.value.message
        assert not any("Authorization" in headers for _, _, headers in other.requests)


@pytest.mark.parametrize("where, reason", [("", "registry-malformed"), ("file:///etc/passwd", "http-redirect"),
                                           ("http://[x", "http-redirect"), ("https://", "http-redirect")])
def test_an_upload_at_no_place(one: Front, tmp_path: Path, where: str, reason: str) -> None:
    one.always(f"POST /v2/library/kmod{UPLOADS}", says(202, b"", Location=where) if where else says(202))
    with pytest.raises(OutsideError) as caught:
        writer(one, environ=auth_file(tmp_path)).push(sample(), "nowhere")
    assert caught.value.reason == reason


@pytest.mark.parametrize("at", ["POST", "PUT /v2/library/kmod/blobs", "PUT /v2/library/kmod/manifests"])
def test_what_is_sent_does_not_follow_a_redirect(one: Front, tmp_path: Path, at: str) -> None:
    ours = writer(one, environ=auth_file(tmp_path))
    ours.push(sample(), "redirect")
    one.faults.append((at, says(307, b"", Location=f"http://{one.elsewhere}/x")))
    with pytest.raises(OutsideError) as caught:
        ours.push(sample(), "redirect")
    assert caught.value.reason == "http-status"
    assert not one.elsewhere_requests


def test_a_check_leaves_nothing_behind(one: Front, tmp_path: Path, storage: Path) -> None:
    before = stored(storage, "_uploads")
    writer(one, "checked/kmod", environ=auth_file(tmp_path)).check()
    assert [file for file in stored(storage, "_uploads") if file not in before and file.name == "data"] == []
    assert [verb for verb, *_ in one.requests] == ["POST", "POST", "DELETE"]


@pytest.mark.parametrize("status, code, reason", [
    (403, "DENIED", "registry-denied"), (401, "UNAUTHORIZED", "registry-unauthorized"),
    (404, "NAME_UNKNOWN", "repository-missing"), (404, "UNSUPPORTED", "image-missing"),
    (400, "RepositoryNotFoundException", "repository-missing"),
])
def test_a_check_says_what_is_refused(one: Front, tmp_path: Path, status: int, code: str, reason: str) -> None:
    said = json.dumps({"errors": [{"code": code, "message": "The repository\nis not there"}]}).encode()
    one.always("POST", says(status, said))
    with pytest.raises(FoundryError) as caught:
        writer(one, environ=auth_file(tmp_path)).check()
    assert caught.value.reason == reason
    assert caught.value.hint
    assert code in caught.value.message and "library/kmod" in caught.value.message
    assert ("no repository library/kmod" in caught.value.message) == (reason == "repository-missing")
    assert "\n" not in caught.value.message


def test_a_tag_of_no_repository_is_not_there(one: Front, tmp_path: Path) -> None:
    """Most registries make a repository with its first image."""
    one.faults.append(("GET", says(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}')))
    assert writer(one, environ=auth_file(tmp_path)).tagged("x") is None
