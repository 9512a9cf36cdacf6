"""Pull requests, as GitHub's API has them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.harness import github_bodies as bodies
from tests.harness.github_routes import REPO, paged, route
from tests.harness.github_state import Answer, Call, GitHub, Pull, Refused, invalid, missing, now

_ONE = f"{REPO}/pulls/{{pull_number}}"


@route("GET", f"{REPO}/pulls")
def _list(one: GitHub, call: Call) -> Answer:
    """Open ones, newest first, unless it is said otherwise. A `head` without owner is ignored, as GitHub does."""
    state, head, base = (call.query.get(name, usual) for name, usual in (("state", "open"), ("head", ""), ("base", "")))
    found = [pull for pull in one.pulls if state in (pull.state, "all") and base in (pull.base, "")
             and (":" not in head or head == f"{pull.head_owner}:{pull.head_branch}")]
    newest = call.query.get("direction", "desc" if call.query.get("sort", "created") == "created" else "asc") == "desc"
    found.sort(key=lambda pull: pull.number, reverse=newest)
    return paged(call, found, lambda pull: bodies.pull_simple(one, pull))


@route("GET", _ONE)
def _get(one: GitHub, call: Call) -> Answer:
    return Answer(value=_full(one, _pull(one, call)))


@route("POST", f"{REPO}/pulls")
def _create(one: GitHub, call: Call) -> Answer:
    """A pull request; there is one open for a head and base, and it must have commits."""
    given, home = call.given, one.repo.partition("/")[0]
    if not given.get("title"):
        raise invalid("PullRequest", "title", "missing_field")
    owner, colon, branch = str(given.get("head")).rpartition(":")
    owner = owner if colon else home
    ref = f"refs/heads/{branch}" if owner == home else f"refs/forks/{owner}/{branch}"
    base = str(given.get("base"))
    shas = {"head": one.git.sha(ref), "base": one.git.sha(f"refs/heads/{base}")}
    for side, sha in shas.items():
        if not sha:
            raise invalid("PullRequest", side, "invalid")
    if not one.git.between(shas["base"], shas["head"]):
        raise _custom(f"No commits between {base} and {branch}")
    pull = Pull(len(one.pulls) + 1, 0, given["title"], owner, branch, ref, base, shas["base"], shas["head"],
                given.get("body"), one.login, draft=given.get("draft", False))
    _alone(one, pull)
    pull.id = next(one.ids)
    one.pulls.append(pull)
    value = _full(one, pull)
    return Answer(201, value, {"Location": value["url"]})


@route("PATCH", _ONE)
def _update(one: GitHub, call: Call) -> Answer:
    pull, given = _pull(one, call), call.given
    state, base = given.get("state", pull.state), given.get("base", pull.base)
    if "title" in given and not given["title"]:
        raise invalid("PullRequest", "title", "missing_field")
    if base != pull.base:
        if not one.git.sha(f"refs/heads/{base}"):
            raise invalid("PullRequest", "base", "invalid")
        pull.base, pull.base_sha = base, one.git.sha(f"refs/heads/{base}")
    if state != pull.state:
        _set_state(one, pull, state)
    pull.title, pull.body = given.get("title", pull.title), given.get("body", pull.body)
    return Answer(value=_full(one, pull))


def _set_state(one: GitHub, pull: Pull, state: str) -> None:
    """Close or open again; what is merged or has no branch any more stays closed."""
    head = one.git.sha(pull.head_ref)
    if state == "open":
        if pull.merged or not head:
            raise invalid("PullRequest", "state", "invalid")
        _alone(one, pull)
    pull.state, pull.head_sha = state, head or pull.head_sha
    pull.closed_at = now() if state == "closed" else None


def _alone(one: GitHub, pull: Pull) -> None:
    """Refuse if another one is open for the same head and base."""
    if any(held is not pull and held.state == "open" and (held.head_ref, held.base) == (pull.head_ref, pull.base)
           for held in one.pulls):
        raise _custom(f"A pull request already exists for {pull.head_owner}:{pull.head_branch}.")


def _custom(message: str) -> Refused:
    error: Mapping[str, str] = {"resource": "PullRequest", "code": "custom", "message": message}
    return Refused(422, "Validation Failed", error)


def _pull(one: GitHub, call: Call) -> Pull:
    number = int(call.path["pull_number"])
    found = next((pull for pull in one.pulls if pull.number == number), None)
    if found is None:
        raise missing()
    return found


def _full(one: GitHub, pull: Pull) -> bodies.Body:
    """A pull request, as it is answered when asked for itself."""
    simple = bodies.pull_simple(one, pull)
    base, head = simple["base"]["sha"], simple["head"]["sha"]
    apart = one.git.merge_base(base, head)
    changed = one.git.changed(apart, head) if apart else []
    mergeable = pull.state == "open" and not one.git.conflicts(base, head)
    return {
        **simple, "merged": pull.merged, "mergeable": mergeable if pull.state == "open" else None,
        "rebaseable": None, "mergeable_state": "clean" if mergeable else "dirty" if pull.state == "open" else "unknown",
        "merged_by": bodies.user(one, "maintainer") if pull.merged else None, "comments": 0, "review_comments": 0,
        "maintainer_can_modify": False, "commits": len(one.git.between(base, head)), "changed_files": len(changed),
        "additions": sum(file.additions for file in changed), "deletions": sum(file.deletions for file in changed),
    }
