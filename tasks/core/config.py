"""Reading the configuration: defaults, profile, families, locks, matrix, catalogue.

Everything is read and checked before the first task exists, and all faults of
all files are shown at once (ConfigError, exit code 2).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, Fault
from tasks.core.files import parse_json
from tasks.core.parsed import Parsed
from tasks.core.patches import Patch
from tasks.core.profile import Profile
from tasks.core.schema import Verdicts
from tasks.core.templates import template_faults


@dataclass(frozen=True, eq=False)
class Family:
    """One driver family with the profile's changes merged in (schemas/family.schema.json).

    Hashed by identity, so that what follows from a family alone can be found out once.
    """

    name: str
    data: Mapping[str, Any]
    patches: tuple[Patch, ...]

    def __getitem__(self, item: str) -> Any:
        return self.data[item]

    def source_root(self, driver: str) -> str:
        """The folder of the sources inside the package, ``usr/src/aws-neuronx-2.22.2.0``."""
        root: str = self.data["source"]["root"]
        return root.replace("{driver}", driver)

    @property
    def module_files(self) -> tuple[str, ...]:
        """The paths of the modules in the built tree, in loading order."""
        return tuple(module["file"] for module in self.data["modules"])


@dataclass(frozen=True)
class Want:
    """One line of the matrix: a driver for minors and releases; `where` names it in messages."""

    driver: str
    family: str
    releases: tuple[str, ...]
    where: tuple[str, str]


@dataclass(frozen=True)
class Config:
    """All that the configuration files say, checked."""

    root: Path
    profile: Profile
    settings: Mapping[str, Any]
    families: Mapping[str, Family]
    locks: Mapping[str, dict[str, Any]]
    wants: tuple[Want, ...]
    catalogue: tuple[Mapping[str, Any], ...]
    verdicts: Verdicts

    @cached_property
    def build(self) -> Path:
        """``build/<profile>``, relative to the root."""
        return Path("build") / self.profile.name

    def lock_path(self, family: str) -> Path:
        """The family's lock file, relative to the root."""
        return Path(self.settings["locks"]) / f"{family}.json"


@dataclass
class _Reader:
    """Reads documents below `root` and gathers faults instead of stopping at the first."""

    root: Path
    verdicts: Verdicts
    parsed: Parsed
    faults: list[Fault] = field(default_factory=list)

    def document(self, file: str, schema: str, *, default: Any = None, lenient: bool = False) -> Any:
        """The checked document; `default` when it is missing and that is allowed, or faulty and not `lenient`."""
        try:
            content = (self.root / file).read_bytes()
        except FileNotFoundError:
            if default is None:
                self.faults.append(Fault(file, "", "the file is missing"))
            return default
        except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
            self.faults.append(Fault(file, "", f"can't be read: {getattr(error, 'strerror', error)}"))
            return default
        try:
            document = parse_json(content) if file.endswith(".json") else self.parsed.yaml(content)
        except ValueError as error:
            self.faults.append(Fault(file, "", f"is not JSON: {error}" if file.endswith(".json") else str(error)))
            return default
        faults = self.verdicts.check(schema, document, content, file)
        self.faults += faults
        return default if faults and not lenient else document


def load(root: Path, profile: Profile) -> Config:
    """Read and check everything; raises ConfigError with every fault of every file."""
    kept = root / "build" / profile.name
    verdicts, parsed = Verdicts(root / "schemas", kept / "verdicts.json"), Parsed(kept / "parsed.json")
    reader = _Reader(root, verdicts, parsed)
    defaults = reader.document("config/defaults.yaml", "defaults", lenient=True)
    changes = _profile_document(reader, profile)
    settings = _usable(_merge(_mapping(defaults), _mapping(changes)), reader.faults)
    families = _families(reader, settings)
    catalogue = reader.document(settings["catalogue"], "catalogue", default=[]) if settings.get("catalogue") else []
    wants = _wants(reader, settings, families)
    locks = {
        name: reader.document(f"{settings['locks']}/{name}.json", "lock", default={"schema": 1, "packages": {}})
        for name in _family_names(root) if settings.get("locks")
    }
    reader.faults += _catalogue_faults(settings.get("catalogue", ""), catalogue)
    if reader.faults:
        raise ConfigError(reader.faults, hint="docs/configuration.md describes every file and field")
    verdicts.keep()
    parsed.keep()
    return Config(root, profile, settings, families, locks, tuple(wants), tuple(catalogue), verdicts)


