"""Git objects, refs and what is made of them, as GitHub's API has them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tests.harness import github_bodies as bodies
from tests.harness.github_bodies import Body, api, web
from tests.harness.github_repository import Changed, Commit, Entry, GitError
from tests.harness.github_routes import REPO, page, route
from tests.harness.github_state import Answer, Call, GitHub, Refused, missing, now

_INLINE = 1_000_000  # bytes of a file that come with its description
_SUBMODULE = "160000"


# -- refs ----------------------------------------------------------------------------


@route("GET", f"{REPO}/git/ref/{{ref}}")
def _ref(one: GitHub, call: Call) -> Answer:
    sha = one.git.sha(f"refs/{call.path['ref']}")
    if not sha:
        raise missing()
    return Answer(value=_ref_body(one, f"refs/{call.path['ref']}"))


@route("GET", f"{REPO}/git/matching-refs/{{ref}}")
def _matching(one: GitHub, call: Call) -> Answer:
    return Answer(value=[_ref_body(one, name) for name in one.git.refs(f"refs/{call.path['ref']}")])


@route("POST", f"{REPO}/git/refs")
def _create_ref(one: GitHub, call: Call) -> Answer:
    name, sha = str(call.given.get("ref")), str(call.given.get("sha"))
    if not name.startswith("refs/") or name.count("/") < 2 or not one.git.allows(name):
        raise Refused(422, f"{name} is not a valid ref name.")
    if one.git.sha(name):
        raise Refused(422, "Reference already exists")
    _move(one, name, sha)
    value = _ref_body(one, name)
    return Answer(201, value, {"Location": value["url"]})


@route("PATCH", f"{REPO}/git/refs/{{ref}}")
def _update_ref(one: GitHub, call: Call) -> Answer:
    name, sha = f"refs/{call.path['ref']}", str(call.given.get("sha"))
    held = one.git.sha(name)
    if not held:
        raise Refused(422, "Reference does not exist")
    forced = call.given.get("force", False)
    if not forced and one.git.kind(sha) == "commit" and one.git.merge_base(held, sha) != held:
        raise Refused(422, "Update is not a fast forward")
    _move(one, name, sha)
    return Answer(value=_ref_body(one, name))


@route("DELETE", f"{REPO}/git/refs/{{ref}}")
def _delete_ref(one: GitHub, call: Call) -> Answer:
    """The ref; pull requests from that branch are closed."""
    name = f"refs/{call.path['ref']}"
    sha = one.git.sha(name)
    if not sha:
        raise Refused(422, "Reference does not exist")
    for pull in one.pulls:
        if pull.head_ref == name and pull.state == "open":
            pull.state, pull.head_sha, pull.closed_at = "closed", sha, now()
    one.git.delete_ref(name)
    return Answer(204)


def _move(one: GitHub, name: str, sha: str) -> None:
    kind = one.git.kind(sha)
    if not kind:
        raise Refused(422, "Object does not exist")
    if name.startswith("refs/heads/") and kind != "commit":
        raise Refused(422, "Reference update failed")
    one.git.set_ref(name, sha)


def _ref_body(one: GitHub, name: str) -> Body:
    sha = one.git.sha(name)
    kind = one.git.kind(sha)
    return {"ref": name, "node_id": bodies.node_id("REF", name), "url": api(one, f"/git/{name}"),
            "object": {"sha": sha, "type": kind, "url": api(one, f"/git/{kind}s/{sha}")}}


# -- objects -------------------------------------------------------------------------


@route("POST", f"{REPO}/git/blobs")
def _create_blob(one: GitHub, call: Call) -> Answer:
    content = str(call.given.get("content", "")).encode()
    if call.given.get("encoding", "utf-8") == "base64":
        try:
            content = base64.b64decode(content)
        except binascii.Error:
            raise Refused(422, "content is not valid Base64") from None
    sha = one.git.write_blob(content)
    url = api(one, f"/git/blobs/{sha}")
    return Answer(201, {"sha": sha, "url": url}, {"Location": url})


@route("GET", f"{REPO}/git/blobs/{{file_sha}}")
def _blob(one: GitHub, call: Call) -> Answer:
    sha = call.path["file_sha"]
    if one.git.kind(sha) != "blob":
        raise missing()
    content = one.git.blob(sha)
    return Answer(value={"sha": sha, "node_id": bodies.node_id("B", sha), "size": len(content),
                         "url": api(one, f"/git/blobs/{sha}"), **_encoded(content)})


@route("POST", f"{REPO}/git/trees")
def _create_tree(one: GitHub, call: Call) -> Answer:
    """A tree; where neither sha nor content is given the sha is wanted, and where it is null the path goes."""
    base = call.given.get("base_tree", "")
    if base and one.git.kind(base) not in ("tree", "commit"):
        raise Refused(422, "base_tree is not a valid tree oid")
    entries = []
    for given in call.given.get("tree", []):
        sha, mode = given.get("sha"), given.get("mode", "100644")
        if "content" in given:
            sha = one.git.write_blob(given["content"].encode())
        elif sha is not None and mode != _SUBMODULE and one.git.kind(sha) not in ("blob", "tree"):
            raise Refused(422, f"tree.sha {sha} is not a valid {given.get('type', 'blob')}")
        entries.append((mode, sha or "", given["path"]))
    try:
        sha = one.git.write_tree(base, entries)
    except GitError as error:
        raise Refused(422, f"GitRPC::BadObjectState: {error}") from None
    value = _tree_body(one, sha, recursive=False)
    return Answer(201, value, {"Location": value["url"]})


@route("GET", f"{REPO}/git/trees/{{tree_sha}}")
def _tree(one: GitHub, call: Call) -> Answer:
    name = call.path["tree_sha"]
    sha = one.git.commitish(name) or one.git.sha(name, "tree")
    if not sha:
        raise missing()
    return Answer(value=_tree_body(one, one.git.sha(sha, "tree"), recursive="recursive" in call.query))


def _tree_body(one: GitHub, sha: str, *, recursive: bool) -> Body:
    held = [{"path": entry.path, "mode": entry.mode, "type": entry.kind, "sha": entry.sha,
             **({"size": entry.size} if entry.kind == "blob" else {}),
             **({"url": api(one, f"/git/{entry.kind}s/{entry.sha}")} if entry.kind != "commit" else {})}
            for entry in one.git.entries(sha, recursive=recursive)]
    return {"sha": sha, "url": api(one, f"/git/trees/{sha}"), "tree": held, "truncated": False}


@route("POST", f"{REPO}/git/commits")
def _create_commit(one: GitHub, call: Call) -> Answer:
    """A commit; who makes it is, unless said, the author, and that is, unless said, whose token it is."""
    tree, parents = str(call.given.get("tree")), call.given.get("parents", [])
    if one.git.kind(tree) != "tree":
        raise Refused(422, "Tree SHA does not exist")
    if any(one.git.kind(parent) != "commit" for parent in parents):
        raise Refused(422, "Parent SHA does not exist or is not a commit object")
    usual = {"name": one.login, "email": f"{one.login}@users.noreply.github.com", "date": now()}
    author = {**usual, **call.given.get("author", {})}
    committer = {**author, **call.given.get("committer", {})}
    sha = one.git.write_commit(tree, parents, str(call.given.get("message", "")), author, committer)
    value = bodies.git_commit(one, one.git.commit(sha))
    return Answer(201, value, {"Location": value["url"]})


@route("GET", f"{REPO}/git/commits/{{commit_sha}}")
def _git_commit(one: GitHub, call: Call) -> Answer:
    if one.git.kind(call.path["commit_sha"]) != "commit":
        raise missing()
    return Answer(value=bodies.git_commit(one, one.git.commit(call.path["commit_sha"])))


# -- what is made of them ------------------------------------------------------------


@route("GET", f"{REPO}/commits/{{ref}}")
def _commit(one: GitHub, call: Call) -> Answer:
    sha = one.git.commitish(call.path["ref"])
    if not sha:
        raise Refused(422, f"No commit found for SHA: {call.path['ref']}")
    commit = one.git.commit(sha)
    changed = one.git.changed(commit.parents[0] if commit.parents else "", sha)
    added, deleted = sum(file.additions for file in changed), sum(file.deletions for file in changed)
    shown, link = page(call, changed, 300)
    return Answer(headers=link, value={
        **bodies.commit(one, commit), "stats": {"additions": added, "deletions": deleted, "total": added + deleted},
        "files": [_changed_body(one, file, sha) for file in shown],
    })


@route("GET", f"{REPO}/branches/{{branch}}")
def _branch(one: GitHub, call: Call) -> Answer:
    name = call.path["branch"]
    sha = one.git.sha(f"refs/heads/{name}")
    if not sha:
        raise Refused(404, "Branch not found")
    mine = api(one, f"/branches/{name}")
    checks: Body = {"enforcement_level": "off", "contexts": [], "checks": []}
    return Answer(value={
        "name": name, "commit": bodies.commit(one, one.git.commit(sha)), "protected": False,
        "_links": {"self": mine, "html": web(one, f"/tree/{name}")}, "protection_url": f"{mine}/protection",
        "protection": {"enabled": False, "required_status_checks": checks},
    })


@route("GET", f"{REPO}/compare/{{basehead}}")
def _compare(one: GitHub, call: Call) -> Answer:
    """From where the histories part to head, as with three dots in git. The files are on the first page."""
    base, dots, head = call.path["basehead"].partition("...")
    commits = [_side(one, name) for name in (base, head)]
    apart = one.git.merge_base(*commits) if dots and all(commits) else ""
    if not apart:
        raise missing()
    ahead, behind = one.git.between(*commits), one.git.between(commits[1], commits[0])
    shown, link = page(call, ahead, 250)
    files = one.git.changed(apart, commits[1])[:300] if call.query.get("page", "1") == "1" else []
    mine, seen = api(one, f"/compare/{base}...{head}"), web(one, f"/compare/{base}...{head}")
    status = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind", (False, False): "identical"}
    return Answer(headers=link, value={
        "url": mine, "html_url": seen, "permalink_url": seen, "diff_url": f"{seen}.diff", "patch_url": f"{seen}.patch",
        "base_commit": _shown(one, commits[0]), "merge_base_commit": _shown(one, apart),
        "status": status[bool(ahead), bool(behind)], "ahead_by": len(ahead), "behind_by": len(behind),
        "total_commits": len(ahead), "commits": [_shown(one, sha) for sha in shown],
        "files": [_changed_body(one, file, commits[1]) for file in files],
    })


def _side(one: GitHub, name: str) -> str:
    """The commit that a side of a comparison means; OWNER:BRANCH may be a fork's."""
    owner, colon, branch = name.rpartition(":")
    if colon and owner != one.repo.partition("/")[0]:
        return one.git.sha(f"refs/forks/{owner}/{branch}")
    return one.git.commitish(branch)


