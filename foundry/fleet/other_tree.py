"""The configuration of another commit, read with this version's schemas, in a folder that is gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.base.errors import UsageError
from foundry.base.files import scratch
from foundry.base.process import Completed, run
from foundry.base.schema import SCHEMAS
from foundry.config.load import Config, load_config
from foundry.plan.state import States

_SECONDS = 300.0


@contextmanager
def states_of(config: Config, commit: str) -> Iterator[States]:
    """The states of a commit's cells, as if nothing were built; what is tracked nowhere is taken from here.

    Raises UsageError where git knows no such commit, ConfigError for a configuration that this version can't read.
    """
    root = config.root.absolute()
    name = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if name.returncode != 0:
        raise UsageError(f"git knows no commit {commit} here",
                         hint="in a shallow clone, fetch it first: `git fetch --deepen=1`, `fetch-depth: 2`")
    below = _git(root, "rev-parse", "--show-prefix").stdout.strip()
    with scratch(Path(tempfile.gettempdir()), "kmod-foundry-commit") as folder:
        index = {"GIT_INDEX_FILE": str(folder / "index")}
        _git(root, "read-tree", name.stdout.strip(), env=index, check=True)
        _git(root, "checkout-index", "--all", f"--prefix={folder}/tree/", env=index, check=True)
        tree = folder / "tree" / below
        tree.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(tree / SCHEMAS, ignore_errors=True)
        shutil.copytree(root / SCHEMAS, tree / SCHEMAS)
        for own in (Path(config.settings.catalogue), config.locks.folder):
            _take(root / own, tree / own)
        states = States(load_config(tree, config.profile, keep=False))
        states.bare = True
        yield states


def _take(source: Path, dest: Path) -> None:
    if source.is_dir() and not dest.exists():
        shutil.copytree(source, dest)
    elif source.is_file() and not dest.exists():
        dest.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, dest)


def _git(root: Path, *arguments: str, env: dict[str, str] | None = None, check: bool = False) -> Completed:
    return run(["git", "-C", str(root), *arguments], env=env, timeout=_SECONDS, check=check)
