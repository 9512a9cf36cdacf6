"""The key of a cell: a hash over everything that its output depends on.

A cell is done when its record bears its current key. The parts are kept beside
the hash, so that `doit status` can say which input changed. Their form is
frozen by tests/unit/golden: a change rebuilds every user's library.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.files import canonical_json, read_file, sha256_bytes, sha256_file
from foundry.config.family import Family
from foundry.config.load import Config
from foundry.config.locks import MainPackage
from foundry.config.patches import Patch, applying
from foundry.config.recipe import BUILD_SCRIPT, Recipe, complete
from foundry.plan.cells import Cell
from foundry.plan.changes import Value
from foundry.plan.labels import DriverLabels
from foundry.plan.releases import asset_url
from foundry.plan.why import BASE_NOT_LOCKED, NO_CERTIFICATE, NOT_FETCHED, Why

# The other parts are of the module, too.
_OF_THE_IMAGE = {"containerfile", "licenses", "base", "labels", "platform", "certificate"}
BOOT_SCRIPTS = ("container/boot/init.sh", "container/boot/take.sh")
_BOOT_FORM = 1  # of what is looked at in a boot; another one has every cell booted again

Parts = dict[str, str]


@dataclass(frozen=True, slots=True)
class CellKey:
    """A cell's keys. `key` is that of the image and the cell, `module` of the compile alone.

    `proof_parts` are what the proof of its modules depends on.
    """

    key: str
    module: str
    parts: Parts
    proof_parts: Parts
    cell: Cell = field(repr=False, compare=False)
    driver: DriverKeys = field(repr=False, compare=False)

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels, but the key's own."""
        return self.driver.labels.of(self.cell)

    def value(self, part: str) -> Value | None:
        """What a part that is a hash is of, as far as people can read it; a file is read as it is now."""
        return self.driver.value_of(self.cell, part)

    @property
    def proof(self) -> str:
        """The key of the proof that the modules load."""
        return key_of(self.proof_parts)

    @property
    def signed_parts(self) -> Parts:
        """What the signed modules depend on; without a certificate they are not signed."""
        return {name: part for name, part in self.proof_parts.items() if name != "boot"}

    @property
    def certificate(self) -> str:
        """The SHA-256 of the certificate whose key signs the modules; empty: they are not signed."""
        return self.proof_parts.get("certificate", "")

    @property
    def module_parts(self) -> Parts:
        """The parts that the compile alone depends on."""
        return {name: part for name, part in self.parts.items() if name not in _OF_THE_IMAGE}


