"""Locks: which content a family's packages must have, what they say of themselves, and the base image.

The classes are schemas/lock.schema.json, field by field.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundry.base.documents import as_document
from foundry.base.filelock import locked
from foundry.base.files import pretty_json, read_file, write_atomic
from foundry.base.schema import ValidationCache
from foundry.config.module import Module
from foundry.formats.packages.sideeffect import HostSideEffect


@dataclass(frozen=True)
class BusyBox:
    """The BusyBox in a base: its version, where its source is and where else, and that file's SHA-256 by its URL."""

    version: str
    source: str
    source_backup: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """The URLs of its source."""
        return tuple(dict.fromkeys(url for url in (self.source, self.source_backup) if url))


@dataclass(frozen=True)
class Base:
    """A base image; `created` as ``2025-01-02T03:04:05Z``."""

    name: str
    digest: str
    created: str
    busybox: BusyBox | None = None

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Base:
        """From the `base` of a lock."""
        busybox = document.get("busybox")
        return Base(**{**document, "busybox": BusyBox(**busybox) if busybox else None})


@dataclass(frozen=True)
class DkmsFacts:
    """What a package's ``dkms.conf`` says; a part that the family file speaks for is empty."""

    root: str
    modules: tuple[Module, ...]
    make: tuple[str, ...]
    pre_build: tuple[str, ...] = ()
    exclusive: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> DkmsFacts:
        """From the `dkms` of a package in a lock."""
        lists = {name: tuple(document.get(name, ())) for name in ("make", "pre_build", "remarks")}
        return DkmsFacts(**{**document, **lists, "modules": tuple(Module(**one) for one in document["modules"])})


@dataclass(frozen=True)
class LockedPackage:
    """What is locked of any package of a driver. `build_time` is in seconds since 1970."""

    name: str
    href: str
    url: str
    content_sha256: str
    build_time: int
    license: str


@dataclass(frozen=True)
class MainPackage(LockedPackage):
    """The package with the sources: also what was found in it when it was fetched, and further packages by role."""

    variables: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, LockedPackage] = field(default_factory=dict)
    dkms: DkmsFacts | None = None
    node: tuple[HostSideEffect, ...] = ()

    def __hash__(self) -> int:
        return hash(self.content_sha256)

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> MainPackage:
        """From an entry of a lock's `packages`."""
        return MainPackage(**{
            **document,
            "further": {role: LockedPackage(**one) for role, one in document.get("further", {}).items()},
            "dkms": DkmsFacts.from_document(document["dkms"]) if "dkms" in document else None,
            "node": tuple(HostSideEffect(**one) for one in document.get("node", ())),
        })


@dataclass(frozen=True)
class Lock:
    """What is locked of one family: packages by driver, and the base where there is one."""

    packages: Mapping[str, MainPackage] = field(default_factory=dict)
    base: Base | None = None

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Lock:
        """From a checked document."""
        packages = {driver: MainPackage.from_document(one) for driver, one in document["packages"].items()}
        return Lock(packages, Base.from_document(document["base"]) if "base" in document else None)

    def to_bytes(self) -> bytes:
        """The lock's file."""
        return pretty_json({"schema": 1, "packages": {}, **as_document(self)})

    def with_package(self, driver: str, package: MainPackage) -> Lock:
        """With the driver's package."""
        return replace(self, packages={**self.packages, driver: package})


def parse_lock(data: bytes, file: str, validation: ValidationCache) -> Lock:
    """The lock in a file's content; ConfigError when it is none."""
    return Lock.from_document(validation.parsed("lock", data, file))


@dataclass(eq=False)
class Locks:
    """The locks of all families as of now: the one part of the configuration that a run adds to.

    Safe to use from several threads; the files are shared with other runs, too. `folder` has them and `build` is
    the profile's output, both relative to the root.
    """

    root: Path
    folder: Path
    build: Path
    validation: ValidationCache
    _now: dict[str, Lock]
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def path(self, family: str) -> Path:
        """The family's file, relative to the root."""
        return self.folder / f"{family}.json"

    def of(self, family: str) -> Lock:
        """The family's lock."""
        return self._now[family]

    def with_lock(self, family: str, lock: Lock) -> Locks:
        """These and one more, which no file has yet."""
        return Locks(self.root, self.folder, self.build, self.validation, {**self._now, family: lock})

    def write(self, family: str, how: Callable[[Lock], Lock]) -> bool:
        """Change the lock's file alone, beside what others put there meanwhile; whether that changed anything.

        It counts from the next run on. Raises ConfigError when the file is no lock any more, and what `how` raises.
        """
        path = self.root / self.path(family)
        with locked(self.root / self.build / f".lock-{family}"):
            found = read_file(path) if path.exists() else None
            before = parse_lock(found, str(self.path(family)), self.validation) if found is not None else Lock()
            after = how(before)
            if after != before:
                write_atomic(path, after.to_bytes())
        return after != before

    def change(self, family: str, how: Callable[[Lock], Lock]) -> bool:
        """As `write`, and known in this run from now on; what others put into the file is not, for keys rest on it."""
        changed = self.write(family, how)
        with self._changing:
            self._now[family] = how(self._now[family])
        return changed
