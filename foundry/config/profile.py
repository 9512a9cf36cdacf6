"""Which profile a run has, and why. Finding out runs nothing and makes no network request.

The order is DESIGN's: `KMOD_PROFILE`; `github` in Actions; what this checkout
chose; `ecr` where ECR or AWS credentials are configured; else `local`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundry.base.environment import flag
from foundry.base.errors import UsageError
from foundry.base.files import read_file

CHOICE_FILE = ".kmod-profile"
_AWS_VARIABLES = ("KMOD_ECR_REPOSITORY_NAME", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")


@dataclass(frozen=True)
class Profile:
    """A profile's name and the sentence that says why it applies."""

    name: str
    why: str


def resolve(root: Path, environ: Mapping[str, str] = os.environ) -> Profile:
    """The profile of this run; UsageError when there is no such profile."""
    found = _first(root, environ)
    known = names(root)
    if found.name not in known:
        raise UsageError(f"there is no profile {found.name!r} ({found.why}); there are {', '.join(known) or 'none'}")
    return found


def names(root: Path) -> list[str]:
    """The profiles that there are: the names of the files in config/profiles."""
    return sorted(path.stem for path in (root / "config" / "profiles").glob("*.yaml"))


def _first(root: Path, environ: Mapping[str, str]) -> Profile:
    if name := environ.get("KMOD_PROFILE", "").strip():
        return Profile(name, "KMOD_PROFILE is set")
    if flag("GITHUB_ACTIONS", environ):
        return Profile("github", "GITHUB_ACTIONS is set")
    if name := chosen(root):
        return Profile(name, "chosen for this checkout (`doit profile`)")
    for variable in _AWS_VARIABLES:
        if environ.get(variable):
            return Profile("ecr", f"{variable} is set")
    for path in _aws_files(environ):
        if path.is_file():
            return Profile("ecr", f"AWS configuration exists ({path.name})")
    return Profile("local", "nothing else is configured")


def chosen(root: Path) -> str:
    """The profile that this checkout chose, or an empty string."""
    try:
        return read_file(root / CHOICE_FILE).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _aws_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME", "/nonexistent"))
    return [
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials"),
        Path(environ.get("AWS_CONFIG_FILE") or home / ".aws/config"),
    ]
