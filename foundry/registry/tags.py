"""All tags of a repository, page by page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import MAX_MANIFEST
from foundry.net.redirects import origin
from foundry.net.transport import NOT_FOUND, OK, Attempt, shown
from foundry.registry.client import Registry, pull_scope, whole

if TYPE_CHECKING:
    import requests

_PAGE = 1000  # tags that are asked for at once


def list_tags(registry: Registry, repository: str) -> list[str]:
    """All tags; none when the registry does not know the repository.

    Raises FoundryError ``tags-malformed`` for an answer that is no list, and what `Registry.manifest` raises.
    """
    url, found, seen = f"{registry.base}{repository}/tags/list?n={_PAGE}", list[str](), set[str]()
    while url and url not in seen:
        seen.add(url)
        names, following = registry.ask("GET", url, pull_scope(repository), _page, accept=(OK, NOT_FOUND),
                                        what=f"{repository} tags")
        found += names
        url = _safe_next(url, following)
    return list(dict.fromkeys(found))


def _page(attempt: Attempt, response: requests.Response) -> tuple[list[str], str]:
    """The tags of one page, and where the next one is (distribution specification, "Listing tags")."""
    if response.status_code == NOT_FOUND:
        return [], ""
    try:
        names = json.loads(whole(attempt, response, MAX_MANIFEST))["tags"] or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(names)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise FoundryError(f"{shown(attempt.url)}: the list of tags is malformed", reason=Reason.TAGS_MALFORMED,
                           hint="is it a registry?") from error
    return names, str(response.links.get("next", {}).get("url", ""))


def _safe_next(url: str, following: str) -> str:
    """The next page, if it is on the same registry."""
    target = urljoin(url, following) if following else ""
    return target if target and origin(target) == origin(url) else ""