class FileHashes:
    """SHA-256 of files below the root, each read once as long as it does not change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def get(self, path: str, stat: os.stat_result | None = None) -> str:
        """The hash of a file, given relative to the root; OSError when it can't be read."""
        mark = _mark(stat or os.stat(self._full(path)))
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = self._known[path] = mark, sha256_file(self._full(path))
        return known[1]

    def read(self, path: str) -> bytes:
        """A small file's content, whose hash is known from then on; OSError when it can't be read."""
        handle = os.open(self._full(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            stat = os.fstat(handle)
            content = os.read(handle, stat.st_size)
        finally:
            os.close(handle)
        self._known[path] = _mark(stat), sha256_bytes(content)
        return content

    def _full(self, path: str) -> str:
        return os.path.join(self.root, path)


def _mark(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class DriverKeys:
    """The keys of one driver's cells, as of one moment: what the cells share is looked at and hashed once."""

    def __init__(self, config: Config, family: Family, driver: str, hashes: FileHashes) -> None:
        """Raises OSError when a file that keys depend on can't be read, and FoundryError as `DriverLabels` does."""
        self._config, self._family, self._driver = config, family, driver
        self._patches: dict[tuple[Patch, ...], str] = {}
        self.unknown: Why | None = None
        lock = config.locks.of(family.name)
        package, base = lock.packages.get(driver), lock.base
        if base is None:
            self.unknown = BASE_NOT_LOCKED
            return
        if package is None or not complete(family, package):
            self.unknown = NOT_FETCHED
            return
        certificate = config.certificate
        if config.settings.signing.key and not certificate:
            self.unknown = NO_CERTIFICATE
            return
        recipe = config.recipe(family, driver)
        tarball = asset_url(config.settings, family.name, driver, package.name)
        self.labels = DriverLabels(family, driver, package, base, config.settings.source_url, tarball)
        self._module = {
            "package": package.content_sha256, "build_script": hashes.get(BUILD_SCRIPT), "make": made_hash(recipe),
            "modules": modules_hash(recipe), "strip": recipe.strip,
            **({"firmware": firmware_hash(family, package)} if "firmware" in family.data else {}),
        }
        self._signing = {"certificate": certificate} if certificate else {}
        self._image = {
            "containerfile": hashes.get(family["containerfile"]), "base": base.digest,
            "licenses": _hash({Path(file).name: hashes.get(file) for file in family["licenses"]}), **self._signing,
        }
        self._boot = _hash([_BOOT_FORM, [hashes.get(file) for file in BOOT_SCRIPTS], family.data.get("boot", {}),
                            config.settings.secure_boot])

    def of(self, cell: Cell) -> CellKey | Why:
        """The key of one of the driver's cells, or why it can't be known yet."""
        if self.unknown is not None:
            return self.unknown
        module = {**self._module, "patches": self._patches_of(cell), "toolkit": cell.toolkit_digest,
                  "kernel": cell.kernel}
        parts = {**module, **self._image, "labels": _hash(self.labels.of(cell)), "platform": f"linux/{cell.arch}"}
        made = key_of(module)
        return CellKey(key_of(parts), made, parts, {"module": made, **self._signing, "boot": self._boot}, cell, self)

    def value_of(self, cell: Cell, part: str) -> Value | None:
        """As `CellKey.value`."""
        recipe, family, root = self._config.recipe(self._family, self._driver), self._family, self._config.root
        found: dict[str, Callable[[], Value]] = {
            "patches": lambda: patch_lines(applying(family.patches, self._driver, cell.kernel)),
            "build_script": lambda: self._text(BUILD_SCRIPT),
            "containerfile": lambda: self._text(family["containerfile"]),
            "licenses": lambda: {file: sha256_file(root / file) for file in family["licenses"]},
            "make": lambda: {"folder": recipe.root, "command": shlex.join(recipe.make),
                             "before it": shlex.join(recipe.pre_build)},
            "modules": lambda: {**{one.name: f"{one.file} {one.destination}".strip() for one in recipe.modules},
                                "loading order": " ".join(recipe.loading_order)},
            "labels": lambda: self.labels.of(cell),
            "firmware": lambda: {one["to"]: f"{one['from']} {one.get('package', '')}".strip()
                                 for one in family.data.get("firmware", ())},
        }
        return found[part]() if part in found else None

    def _text(self, file: str) -> str:
        return read_file(self._config.root / file).decode(errors="replace")

    def _patches_of(self, cell: Cell) -> str:
        patches = applying(self._family.patches, self._driver, cell.kernel)
        found = self._patches.get(patches)
        if found is None:
            found = self._patches[patches] = patches_hash(patches)
        return found


def cell_key(cell: Cell, config: Config, hashes: FileHashes) -> CellKey | Why:
    """The key of one cell, or why it can't be known yet."""
    return DriverKeys(config, cell.family, cell.driver, hashes).of(cell)


def key_of(parts: Mapping[str, str]) -> str:
    """The key that these parts make."""
    return _hash({"schema": 1, **parts})


def patch_lines(patches: Iterable[Patch]) -> dict[str, list[str]]:
    """Patches for people: the lines that each takes out and puts in, by its id."""
    return {patch.id: [
        text for edit in patch.edits for text in (
            f"{edit.file}, {edit.matches} times:", *(f"- {old}" for old in edit.find.splitlines()),
            *(f"+ {new}" for new in edit.replace.splitlines()))
    ] for patch in patches}


def patches_hash(patches: tuple[Patch, ...]) -> str:
    """The part of a key that stands for patches in their order."""
    return _hash([patch.as_key() for patch in patches])


def made_hash(recipe: Recipe) -> str:
    """The part of a key that stands for how modules are made."""
    return _hash([recipe.root, list(recipe.make), list(recipe.pre_build)])


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
