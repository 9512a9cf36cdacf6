"""Redirects between real servers, two of which speak TLS: what is followed, and what is not even asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.parallel import Pen
from foundry.catalogue.release_lists import Lists
from foundry.github.client import GitHub
from foundry.net import http
from foundry.net.redirects import followed, origin, safe_target
from foundry.net.transport import Attempt, RetryPolicy, new_session
from foundry.registry.auth import UNAUTHORIZED
from foundry.registry.client import Registry, pull_scope
from foundry.registry.credentials import Credentials
from tests.harness.front import send, serving
from tests.harness.secrets import BASIC, PASSWORD, USER
from tests.harness.tls import OTHER, Certificate, certificate

DATA = b"what is wanted"
IMPATIENT = RetryPolicy(connect=5, read=5, total=10, retries=0)


@dataclass
class Web:
    """A server: what it answers by path, and what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, bytes, Mapping[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    guarded: bool = False

    def leads(self, path: str, target: str, status: int = 302) -> str:
        self.answers[path] = (status, b"", {"Location": target})
        return f"{self.url}{path}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def authorized(self) -> list[str]:
        return [headers.get("Authorization", "") for _, headers in self.asked]


@contextmanager
def web(made: Certificate | None = None) -> Iterator[Web]:
    one = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            one.asked.append((self.path, dict(self.headers)))
            status, body, headers = one.answers.get(self.path.partition("?")[0], (200, DATA, {}))
            if one.guarded and "Authorization" not in self.headers:
                status, body, headers = UNAUTHORIZED, b"", {"WWW-Authenticate": 'Basic realm="test"'}
            send(self, status, body, **headers)

        do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler, OTHER, made.context if made else None) as port:
        one.url = f"{'https' if made else 'http'}://{OTHER}:{port}"
        yield one


@dataclass(frozen=True)
class Webs:
    safe: Web
    other: Web  # safe as well, another origin
    plain: Web


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"), OTHER)


@pytest.fixture
def webs(made: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webs]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.file))
    monkeypatch.setenv("no_proxy", "*")
    with web(made) as safe, web(made) as other, web() as plain:
        yield Webs(safe, other, plain)


def get(url: str) -> bytes:
    return http.get(url, max_bytes=100, retries=0)


def asset(url: str) -> bytes:
    """As an asset of a release at GitHub."""
    hub = GitHub("acme/modules", token="secret", api=url.rpartition("/")[0])
    return hub.download(Attempt(url, IMPATIENT, time.monotonic() + 10), url, 100)


def blob(url: str) -> bytes:
    """As a registry's answer."""
    host = url.split("/")[2]
    registry = Registry(host, Credentials({"HOME": "/nonexistent"}), policy=IMPATIENT)
    return registry.ask("GET", url, pull_scope("kmod"), lambda _, response: bytes(response.raw.read()))


def releases(url: str) -> bytes:
    """As a list of releases."""
    return Lists(Path("nowhere"), IMPATIENT, Pen()).ask(url, "the list", lambda data: data)


@pytest.fixture(params=[get, asset, blob, releases])
def ask(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bytes]:
    """Each of those who follow redirects."""
    monkeypatch.chdir(tmp_path)
    found: Callable[[str], bytes] = request.param
    return found


def fault(ask: Callable[[str], bytes], url: str) -> FoundryError:
    with pytest.raises(OutsideError) as caught:
        ask(url)
    return caught.value


