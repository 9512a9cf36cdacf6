"""Lists of tags from a registry that misbehaves: they end, and are whole or an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from foundry.base.errors import FoundryError
from foundry.net.transport import RetryPolicy
from foundry.registry import tags
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.tags import list_tags
from tests.harness.front import send, serving

Answer = Callable[[int], tuple[object, str]]


@contextmanager
def registry(answer: Answer, total: float = 60.0) -> Iterator[tuple[Registry, list[str]]]:
    """A registry that answers the request of a number with these tags and this `Link`."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            names, link = answer(len(asked))
            send(self, 200, json.dumps({"tags": names}).encode(), **({"Link": link} if link else {}))

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler) as port:
        one = Registry("registry.test", Credentials({"HOME": "/nonexistent"}), address=f"127.0.0.1:{port}",
                       policy=RetryPolicy(connect=5, read=5, total=total, retries=0))
        yield one, asked


def following(where: str) -> str:
    return f'<{where}>; rel="next"'


def test_pages_until_there_is_no_next() -> None:
    pages = {1: (["a", "b"], following("/v2/r/tags/list?last=b")), 2: (["b", "c"], following("?last=c")), 3: ([], "")}
    with registry(pages.__getitem__) as (one, asked):
        assert list_tags(one, "r") == ["a", "b", "c"]
        assert asked == ["/v2/r/tags/list?n=1000", "/v2/r/tags/list?last=b", "/v2/r/tags/list?last=c"]


def test_a_registry_behind_a_proxy_calls_itself_by_another_name() -> None:
    """Which is not asked: the page is."""
    pages = {1: (["a"], following("https://elsewhere.test/v2/r/tags/list?last=a")), 2: (["b"], "")}
    with registry(pages.__getitem__) as (one, asked):
        assert list_tags(one, "r") == ["a", "b"]
        assert asked == ["/v2/r/tags/list?n=1000", "/v2/r/tags/list?last=a"]


@pytest.mark.parametrize("answer, words, requests", [
    (lambda number: (["a"], following(f"?last={number}")), "nothing new", 2),
    (lambda number: ([], following(f"?last={number}")), "nothing new", 1),
    (lambda number: ([f"t{number}"], following(f"?last={number}")), "do not end after 20 pages", 20),
    (lambda number: ([f"t{number % 2}"], following(f"?last={number % 2}")), "nothing new", 3),
    (lambda number: (["a"], following("//[bad")), "leads nowhere", 1),
    (lambda number: (["a\x1b[31m"], ""), "it is none", 1),
    (lambda number: (["../../other/manifests/a"], ""), "it is none", 1),
    (lambda number: (["a" * 129], ""), "it is none", 1),
    (lambda number: ({"a": 1}, ""), "it is none", 1),
])
def test_a_list_without_end_or_sense(
    answer: Answer, words: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "_MOST_PAGES", 20)
    with registry(answer) as (one, asked):
        with pytest.raises(FoundryError, match=words) as caught:
            list_tags(one, "r")
        assert caught.value.reason == "tags-malformed"
        assert len(asked) == requests


def test_slow_pages_have_one_limit_together() -> None:
    with registry(lambda number: ([f"t{number}"], following(f"?last={number}")), total=0.5) as (one, asked):
        with pytest.raises(FoundryError, match="too long"):
            list_tags(one, "r")
        assert len(asked) < tags._MOST_PAGES
