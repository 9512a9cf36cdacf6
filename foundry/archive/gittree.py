"""Trees of git as plain mappings: what a commit holds, what differs between two, one digest over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

FILE, PROGRAM, LINK = "100644", "100755", "120000"
MODES = (FILE, PROGRAM, LINK)
ADDED, MODIFIED, DELETED = "A", "M", "D"


class Blob(NamedTuple):
    """One entry of a tree: its mode as git writes it (`MODES`), and the id of its content."""

    mode: str
    oid: str


Listing = Mapping[str, Blob]  # by path


def tree_id(listing: Listing, algorithm: str) -> str:
    """The id of the tree that holds just these files (git's Documentation/gitformat-pack and builtin/mktree.c)."""
    here: dict[bytes, tuple[str, str]] = {}
    below: dict[bytes, dict[str, Blob]] = {}
    for path, blob in listing.items():
        name, slash, rest = path.partition("/")
        raw = name.encode("utf-8", "surrogateescape")
        if slash:
            below.setdefault(raw, {})[rest] = blob
        else:
            here[raw] = (blob.mode, blob.oid)
    for raw, inside in below.items():
        here[raw] = ("40000", tree_id(inside, algorithm))
    lines = [
        mode.encode() + b" " + raw + b"\0" + bytes.fromhex(oid)
        for raw, (mode, oid) in sorted(here.items(), key=lambda one: one[0] + b"/" * (one[1][0] == "40000"))
    ]
    data = b"".join(lines)
    return hashlib.new(algorithm, b"tree %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def parse_listing(raw: bytes) -> dict[str, Blob]:
    """What ``git ls-tree -r -z`` prints; ValueError for entries that are no files (submodules)."""
    found: dict[str, Blob] = {}
    for line in raw.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        mode, kind, oid = facts.decode("ascii").split(" ")
        if kind != "blob":
            raise ValueError(f"{path.decode(errors='replace')} is a {kind}")
        found[path.decode("utf-8", "surrogateescape")] = Blob(mode, oid)
    return found


def changes(old: Listing, new: Listing) -> list[tuple[str, str]]:
    """``A``, ``M`` or ``D`` and the path of each file that differs, sorted by path."""
    names = sorted(old.keys() | new.keys())
    return [
        (ADDED if name not in old else DELETED if name not in new else MODIFIED, name)
        for name in names if old.get(name) != new.get(name)
    ]


def tree_sha256(files: Mapping[str, tuple[str, str]]) -> str:
    """One hex SHA-256 over (mode, hex SHA-256 of the content) by path: git's own ids may be SHA-1."""
    digest = hashlib.sha256()
    for path, (mode, content) in sorted(files.items()):
        digest.update(f"{mode} {content} {path}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