def _profile_document(reader: _Reader, profile: Profile) -> Any:
    return reader.document(f"config/profiles/{profile.name}.yaml", "profile", lenient=True)


def _mapping(document: Any) -> Mapping[str, Any]:
    return document if isinstance(document, dict) else {}


def _usable(settings: dict[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """Without the values that are faulty, so that the other files can be checked too."""
    faulty = {re.split(r"[.\[]", fault.path.removeprefix("$."))[0] for fault in faults}
    return {name: value for name, value in settings.items() if name not in faulty}


def _families(reader: _Reader, settings: Mapping[str, Any]) -> dict[str, Family]:
    families = {}
    for name in sorted(settings.get("families", {}).keys() - set(_family_names(reader.root))):
        reader.faults.append(Fault("config", f"$.families.{name}", f"there is no config/drivers/{name}.yaml"))
    for name in _family_names(reader.root):
        file = f"config/drivers/{name}.yaml"
        data = reader.document(file, "family")
        if data is None:
            continue
        merged = _merge(data, settings.get("families", {}).get(name, {}))
        reader.faults += template_faults(merged["labels"], file)
        reader.faults += _file_faults(reader.root, merged, file)
        entries = [*merged.get("patches", []), *merged.get("additional_patches", [])]
        patches = tuple(Patch.from_config(entry) for entry in entries)
        ids = [patch.id for patch in patches]
        for twice in sorted({name for name in ids if ids.count(name) > 1}):
            reader.faults.append(Fault(file, "$.patches", f"two patches have the id {twice!r}"))
        families[name] = Family(name, merged, patches)
    return families


def _file_faults(root: Path, family: Mapping[str, Any], file: str) -> list[Fault]:
    """Files that a family names and that are not there, and names that would overwrite each other in the image."""
    named = [("containerfile", family["containerfile"]), *(("licenses", name) for name in family["licenses"])]
    faults = [
        Fault(file, f"$.{where}", f"{name} does not exist") for where, name in named
        if not os.path.isfile(root / name)  # unlike Path's, it takes names that no file can have
    ]
    for where, names in (("licenses", family["licenses"]), ("modules", [one["file"] for one in family["modules"]])):
        last = [Path(name).name for name in names]
        twice = sorted({name for name in last if last.count(name) > 1})
        faults += [Fault(file, f"$.{where}", f"two files are called {name}") for name in twice]
    return faults


def _family_names(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "config" / "drivers").glob("*.yaml"))


def _wants(reader: _Reader, settings: Mapping[str, Any], families: Mapping[str, Family]) -> list[Want]:
    wants: list[Want] = []
    owners: dict[str, tuple[str, str]] = {}
    for file in settings.get("matrix", []):
        before = len(reader.faults)
        entries = reader.document(file, "matrix", lenient=True)
        faulty = {fault.path.split(".")[0] for fault in reader.faults[before:]}
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            place = f"$[{index}]"
            if not isinstance(entry, dict):
                continue
            family = entry.get("family", settings.get("default_family", ""))
            if family not in _family_names(reader.root):
                known = ", ".join(_family_names(reader.root)) or "none"
                reader.faults.append(Fault(file, f"{place}.family", f"unknown family {family!r}; known: {known}"))
                continue
            if place in faulty or family not in families:
                continue
            owner, at = owners.setdefault(entry["driver"], (family, f"{file} {place}"))
            if owner != family:
                message = f"{entry['driver']} is already of family {owner} ({at})"
                reader.faults.append(Fault(file, f"{place}.driver", message))
                continue
            wants.append(Want(entry["driver"], family, tuple(entry["ocp_versions"]), (file, place)))
    return wants


def _catalogue_faults(file: str, catalogue: Any) -> list[Fault]:
    seen: dict[tuple[str, ...], int] = {}
    faults = []
    for index, entry in enumerate(catalogue):
        name = tuple(entry[part] for part in ("version", "arch", "stream") if part in entry)
        first = seen.setdefault(name, index)
        if first != index:
            faults.append(Fault(file, f"$[{index}]", f"{' '.join(name)} is already at $[{first}]"))
    return faults


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, mapping by mapping; lists and scalars are replaced."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(below, value) if both else value  # type: ignore[arg-type]  # reason: checked above
    return merged