def _shown(one: GitHub, sha: str) -> Body:
    held: Commit = one.git.commit(sha)
    return bodies.commit(one, held)


def _changed_body(one: GitHub, file: Changed, sha: str) -> Body:
    return {"sha": file.sha, "filename": file.path, "status": file.status, "additions": file.additions,
            "deletions": file.deletions, "changes": file.additions + file.deletions,
            "blob_url": web(one, f"/blob/{sha}/{file.path}"), "raw_url": web(one, f"/raw/{sha}/{file.path}"),
            "contents_url": api(one, f"/contents/{file.path}?ref={sha}")}


@route("GET", f"{REPO}/contents/{{path}}")
def _contents(one: GitHub, call: Call) -> Answer:
    """A file with its content, or what is in a folder."""
    ref, path = call.query.get("ref", "main"), call.path["path"].strip("/")
    commit = one.git.commitish(ref)
    if not commit:
        raise Refused(404, f"No commit found for the ref {ref}")
    found = one.git.entries(commit, path=path) if path else []
    if path and not found:
        raise missing()
    if not found or found[0].kind == "tree":
        held = one.git.entries(commit, path=f"{path}/" if path else "")
        return Answer(value=[_entry_body(one, entry, ref) for entry in held])
    content: Body = {}
    if found[0].kind == "blob":
        data = one.git.blob(found[0].sha)
        content = _encoded(data) if len(data) <= _INLINE else {"content": "", "encoding": "none"}
        if found[0].mode == "120000":
            content = {"target": data.decode()}
    return Answer(value={**_entry_body(one, found[0], ref), **content})


def _entry_body(one: GitHub, entry: Entry, ref: str) -> Body:
    kind = {"120000": "symlink", "040000": "dir", _SUBMODULE: "submodule"}.get(entry.mode, "file")
    mine, where = api(one, f"/contents/{entry.path}?ref={ref}"), f"{ref}/{entry.path}"
    git, seen = api(one, f"/git/{entry.kind}s/{entry.sha}"), web(one, f"/blob/{where}")
    return {"type": kind, "name": entry.path.rpartition("/")[2], "path": entry.path, "sha": entry.sha,
            "size": max(0, entry.size), "url": mine, "git_url": git, "html_url": seen,
            "download_url": web(one, f"/raw/{where}") if kind == "file" else None,
            "_links": {"self": mine, "git": git, "html": seen}}


def _encoded(content: bytes) -> dict[str, Any]:
    """In Base64 with lines of 60, as GitHub breaks them."""
    whole = base64.b64encode(content).decode()
    lines = [whole[start : start + 60] for start in range(0, len(whole), 60)]
    return {"encoding": "base64", "content": "".join(f"{line}\n" for line in lines)}
