"""A branch of our own with some files changed, on top of the default branch: read, compared, written. No git needed.

A commit of ours says in its message which files it changes, by digest. The branch is ours as long
as what it changes is what such a message says, even where the default branch was merged into it; anything
else is somebody's work.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason
from foundry.github.client import GitHub
from foundry.net.transport import NOT_FOUND, Attempt, RetryableError

if TYPE_CHECKING:
    from github.Commit import Commit
    from github.GitTree import GitTree

_TRAILER = re.compile(r"^Kmod-Foundry-Content: ([0-9a-f]{64})$", re.MULTILINE)
_FILE = "100644"
_LISTED = 250  # commits that a comparison lists
_SHOWN = 3  # commits in a sentence

Digests = Mapping[str, str]  # git's name of each file's content, by path; empty where the file goes


@dataclass(frozen=True)
class Base:
    """The default branch."""

    name: str
    sha: str
    tree: GitTree


@dataclass(frozen=True)
class Branch:
    """A branch against the default branch: `changes` are since they parted, `behind` the commits that it lacks.

    `commits` are its own, as sha, author and message; none where there are too many to list.
    """

    name: str
    sha: str
    behind: int
    changes: Digests
    commits: tuple[tuple[str, str, str], ...]

    @property
    def ours(self) -> bool:
        """Whether nothing of others would be lost with it."""
        said = {found for _, _, message in self.commits for found in _TRAILER.findall(message)}
        return not self.changes or digest_of(self.changes) in said


def digest_of(changes: Digests) -> str:
    """A SHA-256 that stands for all changed files."""
    return sha256_bytes("".join(f"{path} {digest}\n" for path, digest in sorted(changes.items())).encode())


# -- reading -------------------------------------------------------------------------


def compared(github: GitHub, attempt: Attempt, name: str) -> tuple[Base, Branch | None]:
    """The default branch and the branch of that name; None where there is none, or none with a commit in common."""
    from github import GithubException

    with github.told(attempt, "read the repository"):
        default = github.repository.default_branch
    with github.told(attempt, f"compare {name} with {default}"):
        try:
            found = github.repository.compare(default, name)
            count = found.ahead_by
        except GithubException as error:
            if error.status != NOT_FOUND:  # which has several messages here
                raise
            return _base(default, github.repository.get_branch(default).commit), None
        commits = [(one.sha, one.commit.author.name or "", one.commit.message)
                   for one in (found.commits if count <= _LISTED else [])]
        changes = {one.filename: "" if one.status == "removed" else one.sha for one in found.files}
        sha = commits[-1][0] if commits else found.merge_base_commit.sha
        return _base(default, found.base_commit), Branch(name, sha, found.behind_by, changes, tuple(commits))


def _base(name: str, commit: Commit) -> Base:
    return Base(name, commit.sha, commit.commit.tree)


def content(github: GitHub, attempt: Attempt, path: str, base: Base) -> bytes | None:
    """A file's bytes in the default branch; None where it has no such."""
    from github import UnknownObjectException

    with github.told(attempt, f"read {path} of {base.name}"):
        try:
            found = github.repository.get_contents(path, ref=base.sha)
        except UnknownObjectException:
            return None
        if isinstance(found, list):
            raise FoundryError(f"{path} is a folder in {base.name} of {github.name}", reason=Reason.PULL_PATH,
                               hint="correct `catalogue` or `locks` in the profile")
        if found.encoding == "base64":
            return found.decoded_content
        return base64.b64decode(github.repository.get_git_blob(found.sha).content)  # files beyond 1 MB


# -- writing -------------------------------------------------------------------------


def require_ours(github: GitHub, branch: Branch, base: Base) -> None:
    """FoundryError ``branch-taken`` where others have put something on the branch."""
    if branch.ours:
        return
    strangers = [one for one in branch.commits if not _TRAILER.search(one[2])] or list(branch.commits)
    names = ", ".join(f"{sha[:7]} by {' '.join(author.split())[:60] or 'nobody'}"
                      for sha, author, _ in strangers[-_SHOWN:])
    raise FoundryError(
        f"the branch {branch.name} of {github.name} has changes that kmod-foundry did not make"
        f" ({names or 'too many commits to list'})",
        reason=Reason.BRANCH_TAKEN, hint=f"bring them into {base.name} or elsewhere and delete the branch;"
        " FORCE_BUILD=true gives them up",
    )


def commit(
    github: GitHub, attempt: Attempt, base: Base, files: Mapping[str, bytes], changes: Digests, message: str
) -> str:
    """A commit with the changed files on top of the default branch; its author is whose token it is."""
    from github import InputGitTreeElement

    elements = []
    for path, digest in changes.items():
        with github.told(attempt, f"send {path}"):
            blob = github.repository.create_git_blob(base64.b64encode(files[path]).decode(), "base64")
            if blob.sha != digest:
                raise RetryableError(attempt.fault(f"{path} arrived as {blob.sha}", Reason.GITHUB_MALFORMED))
        elements.append(InputGitTreeElement(path, _FILE, "blob", sha=digest))
    with github.told(attempt, "make a commit"):
        tree = github.repository.create_git_tree(elements, base_tree=base.tree)
        parent = github.repository.get_git_commit(base.sha)
        if not tree.sha or tree.sha == base.tree.sha or parent.sha != base.sha:
            why = f"can't make a commit: GitHub's tree ({tree.sha}) or parent ({parent.sha}) is not the one asked for"
            raise RetryableError(attempt.fault(why, Reason.GITHUB_MALFORMED, retry=True))
        text = f"{message}\n\nKmod-Foundry-Content: {digest_of(changes)}\n"
        made = github.repository.create_git_commit(text, tree, [parent])
        if not made.sha:
            why = "can't make a commit: the answer names none"
            raise RetryableError(attempt.fault(why, Reason.GITHUB_MALFORMED, retry=True))
        return made.sha


def move(github: GitHub, attempt: Attempt, name: str, seen: Branch | None, sha: str, *, force: bool) -> None:
    """Have the branch at a commit, if it still is what was compared."""
    from github import UnknownObjectException

    with github.told(attempt, f"write the branch {name}"):
        ref = github.repository.get_git_ref(f"heads/{name}")
        try:
            now = ref.object.sha
        except UnknownObjectException:
            now = ""
        if now != (seen.sha if seen is not None else "") and not force:
            why = f"the branch {name} moves, or has no commit in common with the default branch"
            raise RetryableError(attempt.fault(why, Reason.BRANCH_TAKEN, hint="look who else writes it, or delete it"))
        if now:
            ref.edit(sha, force=True)
        else:
            github.repository.create_git_ref(f"refs/heads/{name}", sha)
