"""Writes files below one fresh folder and nowhere else, and no more of them than a budget allows.

The folder is new and private to the caller, so what is in it is known without
asking the disk: no name is written twice, and nothing through a link. Links are
judged by names alone, so that what is said of them holds wherever the folder is moved.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.links import Links

_NAME_LIMIT = 255  # bytes of a path's part, NAME_MAX
_DEPTH_LIMIT = 100  # folders in each other
_PATH_LIMIT = 2048  # bytes, leaves room for the folder below PATH_MAX


def safe_name(name: str) -> str:
    """`name` if it is a plain relative path; FoundryError (``package-unsafe-path``) otherwise."""
    parts = name.split("/")
    raw = os.fsencode(name)
    if (
        any(part in ("", ".", "..") for part in parts)
        or not name.isprintable()
        or len(parts) > _DEPTH_LIMIT
        or len(raw) > _PATH_LIMIT
        or any(len(os.fsencode(part)) > _NAME_LIMIT for part in parts)
    ):
        raise FoundryError(f"the package holds a file with an unsafe path: {name[:200]!r}",
                           reason=Reason.PACKAGE_UNSAFE_PATH)
    return name


class Tree:
    """A folder that is being filled; all names are relative and checked by `safe_name`.

    A hard link counts as a copy, as everything that reads the folder later takes it for a file of its own.
    """

    def __init__(self, root: Path, budget: Budget) -> None:
        self._root, self._budget = str(root), budget
        os.mkdir(self._root)
        self._folders = {""}
        self._files: dict[str, int] = {}  # with their bytes
        self._links: dict[str, str] = {}

    def folder(self, name: str) -> None:
        """Make a folder and those above it."""
        if name in self._folders:
            return
        self._claim(name)
        self._folders.add(name)
        os.mkdir(self._path(name))

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool, mtime: int) -> None:
        """Write a new file, with mode 0755 or 0644 and the mtime in seconds."""
        self._claim(name)
        self._files[name] = 0
        handle = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            for chunk in chunks:
                self._budget.keep(len(chunk))
                self._files[name] += len(chunk)
                stream.write(chunk)
            stream.flush()
            os.fchmod(handle, 0o755 if executable else 0o644)
            os.utime(handle, (mtime, mtime))

    def symlink(self, name: str, target: str) -> None:
        """Make a link; FoundryError (``package-unsafe-link``) for one that can't stay inside: `close` says the rest."""
        self._claim(name)
        self._links[name] = target
        Links({name: target}).require_inside(self._budget.what)
        os.symlink(target, self._path(name))

    def hardlink(self, name: str, existing: str) -> None:
        """A second name for a file that was written."""
        if existing not in self._files:
            raise self._budget.fault(f"has a hard link to {existing}, which is no file before it")
        self._claim(name)
        self._budget.keep(self._files[existing])
        self._files[name] = self._files[existing]
        os.link(self._path(existing), self._path(name), follow_symlinks=False)

    def close(self) -> None:
        """Set the folders' modes; FoundryError (``package-unsafe-link``) for a link that does not stay inside."""
        for name in self._folders:
            os.chmod(self._path(name), 0o755)
        Links(self._links).require_inside(self._budget.what)

    def _claim(self, name: str) -> None:
        parent = posixpath.dirname(name)
        if name in self._folders or name in self._files or name in self._links:
            raise self._budget.fault(f"holds {name} twice")
        if parent in self._files or parent in self._links:
            raise FoundryError(f"{self._budget.what} writes {name} through {parent}", reason=Reason.PACKAGE_UNSAFE_PATH)
        self._budget.entry()
        self.folder(parent)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
