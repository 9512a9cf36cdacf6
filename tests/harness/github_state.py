"""What the stand-in for GitHub holds: a repository with its releases and pull requests, the switches, the record."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.harness.github_repository import Repository

if TYPE_CHECKING:
    from tests.harness.github_exchange import Exchange

Fault = Callable[["Exchange"], None]


def now() -> str:
    """The time as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Asset:
    """A release's file. `told_digest` is what is said in place of the content's digest."""

    id: int
    name: str
    content: bytes
    content_type: str = "application/octet-stream"
    label: str | None = None
    state: str = "uploaded"
    told_digest: str | None = None
    created_at: str = field(default_factory=now)
    downloads: int = 0

    @property
    def digest(self) -> str | None:
        """As GitHub tells it: none for an upload that died."""
        if self.told_digest is not None:
            return self.told_digest
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}" if self.state == "uploaded" else None


@dataclass
class Release:
    """A release; a draft has no `published_at`."""

    id: int
    tag_name: str
    name: str | None = None
    body: str | None = None
    draft: bool = False
    prerelease: bool = False
    target_commitish: str = "main"
    created_at: str = field(default_factory=now)
    published_at: str | None = None
    assets: list[Asset] = field(default_factory=list)

    def asset(self, name: str) -> Asset:
        """The asset of that name."""
        return next(asset for asset in self.assets if asset.name == name)


@dataclass
class Pull:
    """A pull request. `head_ref` is the full ref here; a fork's is under ``refs/forks/OWNER/``."""

    number: int
    id: int
    title: str
    head_owner: str
    head_branch: str
    head_ref: str
    base: str
    base_sha: str
    head_sha: str
    body: str | None = None
    user: str = "robot"
    state: str = "open"
    draft: bool = False
    merged: bool = False
    merge_commit_sha: str | None = None
    created_at: str = field(default_factory=now)
    closed_at: str | None = None


class Refused(Exception):
    """An error of GitHub's: status, message, and `errors` for 422."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors


def invalid(resource: str, field_: str, code: str, **more: str) -> Refused:
    """422, as GitHub answers what it can't accept."""
    return Refused(422, "Validation Failed", {"resource": resource, "code": code, "field": field_, **more})


def missing() -> Refused:
    """404, as GitHub answers what is not there, and what may not be seen."""
    return Refused(404, "Not Found")


@dataclass(frozen=True)
class Call:
    """A request for an operation: parts of the path, decoded query, JSON body or bytes."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str  # without the query
    given: Mapping[str, Any]  # the body's members


@dataclass(frozen=True)
class Answer:
    """An answer: status, what becomes JSON (None: nothing), headers."""

    status: int = 200
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class GitHub:
    """The stand-in's state and record; `tests.harness.github` says how it is used."""

    git: Repository
    repo: str = "acme/images"
    url: str = ""
    uploads: str = ""
    elsewhere: str = ""
    # switches
    token: str = ""  # what has to be in Authorization; empty: anything, also nothing
    login: str = "robot"
    crlf: bool = False  # bodies come back with CRLF
    hidden: bool = False  # the repository answers 404, as one that may not be seen
    read_only: bool = False  # writes answer 403, as a token without permission gets it
    remaining: int = 5000  # requests until the rate limit
    reset: int = field(default_factory=lambda: int(time.time()) + 3600)  # when there are 5000 again
    spoil: Callable[[Any], Any] | None = None  # changes what is answered before it is checked
    # what is held
    releases: list[Release] = field(default_factory=list)
    latest: int | None = None  # the release that was last made the latest one
    pulls: list[Pull] = field(default_factory=list)
    # disturbances and record
    faults: list[tuple[str, str, Fault]] = field(default_factory=list)
    standing: list[tuple[str, str, Fault]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)  # of the requests
    elsewhere_requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    # -- the record ----------------------------------------------------------------

    def count(self, method: str = "", part: str = "") -> int:
        """How many requests had that method and that in the path; empty: any."""
        return sum(method in ("", verb) and part in path for verb, path in self.requests)

    def writes(self) -> list[tuple[str, str]]:
        """The requests that were neither GET nor HEAD."""
        return [(method, path) for method, path in self.requests if method not in ("GET", "HEAD")]

    # -- disturbances --------------------------------------------------------------

    def fault(self, fault: Fault, method: str = "", part: str = "", number: int = 1) -> None:
        """The fault answers the `number`-th fitting request from now on, once."""
        def wait(exchange: Exchange) -> None:
            with self.lock:
                self.fault(fault, method, part, number - 1)
            exchange.finish()

        self.faults.append((method, part, fault if number == 1 else wait))

    def after(self, method: str, part: str, number: int, fault: Fault) -> None:
        """As `fault`, in the order of `Front.after`."""
        self.fault(fault, method, part, number)

    def always(self, method: str, part: str, fault: Fault) -> None:
        """The fault answers every fitting request that no other fault answers."""
        self.standing.append((method, part, fault))

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault for a request; one that is for once is used up."""
        for waiting, once in ((self.faults, True), (self.standing, False)):
            for index, (verb, part, fault) in enumerate(waiting):
                if verb in ("", method) and part in path:
                    if once:
                        del waiting[index]
                    return fault
        return None

    # -- seeds ---------------------------------------------------------------------

    def seed_release(self, tag: str, *, draft: bool = False, body: str = "", **more: Any) -> Release:
        """A release, published unless `draft`; its tag is made."""
        more = {"name": tag, "published_at": None if draft else now(), **more}
        release = Release(next(self.ids), tag, body=body, draft=draft, **more)
        self.releases.append(release)
        if not draft and not self.git.sha(f"refs/tags/{tag}"):
            self.git.set_ref(f"refs/tags/{tag}", self.git.commitish(release.target_commitish))
        return release

    def seed_asset(self, release: Release, name: str, content: bytes, *, state: str = "uploaded") -> Asset:
        """An asset; `state` starter: what an upload that died leaves."""
        asset = Asset(next(self.ids), name, content, state=state)
        release.assets.append(asset)
        return asset

    def tamper(self, asset: Asset, content: bytes, *, digest: str | None = None) -> None:
        """Replace what is in an asset; the digest follows, or is `digest`."""
        asset.content, asset.told_digest = content, digest

    def seed_pull(
        self, branch: str, *, owner: str = "", base: str = "main", title: str = "A change", body: str = "",
        files: Mapping[str, bytes | None] | None = None,
    ) -> Pull:
        """A pull request; with another `owner`, a fork's. `files` are committed to its branch first."""
        home = self.repo.partition("/")[0]
        owner = owner or home
        ref = f"refs/heads/{branch}" if owner == home else f"refs/forks/{owner}/{branch}"
        if files is not None or not self.git.sha(ref):
            self.git.seed(ref, files or {f"{branch}.txt": owner.encode()}, start=base)
        number = len(self.pulls) + 1
        pull = Pull(number, next(self.ids), title, owner, branch, ref, base, self.git.commitish(base),
                    self.git.sha(ref), body, owner if owner != home else self.login)
        self.pulls.append(pull)
        return pull

    def merge(self, pull: Pull) -> str:
        """Merge a pull request, as someone does in a browser; the merge's sha."""
        pull.head_sha = self.git.sha(pull.head_ref)
        pull.merge_commit_sha = self.git.merge(pull.base, pull.head_sha, f"Merge pull request #{pull.number}")
        pull.state, pull.merged, pull.closed_at = "closed", True, now()
        return pull.merge_commit_sha
