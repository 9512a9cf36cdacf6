"""Where the links of a tree lead, by their names alone: what is said holds wherever the tree is moved."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISLNK

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.untrusted import walk

_LONGEST = 2048  # bytes of a target and of where it leads
_MOST_PARTS = 100  # of a target
_MOST_LINKS = 40  # that lead from one to the next; Linux follows no more (path_resolution(7))


class Links:
    """The targets of all links in a tree, by path.

    Each is followed once, so that all together take as many steps as their targets have parts. No step may go above
    the top, not even on the way back into the tree: it has another name elsewhere.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = targets
        self._ends: dict[str, tuple[str, int] | None] = {}  # where they lead, over how many; None: not known yet

    def require_inside(self, what: str) -> None:
        """FoundryError (``package-unsafe-link``) for the first that leaves the tree, or never ends."""
        for name in self._targets:
            if self.end(name) is None:
                raise FoundryError(
                    f"{what} has a link {name} that leads outside or in a circle: {self._targets[name][:200]!r}",
                    reason=Reason.PACKAGE_UNSAFE_LINK,
                )

    def end(self, name: str) -> str | None:
        """Where the link leads, which may be missing; None for outside, a circle, or over too many others."""
        found = self._end(name, _MOST_LINKS)
        return None if found is None else found[0]

    def _end(self, name: str, most: int) -> tuple[str, int] | None:
        if name not in self._ends:
            self._ends[name] = None  # a circle comes here again
            if most > 0 and _is_plain(self._targets[name]):
                self._ends[name] = self._follow(name, most)
        known = self._ends[name]
        return known if known is not None and known[1] <= most else None

    def _follow(self, name: str, most: int) -> tuple[str, int] | None:
        at, links = posixpath.dirname(name), 1
        for part in self._targets[name].split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                if not at:
                    return None
                at = posixpath.dirname(at)
                continue
            at = posixpath.join(at, part)
            if at in self._targets:
                found = self._end(at, most - links)
                if found is None:
                    return None
                at, links = found[0], links + found[1]
            if len(at) > _LONGEST:
                return None
        return at, links


def require_tree(root: Path, place: str) -> None:
    """The folder `place` below `root` is one by itself: no link leads to it, and none in it out of it.

    Raises FoundryError ``package-unsafe-link``.
    """
    if is_behind_link(place, root):
        raise FoundryError(f"the package's sources are not in {place}: a link on the way leads elsewhere",
                           reason=Reason.PACKAGE_UNSAFE_LINK)
    tree = root / place
    targets = {one.path: os.readlink(tree / one.path) for one in walk(tree) if S_ISLNK(one.stat.st_mode)}
    Links(targets).require_inside("the package")


def is_behind_link(path: str, tree: Path) -> bool:
    """Whether a link in `tree` is on the way to the path, or at its end."""
    parts = path.split("/")
    return any((tree / "/".join(parts[:number + 1])).is_symlink() for number in range(len(parts)))


def _is_plain(target: str) -> bool:
    return bool(target) and not target.startswith("/") and target.isprintable() and (
        len(os.fsencode(target)) <= _LONGEST and target.count("/") <= _MOST_PARTS)
