"""The key of a cell: a hash over everything that its output depends on.

A cell is done when its record bears its current key. The parts are kept beside
the hash, so that `doit status` can say which input changed. Their form is
frozen by tests/unit/golden: a change rebuilds every user's library.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from foundry.base.files import canonical_json, sha256_bytes, sha256_file
from foundry.config.family import Family
from foundry.config.load import Config
from foundry.config.locks import MainPackage
from foundry.config.patches import Patch, applying
from foundry.config.recipe import BUILD_SCRIPT, Recipe, complete
from foundry.plan.cells import Cell
from foundry.plan.labels import make_labels
from foundry.plan.why import BASE_NOT_LOCKED, NOT_FETCHED, Why

# What people call the parts of a key.
PART_NAMES = {
    "package": "the driver package", "patches": "the patches that apply", "build_script": "the build script",
    "toolkit": "the toolkit", "kernel": "the kernel", "make": "the make settings", "strip": "the strip setting",
    "modules": "the list of modules", "containerfile": "the Containerfile", "licenses": "the licences",
    "base": "the base image", "labels": "the labels", "platform": "the platform", "firmware": "the firmware",
}

Parts = dict[str, str]


@dataclass(frozen=True)
class CellKey:
    """A cell's keys. `key` is that of the image and the cell, `module` of the compile alone."""

    key: str
    module: str
    module_parts: Parts
    parts: Parts
    labels: Mapping[str, str]


class FileHashes:
    """SHA-256 of files below the root, each read once as long as it does not change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def get(self, path: str) -> str:
        """The hash of a file, given relative to the root; OSError when it can't be read."""
        full = os.path.join(self.root, path)
        stat = os.stat(full)
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = (mark, sha256_file(full))
            self._known[path] = known
        return known[1]


class HashSnapshot(FileHashes):
    """The hashes as of one moment: each file is looked at once, however many cells ask for it."""

    def __init__(self, hashes: FileHashes) -> None:
        super().__init__(hashes.root)
        self._hashes = hashes
        self._seen: dict[str, str] = {}

    def get(self, path: str) -> str:
        """The hash of a file, given relative to the root; OSError when it can't be read."""
        if path not in self._seen:
            self._seen[path] = self._hashes.get(path)
        return self._seen[path]


def cell_key(cell: Cell, config: Config, hashes: FileHashes) -> CellKey | Why:
    """The key of a cell, or why it can't be known yet."""
    lock = config.locks.of(cell.family.name)
    package, base = lock.packages.get(cell.driver), lock.base
    if base is None:
        return BASE_NOT_LOCKED
    if package is None or not complete(cell.family, package):
        return NOT_FETCHED
    module = _module_parts(cell, package, config.recipe(cell.family, cell.driver), hashes)
    labels = make_labels(cell, package, base, config.settings.source_url)
    image = {
        "containerfile": hashes.get(cell.family["containerfile"]),
        "licenses": _licenses_hash(tuple((file, hashes.get(file)) for file in cell.family["licenses"])),
        "base": base.digest, "labels": _hash(labels), "platform": f"linux/{cell.arch}",
    }
    parts = module | image
    return CellKey(key_of(parts), key_of(module), module, parts, labels)


def key_of(parts: Mapping[str, str]) -> str:
    """The key that these parts make."""
    return _hash({"schema": 1, **parts})


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Which parts of a key differ, sorted: ``("build_script", "toolkit")``."""
    return tuple(name for name in sorted(now.keys() | before.keys()) if before.get(name) != now.get(name))


def part_words(parts: Iterable[str]) -> str:
    """Parts of a key as words: ``the build script, the toolkit``."""
    return ", ".join(PART_NAMES.get(name, name) for name in parts)


def _module_parts(cell: Cell, package: MainPackage, recipe: Recipe, hashes: FileHashes) -> Parts:
    family = cell.family
    firmware = {"firmware": firmware_hash(family, package)} if "firmware" in family.data else {}
    return {
        "package": package.content_sha256,
        "patches": patches_hash(applying(family.patches, cell.driver, cell.kernel)),
        "build_script": hashes.get(BUILD_SCRIPT),
        "toolkit": cell.toolkit_digest,
        "kernel": cell.kernel,
        "make": made_hash(recipe),
        "modules": modules_hash(recipe),
        "strip": recipe.strip,
        **firmware,
    }


# What many cells share is hashed once.


@lru_cache(maxsize=1024)
def _licenses_hash(licenses: tuple[tuple[str, str], ...]) -> str:
    return _hash({Path(file).name: content for file, content in licenses})


@lru_cache(maxsize=1024)
def patches_hash(patches: tuple[Patch, ...]) -> str:
    """The part of a key that stands for patches in their order."""
    return _hash([patch.as_key() for patch in patches])


@lru_cache(maxsize=1024)
def made_hash(recipe: Recipe) -> str:
    """The part of a key that stands for how modules are made."""
    return _hash([recipe.root, list(recipe.make), list(recipe.pre_build)])


@lru_cache(maxsize=1024)
def modules_hash(recipe: Recipe) -> str:
    """The part of a key that stands for the modules, their places and their order."""
    return _hash([[[one.name, one.file, one.destination] for one in recipe.modules], list(recipe.loading_order)])


def firmware_hash(family: Family, package: MainPackage) -> str:
    """The part of a key that stands for firmware: what is taken of which package, and where it goes."""
    contents = {role: one.content_sha256 for role, one in package.further.items()}
    contents[""] = package.content_sha256
    return _hash([[contents[one.get("package", "")], one["from"], one["to"]] for one in family["firmware"]])


def _hash(value: object) -> str:
    return sha256_bytes(canonical_json(value))
