"""A GitHub release brought to what it should be, from whatever state it is found in.

Each attempt begins with reading, and does the steps that are left: make a
draft, put assets, write the text, publish. So what was lost, broken off or done
by somebody else meanwhile heals by the next attempt or the next run, and where
nothing is left to do one read is all.

An asset that changes is uploaded under a name of its own first; the old one
goes when the new one is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import sha256_bytes
from foundry.base.marked_section import has_section, outside, with_section
from foundry.base.reasons import Reason
from foundry.github.client import GitHub
from foundry.net.transport import Attempt, RetryableError

if TYPE_CHECKING:
    from github.GitRelease import GitRelease
    from github.GitReleaseAsset import GitReleaseAsset

LONGEST_BODY = 125_000  # characters that GitHub takes
_COMING = ".coming"  # what the name of an asset ends in until it takes its place
_WHOLE = "uploaded"


@dataclass(frozen=True)
class Asset:
    """A file of a release. `sha256` is hex; `file` has it made where it is not here, and is asked only when needed.

    `take_over` is given the content that is going to be replaced, before anything is written.
    """

    name: str
    sha256: str
    file: Callable[[], Path]
    take_over: Callable[[bytes], None] | None = None


@dataclass(frozen=True)
class Wanted:
    """What a release should be.

    `section` gives our part of the text within so many characters, and `assets` go with it: they
    are asked for that number, too. Of assets that are not named here those in `obsolete` are removed.
    """

    tag: str
    name: str
    section: Callable[[int], str]
    assets: Callable[[int], Sequence[Asset]]
    obsolete: frozenset[str] = frozenset()


@dataclass
class Done:
    """What was written, in words; nothing when the release was as wanted."""

    url: str = ""
    writes: list[str] = field(default_factory=list)


def reconcile(github: GitHub, wanted: Wanted) -> Done:
    """Have the release as wanted and published.

    Raises OutsideError ``github-…`` when GitHub can't be had or refuses, FoundryError
    ``markers-damaged``, ``notes-too-long`` and what `Asset.file` and `Asset.take_over` raise.
    """
    done = Done()
    ours: set[int] = set()  # drafts that this run made
    github.with_retries(lambda attempt: _attempt(github, wanted, attempt, done, ours))
    return done


def read_asset(github: GitHub, tag: str, name: str, max_bytes: int, *, unless: str = "") -> bytes | None:
    """An asset of a published release, its digest checked; None when GitHub says that there is no such.

    Takes two requests and what the redirect to the content needs; one, and gives None, where the
    asset's SHA-256 is `unless`.
    """
    def read(attempt: Attempt) -> bytes | None:
        release = _published(github, attempt, tag)
        asset = _assets(release).get(name) if release is not None else None
        if asset is None or asset.state != _WHOLE or (unless and asset.digest == f"sha256:{unless}"):
            return None
        data = github.download(attempt, asset.url, max_bytes)
        if asset.digest is not None and asset.digest != f"sha256:{sha256_bytes(data)}":
            why = f"the asset {name} of {tag} is not what its digest says"
            raise RetryableError(attempt.fault(why, Reason.GITHUB_ASSET_DAMAGED))
        return data

    return github.with_retries(read)


def _attempt(github: GitHub, wanted: Wanted, attempt: Attempt, done: Done, ours: set[int]) -> None:
    release = _published(github, attempt, wanted.tag) or _draft(github, attempt, wanted.tag)
    body = (release.body or "") if release is not None else ""
    room = LONGEST_BODY - len(with_section(outside(body).rstrip(), ""))
    text = with_section(body, wanted.section(room))
    if len(text) > LONGEST_BODY:
        raise FoundryError(
            f"the notes of {wanted.tag} have {len(text)} characters, GitHub takes {LONGEST_BODY}",
            reason=Reason.NOTES_TOO_LONG, hint="shorten your own text around kmod-foundry's section",
        )
    assets = wanted.assets(room)
    _take_over(github, attempt, assets, _assets(release))
    if release is None:
        with github.told(attempt, f"make a draft of {wanted.tag}"):
            release = github.repository.create_git_release(wanted.tag, wanted.name, text, draft=True)
            ours.add(release.id)
        done.writes.append("draft")
    _put_assets(github, attempt, release, wanted, assets, done)
    if text != body or release.draft or release.name != wanted.name:
        with github.told(attempt, f"publish {wanted.tag}" if release.draft else f"write the notes of {wanted.tag}"):
            release = release.update_release(wanted.name, text, draft=False, prerelease=bool(release.prerelease))
        done.writes.append("notes")
    done.url = release.html_url
    for left in sorted(ours - {release.id}):  # somebody else's draft was published meanwhile
        with github.told(attempt, f"remove a second draft of {wanted.tag}"):
            github.repository.get_release(left).delete_release()
        ours.discard(left)


def _published(github: GitHub, attempt: Attempt, tag: str) -> GitRelease | None:
    from github import UnknownObjectException

    with github.told(attempt, f"read the release {tag}"):
        try:
            return github.repository.get_release(tag)
        except UnknownObjectException:
            return None


def _draft(github: GitHub, attempt: Attempt, tag: str) -> GitRelease | None:
    """The oldest draft of the tag that we wrote into or that has no text yet: an earlier run's. No tag finds drafts."""
    with github.told(attempt, "list the releases"):
        drafts = [one for one in github.repository.get_releases() if one.draft and one.tag_name == tag]
        drafts = [one for one in drafts if has_section(one.body or "") or not (one.body or "").strip()]
        return min(drafts, key=lambda one: one.id, default=None)


