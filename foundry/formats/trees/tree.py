"""Writes files below one fresh folder and nowhere else.

The folder is new and private to the caller, so what is in it is known without
asking the disk: no name is written twice, and nothing through a link. Links are
judged by names alone, so that what is said of them holds wherever the folder is moved.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISLNK
from typing import BinaryIO

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.untrusted import walk

_NAME_LIMIT = 255  # bytes of a path's part, NAME_MAX
_DEPTH_LIMIT = 100  # folders in each other
_PATH_LIMIT = 2048  # bytes, leaves room for the folder below PATH_MAX
_MOST_HOPS = 40  # links on the way to one, as Linux follows (MAXSYMLINKS)


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
        """Make a link; `close` judges where it leads."""
        if "\0" in target:
            raise _astray(name, target)
        self._claim(name)
        self._links[name] = target
        os.symlink(target, self._path(name))

    def hardlink(self, name: str, existing: str) -> None:
        """A second name for a file that was written."""
        self._claim(name)
        os.link(self._path(existing), self._path(name), follow_symlinks=False)

    def close(self) -> None:
        """Set the folders' modes; FoundryError (``package-unsafe-link``) for a link that does not stay inside."""
        for name in self._folders:
            os.chmod(self._path(name), 0o755)
        _require_inside(self._links)

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


def require_tree(root: Path, place: str) -> None:
    """The folder `place` below `root` is one by itself: no link leads to it, and none in it out of it.

    Raises FoundryError ``package-unsafe-link``.
    """
    if is_behind_link(place, root):
        raise FoundryError(f"the package's sources are not in {place}: a link on the way leads elsewhere",
                           reason=Reason.PACKAGE_UNSAFE_LINK)
    tree = root / place
    _require_inside({one.path: os.readlink(tree / one.path) for one in walk(tree) if S_ISLNK(one.stat.st_mode)})


def is_behind_link(path: str, tree: Path) -> bool:
    """Whether a link in `tree` is on the way to the path, or at its end."""
    parts = path.split("/")
    return any((tree / "/".join(parts[:number + 1])).is_symlink() for number in range(len(parts)))


def end_of_link(name: str, links: Mapping[str, str]) -> str | None:
    """Where the link `name` of a tree leads, which may be missing; None for one that leaves the tree on the way.

    `links` are the targets of all links in the tree, by path. No step may go above the top, not even on the way back
    into it: the tree has another name elsewhere. A circle never ends, so it leads nowhere, too.
    """
    done: list[str] = []
    ahead, hops = name.split("/")[::-1], 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not done:
                return None
            done.pop()
        elif part not in ("", "."):
            done.append(part)
            target = links.get("/".join(done))
            if target is not None:
                hops += 1
                if target.startswith("/") or hops > _MOST_HOPS:
                    return None
                done.pop()
                ahead += reversed(target.split("/"))
    return "/".join(done)


def _require_inside(links: Mapping[str, str]) -> None:
    for name, target in links.items():
        if end_of_link(name, links) is None:
            raise _astray(name, target)


def _astray(name: str, target: str) -> FoundryError:
    return FoundryError(f"the package's link {name} leads outside or in a circle: {target[:200]!r}",
                        reason=Reason.PACKAGE_UNSAFE_LINK)
