"""GitHub's objects as JSON, with all members that its description requires."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tests.harness.github_repository import Commit
from tests.harness.github_state import Asset, GitHub, Pull, Release

Body = dict[str, Any]
SINCE = "2024-05-06T07:08:09Z"
# what a repository has an address for, below its own
_LISTS = ("contributors", "deployments", "downloads", "events", "forks", "hooks", "languages", "merges", "stargazers",
          "subscribers", "subscription", "tags", "teams")
_TEMPLATES = {
    "archive": "/{archive_format}{/ref}", "assignees": "/assignees{/user}", "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}", "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}", "commits": "/commits{/sha}", "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}", "git_commits": "/git/commits{/sha}", "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}", "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}", "issues": "/issues{/number}", "keys": "/keys{/key_id}",
    "labels": "/labels{/name}", "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}", "pulls": "/pulls{/number}",
    "releases": "/releases{/id}", "statuses": "/statuses/{sha}", "trees": "/git/trees{/sha}",
}


def node_id(kind: str, number: int | str) -> str:
    """An id as GraphQL has it."""
    return f"{kind}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def number_of(name: str) -> int:
    """A number that belongs to a name."""
    return 10_000 + sum(name.encode())


def api(one: GitHub, path: str = "", repo: str = "") -> str:
    """An address below the repository's."""
    return f"{one.url}/repos/{repo or one.repo}{path}"


def web(one: GitHub, path: str = "", repo: str = "") -> str:
    """An address that is meant for browsers."""
    return f"{one.elsewhere}/{repo or one.repo}{path}"


def user(one: GitHub, login: str) -> Body:
    """A user."""
    mine = f"{one.url}/users/{login}"
    lists = ("followers", "subscriptions", "organizations", "repos", "received_events")
    return {
        "login": login, "id": number_of(login), "node_id": node_id("U", number_of(login)), "gravatar_id": "",
        "avatar_url": f"{one.elsewhere}/avatars/{login}", "url": mine, "html_url": f"{one.elsewhere}/{login}",
        **{f"{name}_url": f"{mine}/{name.replace('organizations', 'orgs')}" for name in lists},
        "following_url": f"{mine}/following{{/other_user}}", "gists_url": f"{mine}/gists{{/gist_id}}",
        "starred_url": f"{mine}/starred{{/owner}}{{/repo}}", "events_url": f"{mine}/events{{/privacy}}",
        "type": "User", "site_admin": False, "user_view_type": "public",
    }


def repository(one: GitHub, owner: str = "") -> Body:
    """The repository, or the fork of it that an owner has."""
    home, name = one.repo.split("/")
    owner = owner or home
    full = f"{owner}/{name}"
    page, mine = web(one, repo=full), api(one, repo=full)
    return {
        "id": number_of(full), "node_id": node_id("R", number_of(full)), "name": name, "full_name": full,
        "owner": user(one, owner), "private": False, "html_url": page, "description": None, "fork": owner != home,
        "url": mine, **{f"{what}_url": f"{mine}/{what}" for what in _LISTS},
        **{f"{what}_url": mine + template for what, template in _TEMPLATES.items()},
        "git_url": f"git://{page.partition('//')[2]}.git", "ssh_url": f"git@127.0.0.1:{full}.git",
        "clone_url": f"{page}.git", "svn_url": page, "mirror_url": None, "homepage": None, "language": None,
        "forks_count": 0, "stargazers_count": 0, "watchers_count": 0, "size": 1, "default_branch": "main",
        "open_issues_count": 0, "is_template": False, "topics": [], "has_issues": True, "has_projects": False,
        "has_wiki": False, "has_pages": False, "has_downloads": True, "has_discussions": False, "archived": False,
        "disabled": False, "visibility": "public", "pushed_at": SINCE, "created_at": SINCE, "updated_at": SINCE,
        "permissions": {"admin": False, "maintain": False, "push": not one.read_only, "triage": False, "pull": True},
        "license": None, "forks": 0, "open_issues": 0, "watchers": 0, "allow_forking": True,
        "web_commit_signoff_required": False,
    }


def full_repository(one: GitHub) -> Body:
    """The repository, as it is answered when asked for itself."""
    return {**repository(one), "subscribers_count": 0, "network_count": 0}


def text(one: GitHub, body: str | None) -> str | None:
    """A body as it comes back: what went through a browser has CRLF."""
    return body.replace("\r\n", "\n").replace("\n", "\r\n") if one.crlf and body is not None else body


def _page(release: Release) -> str:
    """What a release's addresses have in place of the tag while it is a draft."""
    return f"untagged-{release.id:020x}" if release.draft else quote(release.tag_name)


