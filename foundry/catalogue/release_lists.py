"""Finding releases: channels of the release graph, or the tags of the release images' repository.

Answers are kept with what the server says of their age (RFC 9110, 13: ETag, Last-Modified), so that
the next time only "still so" is sent, where a server can say that. Nothing is followed to another host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import pretty_json, read_file, read_json, sha256_bytes, write_atomic
from foundry.base.names import OCI_ARCH
from foundry.base.parallel import Pen
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.base.versions import minor_of
from foundry.formats.openshift.release_lists import Edge, error_text, parse_edges, parse_graph, parse_tags
from foundry.net.redirects import followed, origin
from foundry.net.transport import OK, Attempt, RetryableError, RetryPolicy, new_session, refuse, shown, with_retries
from foundry.plan.catalogue import Release
from foundry.registry.client import whole

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
_MAX_ANSWER = 64 << 20  # bytes
_MAX_SAID = 1 << 16  # bytes of an error's body
_PAGE = 100  # tags
_MOST_PAGES = 500
_NOT_MODIFIED = 304
_VALIDATORS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


@dataclass(frozen=True)
class Listed:
    """Releases of a list, and where it is a graph, by architecture the upgrades between them."""

    releases: Sequence[Release]
    edges: Mapping[str, Sequence[Edge]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """Lists of releases. `kept` is the folder of answers; `resolve` gives the address that serves a URL."""

    kept: Path
    policy: RetryPolicy
    pen: Pen
    resolve: Callable[[str], str] = str
    note: Callable[[str], None] = lambda _: None

    def channel(self, url: str, channel: str, arch: str) -> Listed:
        """The generally available releases of a channel of the graph, and its upgrades.

        Errors as of `ask`, `parse_graph` and `parse_edges`.
        """
        asked = f"{url}{_joint(url)}{urlencode({'channel': channel, 'arch': OCI_ARCH[arch]})}"
        where = f"the channel {channel} ({OCI_ARCH[arch]}) of {shown(url)}"
        found, edges = self.ask(asked, where, lambda data: (parse_graph(data, where), parse_edges(data, where)))
        return Listed([Release(version, arch, str(payload.at(payload.digest))) for version, payload in found.items()],
                      {arch: edges})

    def tags(self, url: str, repository: Reference, minor: str, arches: Iterable[str]) -> Listed:
        """The generally available releases of a minor among the tags of a repository at Quay, page by page.

        Raises OutsideError ``releases-repeat`` for pages that never end.
        """
        wanted = tuple(arches)
        found: dict[tuple[str, str], Release] = {}
        seen: set[str] = set()
        for page in range(1, _MOST_PAGES + 1):
            query = {"onlyActiveTags": "true", "filter_tag_name": f"like:{minor}.", "limit": _PAGE, "page": page}
            asked = f"{url}{_joint(url)}{urlencode(query, safe=':')}"
            where = f"page {page} of the tags {minor}.* of {shown(url)}"
            pages = self.ask(asked, where, lambda data, where=where, page=page: {  # type: ignore[misc]
                arch: parse_tags(data, where, arch, page) for arch in wanted})
            for arch, one in pages.items():
                for version, digest in one.releases.items():
                    release = Release(version, arch, str(repository.at(digest)))
                    if minor_of(version) == minor and found.setdefault(release.place, release) != release:
                        raise OutsideError(f"{where}: {release} has another digest than on an earlier page",
                                           reason=Reason.RELEASES_MALFORMED, hint="try again later")
            any_page = next(iter(pages.values()))
            if not any_page.more:
                return Listed(list(found.values()))
            if any_page.names <= seen:
                raise OutsideError(f"{where} has nothing new, and says that more follows",
                                   reason=Reason.RELEASES_REPEAT,
                                   hint="the server repeats itself; nothing was changed, try again later")
            seen |= any_page.names
        raise OutsideError(f"the tags {minor}.* of {shown(url)} do not end after {_MOST_PAGES} pages",
                           reason=Reason.RELEASES_REPEAT, hint="look at the address in config/ (`releases`)")

    def ask(self, url: str, where: str, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the document at `url`, which is transferred only if it is another than the last time.

        Raises OutsideError ``http-…``, and what `parse` raises, of a new answer.
        """
        place = self.kept / f"{sha256_bytes(url.encode())[:32]}.json"
        old = self._kept(place, url)
        target = self.resolve(url)

        def once(attempt: Attempt) -> tuple[bytes, Mapping[str, str]]:
            with new_session(urlsplit(target).hostname or "") as session:
                return _fetched(session, attempt, where, old)

        data, validators = with_retries(target, self.policy, once, self.note)
        value = parse(data)
        if data is not (old.data if old else None) or validators != (old.validators if old else {}):
            known = pretty_json({"url": url, "sha256": sha256_bytes(data), "validators": validators})
            with self.pen.writing():
                write_atomic(place.with_suffix(".body"), data)
                write_atomic(place, known)
        return value

    def _kept(self, place: Path, url: str) -> _Answer | None:
        """The last answer, if it is whole and can be asked after."""
        known: Any = read_json(place)
        try:
            data = read_file(place.with_suffix(".body"))
            validators = {name: known["validators"][name] for name in _VALIDATORS if name in known["validators"]}
            whole_one = known["url"] == url and known["sha256"] == sha256_bytes(data)
        except (OSError, LookupError, TypeError):
            return None
        fits = all(isinstance(text, str) and text.isascii() and text.isprintable() for text in validators.values())
        return _Answer(data, validators) if whole_one and validators and fits else None


@dataclass(frozen=True)
class _Answer:
    data: bytes
    validators: Mapping[str, str]


def _fetched(
    session: requests.Session, attempt: Attempt, where: str, old: _Answer | None
) -> tuple[bytes, Mapping[str, str]]:
    """One attempt: the document, and what to ask after it with the next time."""
    headers = {"Accept": "application/json"}
    headers |= {_VALIDATORS[name]: text for name, text in old.validators.items()} if old else {}
    may = partial(_not_elsewhere, attempt.url, where)
    with followed(attempt, lambda _: session, headers=headers, may=may) as response:
        if response.status_code == _NOT_MODIFIED and old is not None:
            return old.data, old.validators
        if response.status_code != OK:
            try:
                said = error_text(response.raw.read(_MAX_SAID, decode_content=True))
            except OSError:
                said = ""
            _refuse(attempt, response, where, said)
        data = whole(attempt, response, _MAX_ANSWER)
        return data, {name: response.headers[name] for name in _VALIDATORS if name in response.headers}


def _refuse(attempt: Attempt, response: requests.Response, where: str, said: str) -> None:
    """As `refuse`, with what is asked for in the sentence: the address alone does not say it."""
    try:
        refuse(attempt, response, said)
    except (RetryableError, FoundryError) as error:
        final = error.final if isinstance(error, RetryableError) else error
        final.message = f"{where}: {final.message.partition(': ')[2]}"
        final.hint = final.hint or "nothing was changed; look at the address in config/ (`releases`)"
        raise


def _not_elsewhere(url: str, where: str, target: str) -> None:
    """OutsideError where a redirect leads to another origin than that of `url`."""
    if origin(target) != origin(url):
        raise OutsideError(f"{where} is redirected to another host, {shown(target)}", reason=Reason.HTTP_REDIRECT,
                           hint="nothing was changed; if that is right, write that address into config/ (`releases`)")


def _joint(url: str) -> str:
    return "&" if urlsplit(url).query else "?"
