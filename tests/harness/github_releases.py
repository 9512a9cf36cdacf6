"""Releases and their assets, as GitHub's API has them."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from tests.harness import github_bodies as bodies
from tests.harness.github_routes import REPO, paged, route
from tests.harness.github_state import Answer, Asset, Call, GitHub, Refused, Release, invalid, missing, now

LONGEST = 125_000  # characters of a release's body
_ONE, _FILE = f"{REPO}/releases/{{release_id}}", f"{REPO}/releases/assets/{{asset_id}}"
_KEPT = re.escape(string.ascii_letters + string.digits + "._+-")


@route("GET", REPO)
def _repository(one: GitHub, _: Call) -> Answer:
    return Answer(value=bodies.full_repository(one))


@route("GET", "/rate_limit")
def _rate_limit(one: GitHub, _: Call) -> Answer:
    core = {"limit": 5000, "remaining": one.remaining, "reset": one.reset, "used": 5000 - one.remaining}
    search = {"limit": 30, "remaining": 30, "reset": one.reset, "used": 0}
    return Answer(value={"resources": {"core": core, "search": search}, "rate": core})


@route("GET", f"{REPO}/releases")
def _list(one: GitHub, call: Call) -> Answer:
    """Newest first; drafts are among them for those who may write."""
    seen = [release for release in one.releases if not (release.draft and one.read_only)]
    newest = sorted(seen, key=lambda release: (release.created_at, release.id), reverse=True)
    return paged(call, newest, lambda release: bodies.release(one, release))


@route("GET", f"{REPO}/releases/latest")
def _latest(one: GitHub, _: Call) -> Answer:
    fit = [release for release in one.releases if not release.draft and not release.prerelease]
    if not fit:
        raise missing()
    chosen = [release for release in fit if release.id == one.latest]
    newest = max(fit, key=lambda release: (release.created_at, release.id))
    return Answer(value=bodies.release(one, chosen[0] if chosen else newest))


@route("GET", f"{REPO}/releases/tags/{{tag}}")
def _by_tag(one: GitHub, call: Call) -> Answer:
    """A draft is not found by its tag."""
    found = _published(one, call.path["tag"])
    if found is None:
        raise missing()
    return Answer(value=bodies.release(one, found))


@route("GET", _ONE)
def _get(one: GitHub, call: Call) -> Answer:
    return Answer(value=bodies.release(one, _release(one, call)))


@route("POST", f"{REPO}/releases")
def _create(one: GitHub, call: Call) -> Answer:
    """A release; any number of drafts may have one tag."""
    if not call.given.get("tag_name"):
        raise invalid("Release", "tag_name", "missing_field")
    release = Release(0, "", name=None, draft=True)
    _apply(one, release, {"draft": False, **call.given})
    release.id = next(one.ids)
    one.releases.append(release)
    _make_latest(one, release, call.given, new=True)
    value = bodies.release(one, release)
    return Answer(201, value, {"Location": value["url"]})


@route("PATCH", _ONE)
def _update(one: GitHub, call: Call) -> Answer:
    release = _release(one, call)
    new = release.draft
    _apply(one, release, call.given)
    _make_latest(one, release, call.given, new=new)
    return Answer(value=bodies.release(one, release))


@route("DELETE", _ONE)
def _delete(one: GitHub, call: Call) -> Answer:
    """The release; its tag stays."""
    one.releases.remove(_release(one, call))
    return Answer(204)


def _apply(one: GitHub, release: Release, given: Mapping[str, Any]) -> None:
    """Change a release, or refuse and change nothing."""
    tag = given.get("tag_name") or release.tag_name
    target = given.get("target_commitish") or release.target_commitish
    draft = given.get("draft", release.draft)
    if len(given.get("body") or "") > LONGEST:
        raise invalid("Release", "body", "custom", message=f"body is too long (maximum is {LONGEST} characters)")
    if not draft:
        if _published(one, tag) not in (None, release):
            raise invalid("Release", "tag_name", "already_exists")
        _tag(one, tag, target)
    release.tag_name, release.target_commitish, release.draft = tag, target, draft
    release.name, release.body = given.get("name", release.name), given.get("body", release.body)
    release.prerelease = given.get("prerelease", release.prerelease)
    release.published_at = None if draft else release.published_at or now()


def _tag(one: GitHub, tag: str, target: str) -> None:
    """Make the tag that a published release has."""
    if one.git.sha(f"refs/tags/{tag}"):
        return
    sha = one.git.commitish(target)
    if not sha:
        raise invalid("Release", "target_commitish", "invalid")
    if not one.git.allows(f"refs/tags/{tag}"):
        raise invalid("Release", "tag_name", "custom", message="tag_name is not a valid tag")
    one.git.set_ref(f"refs/tags/{tag}", sha)


def _make_latest(one: GitHub, release: Release, given: Mapping[str, Any], *, new: bool) -> None:
    """What is published becomes the latest release unless it is said otherwise; `legacy` goes by date."""
    chosen = given.get("make_latest", "true" if new else "false")
    if not release.draft and not release.prerelease and chosen in ("true", "legacy"):
        one.latest = release.id if chosen == "true" else None


def _published(one: GitHub, tag: str) -> Release | None:
    return next((release for release in one.releases if release.tag_name == tag and not release.draft), None)


def _release(one: GitHub, call: Call) -> Release:
    number = int(call.path["release_id"])
    found = next((release for release in one.releases if release.id == number), None)
    if found is None:
        raise missing()
    return found


# -- assets --------------------------------------------------------------------------


@route("GET", f"{_ONE}/assets")
def _assets(one: GitHub, call: Call) -> Answer:
    release = _release(one, call)
    return paged(call, release.assets, lambda asset: bodies.asset(one, release, asset))


@route("POST", f"{_ONE}/assets")
def _upload(one: GitHub, call: Call) -> Answer:
    """An asset; its name must be free, also of an upload that died."""
    release = _release(one, call)
    name = renamed(call.query.get("name", ""))
    if not name or not call.body:
        raise Refused(400, "Bad Content-Length" if name else "Bad name")
    asset = begin(one, release, name, call)
    asset.content, asset.state = call.body, "uploaded"
    value = bodies.asset(one, release, asset)
    return Answer(201, value, {"Location": value["url"]})


def begin(one: GitHub, release: Release, name: str, call: Call) -> Asset:
    """The asset as it is while its content is awaited."""
    if any(asset.name == name for asset in release.assets):
        raise invalid("ReleaseAsset", "name", "already_exists")
    kind = call.headers.get("Content-Type", "application/octet-stream")
    asset = Asset(next(one.ids), name, b"", kind, call.query.get("label") or None, "starter")
    release.assets.append(asset)
    return asset


def half(one: GitHub, call: Call) -> None:
    """What an upload that dies leaves: the asset without its content."""
    release = _release(one, call)
    begin(one, release, renamed(call.query["name"]), call)


def renamed(name: str) -> str:
    """A name as GitHub changes it.

    Its documentation speaks of special characters and of periods at the ends; which ones they are is what was seen.
    """
    plain = re.sub(r"\.{2,}", ".", re.sub(f"[^{_KEPT}]", ".", name)).rstrip(".")
    return f"default{plain}" if plain.startswith(".") else plain


@route("GET", _FILE)
def _asset(one: GitHub, call: Call) -> Answer:
    """The asset's description or, where bytes are accepted, where they are."""
    release, asset = _held(one, call)
    if call.headers.get("Accept") != "application/octet-stream":
        return Answer(value=bodies.asset(one, release, asset))
    if asset.state != "uploaded":
        raise missing()
    return Answer(302, None, {"Location": stored(one, asset)})


@route("DELETE", _FILE)
def _delete_asset(one: GitHub, call: Call) -> Answer:
    release, asset = _held(one, call)
    release.assets.remove(asset)
    return Answer(204)


@route("PATCH", _FILE)
def _update_asset(one: GitHub, call: Call) -> Answer:
    """Name and label; a name that another asset of the release has is refused."""
    release, asset = _held(one, call)
    name = call.given.get("name", asset.name)
    if any(other.name == name for other in release.assets if other is not asset):
        raise invalid("ReleaseAsset", "name", "already_exists")
    asset.name, asset.label = name, call.given.get("label", asset.label) or None
    return Answer(value=bodies.asset(one, release, asset))


def stored(one: GitHub, asset: Asset) -> str:
    """Where the bytes are, with a signature in place of credentials."""
    return f"{one.elsewhere}/stored/{asset.id}?sig=canary-signature"


def _held(one: GitHub, call: Call) -> tuple[Release, Asset]:
    number = int(call.path["asset_id"])
    for release in one.releases:
        for asset in release.assets:
            if asset.id == number:
                return release, asset
    raise missing()