def asset(one: GitHub, release: Release, held: Asset) -> Body:
    """A release's asset."""
    return {
        "url": api(one, f"/releases/assets/{held.id}"), "id": held.id, "node_id": node_id("RA", held.id),
        "name": held.name, "label": held.label, "uploader": user(one, one.login), "content_type": held.content_type,
        "state": held.state, "size": len(held.content), "digest": held.digest, "download_count": held.downloads,
        "created_at": held.created_at, "updated_at": held.created_at,
        "browser_download_url": web(one, f"/releases/download/{_page(release)}/{quote(held.name)}"),
    }


def release(one: GitHub, held: Release) -> Body:
    """A release with its assets."""
    mine, tag = api(one, f"/releases/{held.id}"), quote(held.tag_name)
    return {
        "url": mine, "assets_url": f"{mine}/assets", "id": held.id, "node_id": node_id("RE", held.id),
        "upload_url": f"{one.uploads}/repos/{one.repo}/releases/{held.id}/assets{{?name,label}}",
        "html_url": web(one, f"/releases/tag/{_page(held)}"), "author": user(one, one.login),
        "tag_name": held.tag_name, "target_commitish": held.target_commitish, "name": held.name,
        "draft": held.draft, "immutable": False, "prerelease": held.prerelease, "created_at": held.created_at,
        "updated_at": held.created_at, "published_at": held.published_at,
        "assets": [asset(one, held, file) for file in held.assets], "body": text(one, held.body),
        "tarball_url": None if held.draft else api(one, f"/tarball/{tag}"),
        "zipball_url": None if held.draft else api(one, f"/zipball/{tag}"),
    }


def git_commit(one: GitHub, commit: Commit) -> Body:
    """A commit as git has it."""
    return {
        "sha": commit.sha, "node_id": node_id("C", commit.sha), "url": api(one, f"/git/commits/{commit.sha}"),
        "html_url": web(one, f"/commit/{commit.sha}"), "message": commit.message,
        "author": _signed(commit.author), "committer": _signed(commit.committer),
        "tree": {"sha": commit.tree, "url": api(one, f"/git/trees/{commit.tree}")},
        "parents": [{"sha": sha, "url": api(one, f"/git/commits/{sha}"), "html_url": web(one, f"/commit/{sha}")}
                    for sha in commit.parents],
        "verification": _UNSIGNED,
    }


def commit(one: GitHub, held: Commit) -> Body:
    """A commit as GitHub shows it."""
    mine = api(one, f"/commits/{held.sha}")
    plain, person = git_commit(one, held), user(one, one.login)
    return {
        "sha": held.sha, "node_id": node_id("C", held.sha), "url": mine, "html_url": plain["html_url"],
        "comments_url": f"{mine}/comments", "author": person, "committer": person,
        "commit": {**{name: plain[name] for name in ("author", "committer", "message", "tree", "verification", "url")},
                   "comment_count": 0},
        "parents": [{**parent, "url": api(one, f"/commits/{parent['sha']}")} for parent in plain["parents"]],
    }


_UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def _signed(person: Any) -> Body:
    moment = datetime.fromtimestamp(person["seconds"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": person["name"], "email": person["email"], "date": moment}


def pull_simple(one: GitHub, held: Pull) -> Body:
    """A pull request as lists have it."""
    mine, issue = api(one, f"/pulls/{held.number}"), api(one, f"/issues/{held.number}")
    page, home = web(one, f"/pull/{held.number}"), one.repo.partition("/")[0]
    head = one.git.sha(held.head_ref) if held.state == "open" else ""
    head = head or held.head_sha
    base = (one.git.commitish(held.base) if held.state == "open" else "") or held.base_sha
    addresses = {
        "issue": issue, "commits": f"{mine}/commits", "review_comments": f"{mine}/comments",
        "review_comment": api(one, "/pulls/comments{/number}"), "comments": f"{issue}/comments",
        "statuses": api(one, f"/statuses/{head}"),
    }
    sides = {"head": (held.head_owner, held.head_branch, head), "base": (home, held.base, base)}
    return {
        "url": mine, "id": held.id, "node_id": node_id("PR", held.id), "html_url": page, "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch", **{f"{name}_url": address for name, address in addresses.items()},
        "number": held.number, "state": held.state, "locked": False, "title": held.title,
        "user": user(one, held.user), "body": text(one, held.body), "labels": [], "milestone": None,
        "active_lock_reason": None, "created_at": held.created_at, "updated_at": held.closed_at or held.created_at,
        "closed_at": held.closed_at, "merged_at": held.closed_at if held.merged else None,
        "merge_commit_sha": held.merge_commit_sha, "assignee": None, "assignees": [], "requested_reviewers": [],
        "requested_teams": [], "draft": held.draft, "author_association": "CONTRIBUTOR", "auto_merge": None,
        **{side: {"label": f"{owner}:{branch}", "ref": branch, "sha": sha, "user": user(one, owner),
                  "repo": repository(one, owner)} for side, (owner, branch, sha) in sides.items()},
        "_links": {**{name: {"href": address} for name, address in addresses.items()},
                   "self": {"href": mine}, "html": {"href": page}},
    }
