"""One pull request kept as it should be: some files, proposed from a branch of our own.

The files are compared with the default branch at GitHub, never with a local repository. Each
attempt begins with reading and does the steps that are left: a commit on top of the default
branch, the branch, the pull request. So what was lost or broken off heals by the next attempt
or the next run, and where nothing is left to do nothing is written.

The pull request's text says by digest which files it proposes, so that one that was closed
without merging is not opened again for the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.git_ids import blob_id
from foundry.base.marked_section import outside, with_section
from foundry.base.reasons import Reason
from foundry.github.branch import Base, commit, compared, content, digest_of, move, require_ours
from foundry.github.client import GitHub
from foundry.net.transport import Attempt, RetryableError

if TYPE_CHECKING:
    from github.PullRequest import PullRequest

LONGEST_BODY = 65_536  # characters that GitHub takes
_LATEST = 100  # pull requests that are looked at


@dataclass(frozen=True)
class Proposal:
    """The words: title and the commit's message; our part of the pull request's text within so many characters."""

    title: str
    message: str
    section: Callable[[int], str]


@dataclass(frozen=True)
class Wanted:
    """The files as they should be in the default branch, by path.

    `words` is asked with the default branch's files (None: not there). With `force` commits of others on
    the branch are given up, and a pull request that was closed is made again.
    """

    branch: str
    files: Mapping[str, bytes]
    words: Callable[[Mapping[str, bytes | None]], Proposal]
    force: bool = False


@dataclass
class Done:
    """How it ended, in a sentence, and what was written."""

    says: str = ""
    writes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pull:
    """A pull request from our branch into the default branch; `sha` is the branch's commit, when it was closed."""

    number: int
    url: str
    open: bool
    merged: bool
    title: str
    body: str
    sha: str
    held: PullRequest


def reconcile(github: GitHub, wanted: Wanted) -> Done:
    """Have the files proposed, or in the default branch.

    Raises OutsideError ``github-…`` when GitHub can't be had or refuses, FoundryError ``branch-taken``
    where others work on the branch, ``markers-damaged`` and ``pull-too-long``.
    """
    done = Done()
    github.with_retries(lambda attempt: _attempt(github, wanted, attempt, done))
    return done


def _attempt(github: GitHub, wanted: Wanted, attempt: Attempt, done: Done) -> None:
    base, branch = compared(github, attempt, wanted.branch)
    held = {path: content(github, attempt, path, base) for path in wanted.files}
    changes = {path: blob_id(data) for path, data in wanted.files.items() if held[path] != data}
    pulls = _pulls(github, attempt, base, wanted.branch) if branch is not None or changes else []
    pull = next((one for one in pulls if one.open), None)
    if not changes:
        done.says = f"{base.name} has it all"
        done.says += f"; {pull.url} has nothing to add any more and can be closed" if pull is not None else ""
        return
    right = branch if branch is not None and not branch.behind and branch.changes == changes else None
    comment = f"<!-- content {digest_of(changes)} -->"
    declined = [one for one in pulls if not one.open and not one.merged and (
        comment in one.body or (right is not None and one.sha == right.sha))]
    if pull is None and declined and not wanted.force:
        done.says = (f"{declined[0].url} proposed the same and was closed without merging: left alone"
                     " (open it again there, or set FORCE_BUILD=true for a new one)")
        return
    words = wanted.words(held)
    body = _text(pull.body if pull is not None else "", words, comment)
    if right is None:
        if branch is not None and not wanted.force:
            require_ours(github, branch, base)
        sha = commit(github, attempt, base, wanted.files, changes, words.message)
        move(github, attempt, wanted.branch, branch, sha, force=wanted.force)
        done.writes.append("branch")
    if pull is None:
        with github.told(attempt, "open a pull request"):
            made = github.repository.create_pull(base=base.name, head=wanted.branch, title=words.title, body=body)
            if not made.html_url:
                raise RetryableError(attempt.fault("the answer names no pull request",
                                                   Reason.GITHUB_MALFORMED, retry=True))
        done.says = f"opened {made.html_url}"
        done.writes.append("pull request")
        return
    if (pull.title, pull.body) != (words.title, body):
        with github.told(attempt, f"write the text of pull request {pull.number}"):
            pull.held.edit(title=words.title, body=body)
        done.writes.append("text")
    done.says = f"updated {pull.url}" if done.writes else f"{pull.url} is as it should be"


def _pulls(github: GitHub, attempt: Attempt, base: Base, branch: str) -> list[_Pull]:
    """The pull requests from our branch, the newest first. A fork's branch of that name is none of ours."""
    with github.told(attempt, "list the pull requests"):
        home = github.repository.full_name
        listed = github.repository.get_pulls(state="all", head=f"{home.partition('/')[0]}:{branch}", base=base.name)
        return [
            _Pull(one.number, one.html_url, one.state == "open", one.merged_at is not None, one.title,
                  one.body or "", one.head.sha, one)
            for one in islice(listed, _LATEST)
            if one.head.ref == branch and one.base.ref == base.name
            and one.head.repo is not None and one.head.repo.full_name == home
        ]


def _text(body: str, words: Proposal, comment: str) -> str:
    """The pull request's text: what people wrote, and our section."""
    room = LONGEST_BODY - len(with_section(outside(body).rstrip(), "")) - len(f"\n\n{comment}")
    text = with_section(body, f"{words.section(room).rstrip()}\n\n{comment}")
    if len(text) > LONGEST_BODY:
        raise FoundryError(
            f"the text of the pull request has {len(text)} characters, GitHub takes {LONGEST_BODY}",
            reason=Reason.PULL_TOO_LONG, hint="shorten your own text around kmod-foundry's section",
        )
    return text
