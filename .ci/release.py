"""`make release VERSION=X.Y.Z`: the version's section in CHANGELOG.md, a commit and an annotated tag.

The tag is ``vX.Y.Z``; releases of drivers have other tags (``FAMILY-driver-VERSION``). Nothing is pushed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
UNRELEASED = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)


def release(version: str) -> str:
    """Make the release; its tag. Exits with a sentence where something is in the way, before anything is changed."""
    tag = f"v{version}"
    if not VERSION.fullmatch(version):
        sys.exit(f"release: {version or 'nothing'} is no version: make release VERSION=X.Y.Z")
    named = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if named != version:
        sys.exit(f"release: pyproject.toml has version {named}, not {version}: change it by a pull request first")
    if _git("tag", "--list", tag):
        sys.exit(f"release: there is a tag {tag} already")
    if dirty := _git("status", "--porcelain"):
        sys.exit(f"release: the tree is not clean:\n{dirty}")
    text, notes = changelog(CHANGELOG.read_text(encoding="utf-8"), version, f"{datetime.now(UTC):%Y-%m-%d}")
    if subprocess.run(["make", "--no-print-directory", "lint"], check=False).returncode:
        sys.exit("release: make lint fails")
    CHANGELOG.write_text(text, encoding="utf-8")
    _git("commit", "--quiet", "--message", f"Release {version}", "--", str(CHANGELOG))
    _git("tag", "--annotate", "--cleanup=whitespace", "--message", f"kmod-foundry {version}\n\n{notes}", tag)
    return tag


def changelog(text: str, version: str, day: str) -> tuple[str, str]:
    """The changelog with what is unreleased under `version`, and that part of it. Exits where nothing is unreleased."""
    found = UNRELEASED.search(text)
    if not found or not (notes := found[1].strip()):
        sys.exit(f"release: {CHANGELOG} has nothing under Unreleased")
    if f"## [{version}]" in text:
        sys.exit(f"release: {CHANGELOG} has a section {version} already")
    section = f"## [Unreleased]\n\n## [{version}] - {day}\n\n{notes}\n"
    rest = text[found.end():]
    return text[:found.start()] + section + (f"\n{rest}" if rest else ""), notes


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"release: git {args[0]} fails")
    return done.stdout.strip()


if __name__ == "__main__":
    MADE = release(" ".join(sys.argv[1:]))
    print(f"{MADE} is made; publish it: git push --atomic origin HEAD {MADE}")
