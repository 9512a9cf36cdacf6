"""All tags of a repository, page by page: a list that is cut short looks like one without the rest."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import MAX_MANIFEST
from foundry.net.transport import NOT_FOUND, OK, Attempt, shown
from foundry.registry.client import Registry, pull_scope, whole

if TYPE_CHECKING:
    import requests

_LINK = re.compile(r'<([^>]*)>((?:\s*;(?:[^",;<]|"[^"]*")*)*)')  # one of a header's links
_PAGE = 1000  # tags that are asked for at once; a registry may give fewer
_MOST_PAGES = 1000
_TOO_LONG_A_PAGE = "PAGINATION_NUMBER_INVALID"  # distribution, which may allow less than we ask for
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # distribution specification, "Pulling manifests"


def list_tags(registry: Registry, repository: str) -> list[str]:
    """All tags; none when the registry does not know the repository.

    Raises FoundryError ``tags-malformed`` for an answer that is no list, and for pages that don't come to an
    end; and what `Registry.manifest` raises.
    """
    first = f"{registry.base}{repository}/tags/list"
    url, found = f"{first}?n={_PAGE}", dict[str, None]()
    deadline = time.monotonic() + registry.policy.total
    for _ in range(_MOST_PAGES):
        try:
            names, following = registry.ask("GET", url, pull_scope(repository), _page, accept=(OK, NOT_FOUND),
                                            what=f"{repository} tags")
        except FoundryError as error:
            if _TOO_LONG_A_PAGE not in error.message or url == first:
                raise
            url = first  # pages as long as the registry likes them
            continue
        if not following:
            return list(found | dict.fromkeys(names))
        if found.keys() >= set(names):
            raise _malformed(url, "a page has nothing new and says that more follows")
        if time.monotonic() > deadline:
            raise _malformed(url, "they take too long to list")
        found |= dict.fromkeys(names)
        url = _next(url, following)
    raise _malformed(url, f"they do not end after {_MOST_PAGES} pages")


def _page(attempt: Attempt, response: requests.Response) -> tuple[list[str], str]:
    """The tags of one page, and where the next one is (distribution specification, "Listing tags")."""
    if response.status_code == NOT_FOUND:
        return [], ""
    try:
        names = json.loads(whole(attempt, response, MAX_MANIFEST))["tags"] or []
        if not isinstance(names, list) or not all(isinstance(name, str) and _TAG.fullmatch(name) for name in names):
            raise ValueError(names)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _malformed(attempt.url, "it is none") from error
    return names, _following(attempt.url, response.headers.get("Link", ""))


def _following(url: str, header: str) -> str:
    """Where the next page is; empty where there is none (RFC 8288, 3: ``<target>; rel="next"``)."""
    for target, parameters in _LINK.findall(header):
        relation = re.search(r'(?i);\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', parameters)
        if relation and "next" in (relation[1] or relation[2] or "").casefold().split():
            return target.strip() or url
    if re.search(r"(?i)\bnext\b", _LINK.sub("", header)):
        raise _malformed(url, f"it says that more follows, and not where: {header[:200]!r}")
    return ""


def _next(url: str, following: str) -> str:
    """The next page, on the same registry: behind a proxy one may call itself by another name, or by http.

    What is no list of this repository's tags, wherever it is, is not asked for; a proxy's folder before it may be there
    or missing.
    """
    try:
        target = urlsplit(urljoin(url, following))
    except ValueError as error:
        raise _malformed(url, "it leads nowhere") from error
    own = urlsplit(url)
    asked, named = own.path.removeprefix("/v2"), unquote(target.path).removeprefix("/v2")
    same = named.endswith("/tags/list") and (named.endswith(asked) or asked.endswith(named))
    if not same or target.scheme not in ("http", "https"):
        raise _malformed(url, f"more follows elsewhere, at {shown(target.geturl())}")
    return own._replace(query=target.query).geturl()


def _malformed(url: str, why: str) -> FoundryError:
    return FoundryError(f"{shown(url)}: the list of tags is malformed: {why}", reason=Reason.TAGS_MALFORMED,
                        hint="is it a registry?")
