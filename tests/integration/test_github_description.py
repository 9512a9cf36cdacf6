"""The stand-in for GitHub notes what GitHub's description does not allow: requests by hand, which are wrong."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util import SKIP_HEADER

from tests.harness import github_openapi
from tests.harness.github import GitHub, github_fake


def by_hand(one: GitHub, method: str, path: str, **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {one.token}", "User-Agent": "a test", **more.pop("headers", {})}
    return requests.request(method, one.url + path, headers=headers, timeout=10, **more)


@pytest.mark.parametrize("method, path, more, words", [
    ("POST", "/repos/acme/images/releases", {"json": {"name": "x"}}, "'tag_name' is a required property"),
    ("POST", "/repos/acme/images/releases", {"json": {"tag_name": "x", "draft": "no"}}, "at draft"),
    ("POST", "/repos/acme/images/releases", {"json": {"tag_name": "x", "tagname": 1}}, "unknown member tagname"),
    ("POST", "/repos/acme/images/releases", {"data": b"{"}, "the body is no JSON"),
    ("GET", "/repos/acme/images/releases?per-page=9", {}, "unknown query parameter per-page"),
    ("GET", "/repos/acme/images/releases?page=x", {}, "parameter error: page"),
    ("GET", "/repos/acme/images/relases", {}, "there is no operation"),
    ("POST", "/repos/acme/images/releases/1/assets", {"data": b"x"}, "query parameter: name"),
    ("POST", "/repos/acme/images/releases/1/assets?name=x", {"data": b"x"}, "belongs to"),
    ("GET", "/rate_limit", {"headers": {"User-Agent": SKIP_HEADER}}, "no User-Agent"),
])
def test_a_wrong_request_is_a_violation(method: str, path: str, more: dict[str, Any], words: str) -> None:
    with github_fake() as one:
        by_hand(one, method, path, **more)
        assert any(words in text for text in one.violations), one.violations


def test_a_wrong_answer_is_a_violation() -> None:
    with github_fake() as one:
        one.spoil = lambda value: {name: held for name, held in value.items() if name != "upload_url"}
        by_hand(one, "POST", "/repos/acme/images/releases", json={"tag_name": "v1"})
        assert any("'upload_url' is a required property" in text for text in one.violations)


@pytest.mark.parametrize("status, words", [(200, "another digest"), (404, "HTTP 404")])
def test_a_description_that_cannot_be_had_is_a_failure(
    status: int, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    answer = requests.Response()
    answer.status_code, answer.raw = status, BytesIO(b"something else")
    monkeypatch.setattr(github_openapi, "CACHE", tmp_path)
    monkeypatch.setattr(requests, "get", lambda *_, **__: answer)
    monkeypatch.setenv("npm_config_registry", "https://registry.invalid/")
    with pytest.raises(AssertionError, match=words):
        github_openapi.description((("GET", "/rate_limit"),))
    assert list(tmp_path.iterdir()) == []
