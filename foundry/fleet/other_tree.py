"""The configuration of another commit, read with this version's schemas, in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.archive.git import CALLERS, OPTIONS, Git
from foundry.archive.gittree import LINK, parse_listing
from foundry.base.errors import UsageError
from foundry.base.files import scratch
from foundry.base.process import run
from foundry.base.schema import SCHEMAS
from foundry.config.load import Config, load_config
from foundry.plan.state import States

_AT_ONCE = 200  # files that are in memory


@contextmanager
def states_of(config: Config, commit: str) -> Iterator[States]:
    """The states of a commit's cells, as if nothing were built; what is tracked nowhere is taken from here.

    Raises UsageError where git knows no such commit, ConfigError for a configuration that this version can't read.
    """
    with scratch(Path(tempfile.gettempdir()), "kmod-foundry-commit") as tree:
        _check_out(config.root, commit, tree)
        shutil.rmtree(tree / SCHEMAS, ignore_errors=True)
        for own in (SCHEMAS, Path(config.settings.catalogue), config.locks.folder):
            _take(config.root / own, tree / own)
        states = States(load_config(tree, config.profile, keep=False))
        states.bare = True
        yield states


def _check_out(root: Path, commit: str, dest: Path) -> None:
    """Write the files that the commit has below `root`: its objects as they are, without index, hooks and filters."""
    place = run(["git", "-C", str(root), *OPTIONS, "rev-parse", "--absolute-git-dir", "--show-prefix"],
                check=False, unset=CALLERS)
    folder, _, below = place.stdout.partition("\n")
    git = Git(Path(folder))
    name = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}", check=False)
    if place.returncode != 0 or name.returncode != 0:
        raise UsageError(f"git knows no commit {commit} here",
                         hint="in a shallow clone, fetch it first: `git fetch --deepen=1`, `fetch-depth: 2`")
    tree = f"{name.output.decode().strip()}:{below.strip()}"
    entries = git.run("ls-tree", "-r", "-z", tree, check=False).output.split(b"\0")  # none: it had no such folder
    files = parse_listing(b"".join(entry + b"\0" for entry in entries if entry.split(b" ")[1:2] == [b"blob"]))
    names = list(files)
    for first in range(0, len(names), _AT_ONCE):
        some = names[first:first + _AT_ONCE]
        contents = git.objects([files[path].oid for path in some])
        for path, (_, content) in zip(some, contents, strict=True):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            if files[path].mode == LINK:
                (dest / path).symlink_to(content.decode("utf-8", "surrogateescape"))
            else:
                (dest / path).write_bytes(content)


def _take(source: Path, dest: Path) -> None:
    if source.is_dir() and not dest.exists():
        shutil.copytree(source, dest)
    elif source.is_file() and not dest.exists():
        dest.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, dest)