def test_a_redirect_to_another_place_of_the_server(webs: Webs, ask: Callable[[str], bytes]) -> None:
    assert ask(webs.safe.leads("/a", "/b")) == DATA
    assert webs.safe.paths == ["/a", "/b"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect(webs: Webs, status: int) -> None:
    assert get(webs.safe.leads("/a", f"{webs.other.url}/b", status)) == DATA


def test_from_https_to_http(webs: Webs, ask: Callable[[str], bytes]) -> None:
    error = fault(ask, webs.safe.leads("/a", f"{webs.plain.url}/b"))
    assert (error.reason, "from https to http" in error.message) == ("http-redirect", True)
    assert webs.plain.asked == [], "nothing is asked in the clear"


def test_from_https_over_http_to_https(webs: Webs, ask: Callable[[str], bytes]) -> None:
    """The last hop is safe; but who can change the middle one decides where it leads."""
    webs.plain.leads("/b", f"{webs.other.url}/c")
    assert fault(ask, webs.safe.leads("/a", f"{webs.plain.url}/b")).reason == "http-redirect"
    assert (webs.plain.asked, webs.other.asked) == ([], [])


def test_from_http_to_https_and_not_back(webs: Webs) -> None:
    assert get(webs.plain.leads("/a", f"{webs.safe.url}/b")) == DATA
    webs.safe.leads("/b", f"{webs.plain.url}/c")
    assert fault(get, f"{webs.plain.url}/a").reason == "http-redirect"
    assert webs.plain.paths == ["/a", "/a"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.2/x", "https://", "data:,x"])
def test_targets_that_are_none(webs: Webs, ask: Callable[[str], bytes], target: str) -> None:
    assert fault(ask, webs.safe.leads("/a", target)).reason == "http-redirect"


@pytest.mark.parametrize("target", ["http://[x", "https://127.0.0.2:99999/x"])
def test_targets_that_can_not_be_read(webs: Webs, ask: Callable[[str], bytes], target: str) -> None:
    """The library below stumbles over some of them first."""
    assert fault(ask, webs.safe.leads("/a", target)).reason in ("http-redirect", "http-failed")


def test_five_redirects_are_followed_and_no_more(webs: Webs, ask: Callable[[str], bytes]) -> None:
    for number in range(1, 6):
        webs.safe.leads(f"/{number}", f"/{number + 1}")
    assert ask(f"{webs.safe.url}/1") == DATA
    webs.safe.leads("/6", "/7")
    error = fault(ask, f"{webs.safe.url}/1")
    assert (error.reason, "without end" in error.message) == ("http-redirect", True)
    assert webs.safe.paths.count("/7") == 0


def test_a_token_stays_where_it_belongs(webs: Webs) -> None:
    webs.other.leads("/b", f"{webs.safe.url}/c")
    assert asset(webs.safe.leads("/a", f"{webs.other.url}/b")) == DATA
    assert webs.safe.authorized == ["token secret", "token secret"]
    assert webs.other.authorized == [""]


def test_a_registrys_credentials_stay_there(webs: Webs, tmp_path: Path) -> None:
    """Also where the other origin leads back: credentials are for the registry alone."""
    host = webs.safe.url.removeprefix("https://")
    logins = tmp_path / "auth.json"
    logins.write_text(json.dumps({"auths": {host: {"auth": BASIC.removeprefix("Basic ")}}}))
    webs.safe.guarded = True
    webs.other.leads("/b", f"{webs.safe.url}/c")
    registry = Registry(host, Credentials({"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(logins)}),
                        policy=IMPATIENT)
    url = webs.safe.leads("/a", f"{webs.other.url}/b")
    assert registry.ask("GET", url, pull_scope("kmod"), lambda _, response: bytes(response.raw.read())) == DATA
    assert webs.safe.authorized == ["", BASIC, BASIC]
    assert webs.other.authorized == [""]


def test_the_password_of_a_url_stays_there(webs: Webs) -> None:
    url = webs.safe.url.replace("://", f"://{USER}:{PASSWORD}@")
    webs.safe.leads("/a", f"{webs.safe.url}/b")
    webs.safe.leads("/b", f"{webs.other.url}/c")
    assert get(f"{url}/a") == DATA
    assert webs.safe.authorized == [BASIC, BASIC]
    assert webs.other.authorized == [""]


def test_a_server_does_not_say_with_which_password_to_ask(webs: Webs) -> None:
    target = webs.other.url.replace("://", "://robot:hunter2@")
    assert get(webs.safe.leads("/a", f"{target}/b")) == DATA
    assert webs.other.authorized == [""]


def test_what_is_sent_is_not_redirected(webs: Webs) -> None:
    url = webs.safe.leads("/a", f"{webs.other.url}/b", 307)
    session = new_session(OTHER)
    attempt = Attempt(url, IMPATIENT, time.monotonic() + 10)
    with session, followed(attempt, lambda _: session, "PUT", data=b"x") as response:
        assert response.status_code == 307
    assert webs.other.asked == []


def test_releases_are_never_looked_for_elsewhere(webs: Webs, tmp_path: Path) -> None:
    error = fault(releases, webs.safe.leads("/a", f"{webs.other.url}/b"))
    assert (error.reason, "redirected to another host" in error.message) == ("http-redirect", True)
    assert webs.other.asked == []


@pytest.mark.parametrize("one, other, same", [
    ("https://a/x", "https://a:443/y?z", True), ("http://a/", "http://A:80/", True), ("https://a/", "http://a/", False),
    ("https://a/", "https://b/", False), ("https://a:1/", "https://a:2/", False),
    ("https://u:p@a/", "https://a/", True),
])
def test_origins(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same


@pytest.mark.parametrize("location", [
    "https://evil.test\\@a/y", "//evil.test\\@a/y", "https://evil.test\\\\@a/y", "https://evil.test:443\\@a:443/y",
    "https://a\\.evil.test/y",
])
def test_a_target_that_is_read_in_two_ways(location: str) -> None:
    """Its host is this one for the standard library, which says what is sent, and that one for what connects."""
    with pytest.raises(OutsideError) as caught:
        safe_target(Attempt("https://a/x", IMPATIENT, 0.0), location)
    assert caught.value.reason == "http-redirect"


@pytest.mark.parametrize("target", ["https://u:p@b/y", "https://b:1/y?z#x", "https://[::1]:5/y", "https://B/y\\z"])
def test_a_target_is_one_host_for_all(target: str) -> None:
    found = safe_target(Attempt("https://a/x", IMPATIENT, 0.0), target)
    assert origin(requests.Request("GET", found).prepare().url or "") == origin(found)


def test_where_an_upload_is_may_be_plain_only_where_all_is() -> None:
    """A registry says with Location where to send a blob; the rule is the same."""
    plain, safe = (Attempt(f"{scheme}://a/x", IMPATIENT, 0.0) for scheme in ("http", "https"))
    assert safe_target(plain, "http://b/y") == "http://b/y"
    assert safe_target(plain, "https://b/y") == safe_target(safe, "https://b/y") == "https://b/y"
    assert safe_target(safe, "y?z") == "https://a/y?z"
    with pytest.raises(OutsideError):
        safe_target(safe, "http://a/y")