def _take_over(
    github: GitHub, attempt: Attempt, assets: Sequence[Asset], there: Mapping[str, GitReleaseAsset]
) -> None:
    for asset in assets:
        old = there.get(asset.name) or there.get(asset.name + _COMING)  # the latter where a run broke off
        if asset.take_over is None or old is None or old.state != _WHOLE or _is(github, attempt, old, asset):
            continue
        asset.take_over(github.download(attempt, old.url, old.size))


def _put_assets(
    github: GitHub, attempt: Attempt, release: GitRelease, wanted: Wanted, assets: Sequence[Asset], done: Done
) -> None:
    there = _assets(release)
    for asset in assets:
        _put_asset(github, attempt, release, asset, there, done)
    names = {asset.name for asset in assets}
    for name, old in there.items():
        if name in wanted.obsolete - names or (name.removesuffix(_COMING) in names and name.endswith(_COMING)):
            _remove(github, attempt, old)
            done.writes.append(f"{name} removed")


def _put_asset(
    github: GitHub, attempt: Attempt, release: GitRelease, asset: Asset, there: dict[str, GitReleaseAsset], done: Done
) -> None:
    old, coming = there.get(asset.name), there.get(asset.name + _COMING)
    if old is not None and _is(github, attempt, old, asset):
        return
    if old is not None and old.state != _WHOLE:
        _remove(github, attempt, there.pop(asset.name))  # an upload that broke off
        old = None
    if coming is not None and not _is(github, attempt, coming, asset):
        _remove(github, attempt, there.pop(coming.name))
        coming = None
    if coming is None:
        name = asset.name if old is None else asset.name + _COMING
        coming = _upload(github, attempt, release, asset, name)
        done.writes.append(asset.name)
    if old is not None:
        _remove(github, attempt, old)
    if coming.name != asset.name:
        with github.told(attempt, f"rename the asset {coming.name}"):
            coming.update_asset(asset.name)
    there.pop(asset.name + _COMING, None)


def _upload(github: GitHub, attempt: Attempt, release: GitRelease, asset: Asset, name: str) -> GitReleaseAsset:
    path = asset.file()
    with github.told(attempt, f"upload the asset {asset.name}"):
        sent = release.upload_asset(str(path), name=name, content_type="application/octet-stream")
    if sent.digest is not None and not _is(github, attempt, sent, asset):
        _remove(github, attempt, sent)
        raise RetryableError(attempt.fault(f"the asset {asset.name} arrived as {sent.digest}",
                                           Reason.GITHUB_ASSET_DAMAGED))
    if sent.name != name:
        raise OutsideError(f"GitHub renamed the asset {name} to {sent.name}", reason=Reason.GITHUB_ASSET_NAME)
    return sent


def _remove(github: GitHub, attempt: Attempt, asset: GitReleaseAsset) -> None:
    with github.told(attempt, f"remove the asset {asset.name}"):
        asset.delete_asset()


def _is(github: GitHub, attempt: Attempt, there: GitReleaseAsset, asset: Asset) -> bool:
    """Whether it is the asset: by GitHub's digest, and where it has none (assets before June 2025) by content."""
    if there.state != _WHOLE:
        return False
    if there.digest is None:
        return sha256_bytes(github.download(attempt, there.url, there.size)) == asset.sha256
    return there.digest == f"sha256:{asset.sha256}"


def _assets(release: GitRelease | None) -> dict[str, GitReleaseAsset]:
    """By name, as the release's own answer lists them."""
    found: Mapping[str, GitReleaseAsset] = {one.name: one for one in (release.assets if release is not None else [])}
    return dict(found)
