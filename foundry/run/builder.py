"""Where a run takes place and what it is a run of: what provenance says of its builder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.process import run

WORKSTATION = "urn:kmod-foundry:workstation"
_SECONDS = 20.0


def builder() -> dict[str, str]:
    """The builder's URI as `id`; of a job of GitHub Actions, which its workflow is, also the run's as `invocation`."""
    server, repository = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
    workflow, number = os.environ.get("GITHUB_WORKFLOW_REF", ""), os.environ.get("GITHUB_RUN_ID", "")
    if not all((os.environ.get("GITHUB_ACTIONS"), server, repository, workflow, number)):
        return {"id": WORKSTATION}
    attempt = os.environ.get("GITHUB_RUN_ATTEMPT", "1")
    return {
        "id": f"{server}/{workflow}",
        "invocation": f"{server}/{repository}/actions/runs/{number}/attempts/{attempt}",
    }


@cache
def commit(root: Path) -> tuple[str, bool]:
    """The commit of the checkout, and whether a tracked file differs from it; empty where git does not know."""
    try:
        found = run(["git", "-C", str(root), "rev-parse", "--verify", "HEAD"], timeout=_SECONDS, check=False)
        if found.returncode != 0:
            return "", False
        status = run(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"], timeout=_SECONDS,
                     check=False)
    except FoundryError:  # no git, or a folder that it hangs on
        return "", False
    return found.stdout.strip(), status.returncode != 0 or bool(status.stdout.strip())
