"""Which function does which operation of GitHub's API, and lists in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode

from tests.harness.github_state import Answer, Call, GitHub

T = TypeVar("T")
Operation = Callable[[GitHub, Call], Answer]
REPO = "/repos/{owner}/{repo}"
_NUMBERS = ("release_id", "asset_id", "pull_number")
_WITH_SLASHES = {"ref": ".+", "path": ".*", "branch": ".+", "tag": ".+", "basehead": ".+", "tree_sha": ".+"}
ROUTES: dict[tuple[str, str], Operation] = {}
_PATTERNS: list[tuple[str, str, re.Pattern[str]]] = []


def route(method: str, pattern: str) -> Callable[[Operation], Operation]:
    """The decorated function does the operation; `pattern` is the description's path."""
    def register(operation: Operation) -> Operation:
        ROUTES[method, pattern] = operation
        _PATTERNS.append((method, pattern, re.compile(re.sub(r"\{(\w+)\}", _part, pattern.replace(".", r"\.")))))
        return operation

    return register


def _part(found: re.Match[str]) -> str:
    name = found[1]
    fits = "[0-9]+" if name in _NUMBERS else _WITH_SLASHES.get(name, "[^/]+")
    return f"(?P<{name}>{fits})"


def routed(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The description's path that a request's path fits, and the decoded parts; the most literal one wins."""
    fits = [(pattern, found) for verb, pattern, compiled in _PATTERNS
            if verb == method and (found := compiled.fullmatch(path))]
    if not fits:
        return None
    pattern, found = min(fits, key=lambda fit: fit[0].count("{"))
    return pattern, {name: unquote(value) for name, value in found.groupdict().items()}


def paged(call: Call, held: Sequence[T], body: Callable[[T], Any]) -> Answer:
    """A page of a list, 30 at first and 100 at most, with the Link header."""
    shown, link = page(call, held)
    return Answer(value=[body(one) for one in shown], headers=link)


def page(call: Call, held: Sequence[T], usual: int = 30) -> tuple[Sequence[T], dict[str, str]]:
    """What is on the page that was asked for, and the headers that lead to the others."""
    size = min(100, max(1, _number(call, "per_page", usual)))
    number = max(1, _number(call, "page", 1))
    last = max(1, -(-len(held) // size))
    others = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = [name for name, other in others.items()
              if 1 <= other <= last and (number < last if name in ("next", "last") else number > 1)]
    links = [f'<{call.url}?{urlencode({**call.query, "page": others[name]})}>; rel="{name}"' for name in wanted]
    shown = held[(number - 1) * size : number * size]
    return shown, {"Link": ", ".join(links)} if links else {}


def _number(call: Call, name: str, usual: int) -> int:
    given = call.query.get(name, "")
    return int(given) if given.isdigit() else usual
