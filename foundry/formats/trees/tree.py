"""Writes files below one fresh folder and nowhere else.

The folder is new and private to the caller, so what is in it is known without
asking the disk: no name is written twice, and nothing through a link.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

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
    """A folder that is being filled; all names are relative and checked by `safe_name`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        os.mkdir(self._root)
        self._folders = {""}
        self._others: set[str] = set()
        self._links: dict[str, str] = {}

    def folder(self, name: str) -> None:
        """Make a folder and those above it."""
        if name in self._folders:
            return
        self._claim(name)
        self._others.discard(name)
        self._folders.add(name)
        os.mkdir(self._path(name))

    @contextmanager
    def file(self, name: str, executable: bool, mtime: int) -> Iterator[BinaryIO]:
        """A new file to write to, with mode 0755 or 0644 and the mtime in seconds."""
        self._claim(name)
        handle = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(handle, 0o755 if executable else 0o644)
            os.utime(handle, (mtime, mtime))

    def symlink(self, name: str, target: str) -> None:
        """Make a link that stays inside; FoundryError (``package-unsafe-link``) for one that does not."""
        end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if target.startswith("/") or "\0" in target or end == ".." or end.startswith("../"):
            raise self._astray(name, target)
        self._claim(name)
        self._links[name] = target
        os.symlink(target, self._path(name))

    def hardlink(self, name: str, existing: str) -> None:
        """A second name for a file that was written."""
        self._claim(name)
        os.link(self._path(existing), self._path(name), follow_symlinks=False)

    def close(self) -> None:
        """Set the folders' modes and follow every link to its end, which must be inside; it may be missing."""
        for name in self._folders:
            os.chmod(self._path(name), 0o755)
        root = os.path.realpath(self._root)
        for name, target in self._links.items():
            end = os.path.realpath(self._path(name))
            if (end != root and not end.startswith(root + "/")) or _loops(end):
                raise self._astray(name, target)

    def _claim(self, name: str) -> None:
        parent = posixpath.dirname(name)
        if name in self._folders or name in self._others:
            raise FoundryError(f"the package holds {name} twice", reason=Reason.RPM_DAMAGED)
        if parent in self._others:
            raise FoundryError(f"the package writes {name} through {parent}", reason=Reason.PACKAGE_UNSAFE_PATH)
        self.folder(parent)
        self._others.add(name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @staticmethod
    def _astray(name: str, target: str) -> FoundryError:
        return FoundryError(
            f"the package's link {name} leads outside or in a circle: {target[:200]!r}",
            reason=Reason.PACKAGE_UNSAFE_LINK
        )


def _loops(path: str) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
