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

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import canonical_json, parse_json, read_file, sha256_bytes
from foundry.base.schema import ValidationCache
from foundry.base.yaml_files import YamlCache
from foundry.config.catalogue import FLAVOURS, CatalogueEntry, KernelList, entries_of
from foundry.config.families import make_family
from foundry.config.family import Family
from foundry.config.locks import Lock, Locks
from foundry.config.profile import Profile
from foundry.config.recipe import Recipe, recipe_of
from foundry.config.settings import Settings, sandbox_faults
from foundry.config.signing import image_signing_faults, public_der, signing_faults
from foundry.config.toolkit_recipes import ToolkitRecipe, recipe_faults
from foundry.formats.modules.certificate import der_of

_DEFAULTS = "config/defaults.yaml"
_DRIVERS = "config/drivers"


@dataclass(frozen=True)
class MatrixEntry:
    """One line of the matrix: a driver for minors and releases; `where` names it in messages.

    `flavours` are which kernels of each toolkit; `arch` narrows the setting of that name.
    """

    driver: str
    family: str
    releases: tuple[str, ...]
    where: tuple[str, str]
    flavours: tuple[str, ...] = ("default",)
    arch: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """All that the configuration files say, checked. `within`: a folder of ``build/<profile>`` that takes its place."""

    root: Path
    profile: Profile
    settings: Settings
    families: Mapping[str, Family]
    locks: Locks
    wants: tuple[MatrixEntry, ...]
    catalogue: tuple[CatalogueEntry, ...]
    toolkit_recipes: tuple[ToolkitRecipe, ...]
    kernels: KernelList
    validation: ValidationCache
    within: str = ""

    @cached_property
    def build(self) -> Path:
        """``build/<profile>``, relative to the root."""
        return Path("build") / self.profile.name / self.within

    @property
    def certificate(self) -> str:
        """The SHA-256 of the certificate whose key signs modules; empty where none is signed, or it is not here yet."""
        if not self.settings.signing.key:
            return ""
        try:
            return sha256_bytes(der_of(read_file(self.root / self.settings.signing.certificate)))
        except (OSError, ValueError):  # what is wrong with it is a fault of the configuration
            return ""

    @property
    def image_key(self) -> str:
        """The SHA-256 of the public key (DER) whose private half signs images; empty as for `certificate`."""
        if not self.settings.image_signing.key:
            return ""
        try:
            return sha256_bytes(public_der(read_file(self.root / self.settings.image_signing.public_keys[0])))
        except (OSError, ValueError):
            return ""

    def recipe(self, family: Family, driver: str) -> Recipe:
        """How a driver is made, as far as its lock tells; the same object as long as the lock's entry is the same."""
        return recipe_of(family, driver, self.locks.of(family.name).packages.get(driver))


@dataclass
class _Reader:
    """Reads documents below `root` and gathers faults instead of stopping at the first."""

    root: Path
    validation: ValidationCache
    parsed: YamlCache
    faults: list[Fault] = field(default_factory=list)

    def document(
        self, file: str, schema: str, *, default: Any = None, lenient: bool = False,
        under: Mapping[str, Any] | None = None,
    ) -> Any:
        """The checked document; `default` when it is missing and that is allowed, or faulty and not `lenient`.

        With `under` it is checked, and returned, on top of that.
        """
        try:
            content = read_file(self.root / file)
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
        if under and isinstance(document, dict):
            document, content = merged(under, document), content + b"\0" + canonical_json(under)
        faults = self.validation.check(schema, document, content, file)
        self.faults += faults
        return default if faults and not lenient else document


def load_config(root: Path, profile: Profile, *, keep: bool = True) -> Config:
    """Read and check everything; raises ConfigError with every fault of every file.

    With `keep`, what was found good is written down for the next time.
    """
    kept = root / "build" / profile.name
    validation, parsed = ValidationCache(root, kept / "validation.json", writes=keep), YamlCache(kept / "parsed.json")
    reader = _Reader(root, validation, parsed)
    defaults = reader.document(_DEFAULTS, "defaults", lenient=True)
    file = f"config/profiles/{profile.name}.yaml"
    changes = reader.document(file, "settings", lenient=True)
    settings = _usable(merged(_mapping(defaults), _mapping(changes)), reader.faults)
    files = _family_files(reader, settings)
    families = _families(reader, settings, files, _changed_in({_DEFAULTS: defaults, file: changes}))
    reader.faults += signing_faults(
        _mapping(settings.get("signing")), root, file if "signing" in _mapping(changes) else _DEFAULTS,
        made_later=settings.get("services") == "sandbox", secure_boot=settings.get("secure_boot") is True)
    reader.faults += image_signing_faults(
        _mapping(settings.get("image_signing")), root, file if "image_signing" in _mapping(changes) else _DEFAULTS,
        made_later=settings.get("services") == "sandbox")
    if settings.get("services") == "sandbox":
        reader.faults += sandbox_faults(_mapping(settings.get("sandbox")), files, file)
    file = settings.get("catalogue", "")
    catalogue = entries_of(reader.document(file, "catalogue", default=[])) if file else ()
    wants = _wants(reader, settings, families)
    locks = {
        name: reader.document(f"{settings['locks']}/{name}.json", "lock", default={"schema": 1, "packages": {}})
        for name in files if settings.get("locks")
    }
    reader.faults += _catalogue_faults(file, catalogue)
    own = _mapping(settings.get("toolkits"))
    nothing: dict[str, Any] = {"bases": {}, "releases": []}
    kernels = KernelList.from_document(reader.document(own["kernels"], "kernels", default=nothing) if own else nothing)
    reader.faults += _catalogue_faults(own.get("kernels", ""), kernels.releases, "$.releases")
    recipes = _toolkit_recipes(reader, settings, own.get("recipes", ()))
    if reader.faults:
        raise ConfigError(reader.faults, hint="docs/configuration.md describes every file and field")
    validation.keep()
    if keep:
        parsed.keep()
    decoded = Settings.from_document(settings)
    now = {name: Lock.from_document(document) for name, document in locks.items()}
    return Config(
        root, profile, decoded, families,
        Locks(root, Path(decoded.locks), Path("build") / profile.name, validation, now),
        tuple(wants), catalogue, recipes, kernels, validation,
    )


def _mapping(document: Any) -> Mapping[str, Any]:
    return document if isinstance(document, dict) else {}


def _usable(settings: dict[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """Without the values that are faulty, so that the other files can be checked too."""
    faulty = {re.split(r"[.\[]", fault.path.removeprefix("$."))[0] for fault in faults}
    return {name: value for name, value in settings.items() if name not in faulty}


def _changed_in(documents: Mapping[str, Any]) -> dict[str, str]:
    """By family: the last of these files that changes it."""
    return {name: file for file, document in documents.items() for name in _mapping(_mapping(document).get("families"))}


def _families(
    reader: _Reader, settings: Mapping[str, Any], files: Mapping[str, str], changed_in: Mapping[str, str]
) -> dict[str, Family]:
    families = {}
    for name in sorted(settings.get("families", {}).keys() - files.keys()):
        places = " or ".join(f"{folder}/{name}.yaml" for folder in settings.get("drivers", [_DRIVERS]))
        reader.faults.append(Fault("config", f"$.families.{name}", f"there is no {places}"))
    for name, file in files.items():
        data = reader.document(file, "family", under=settings.get("family", {}))
        if data and name in settings.get("families", {}):
            data = _changed_family(reader, name, data, settings["families"][name], changed_in[name])
        if data is None:
            continue
        families[name], faults = make_family(name, data, file, reader.root)
        reader.faults += faults
    return families


def _changed_family(
    reader: _Reader, name: str, data: Mapping[str, Any], changes: Mapping[str, Any], changed_in: str
) -> dict[str, Any] | None:
    """The family with its changes, checked again: each may be right alone, and the two together lack something."""
    changed = merged(data, changes)
    faults = reader.validation.check("family", changed, canonical_json(changed), changed_in)
    place = f"$.families.{name}"
    reader.faults += [Fault(fault.file, place + fault.path.removeprefix("$"), fault.message) for fault in faults]
    return None if faults else changed


def _family_files(reader: _Reader, settings: Mapping[str, Any]) -> dict[str, str]:
    """The family files by name, relative to the root."""
    files: dict[str, str] = {}
    for folder in settings.get("drivers", [_DRIVERS]):
        try:
            names = sorted(os.listdir(reader.root / folder))
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", error)
            reader.faults.append(Fault(folder, "", f"the folder of families can't be read: {problem}"))
            continue
        for name in (name.removesuffix(".yaml") for name in names if name.endswith(".yaml")):
            file = f"{folder}/{name}.yaml"
            first = files.setdefault(name, file)
            if first != file:
                reader.faults.append(Fault(file, "", f"the family {name} is already described by {first}"))
    return dict(sorted(files.items()))


def _toolkit_recipes(reader: _Reader, settings: Mapping[str, Any], names: Sequence[str]) -> tuple[ToolkitRecipe, ...]:
    """The recipes of the setting, in its order, with the profile's changes merged in."""
    found, changes = [], _mapping(settings.get("toolkit_recipes"))
    for name in names:
        file = f"config/toolkits/{name}.yaml"
        data = reader.document(file, "toolkit-recipe")
        if data is None:
            continue
        if name in changes:
            data = merged(data, _mapping(changes[name]))
            faults = reader.validation.check("toolkit-recipe", data, canonical_json(data), file)
            reader.faults += faults
            if faults:
                continue
        found.append(ToolkitRecipe(name, data))
        reader.faults += recipe_faults(found[-1], reader.root)
    return tuple(found)


def _wants(reader: _Reader, settings: Mapping[str, Any], families: Mapping[str, Family]) -> list[MatrixEntry]:
    wants: list[MatrixEntry] = []
    owners: dict[str, tuple[str, str]] = {}
    known_families = _family_files(_Reader(reader.root, reader.validation, reader.parsed), settings)
    for file in _matrix_files(reader.root, settings):
        before = len(reader.faults)
        entries = reader.document(file, "matrix", lenient=True)
        faulty = {fault.path.split(".")[0] for fault in reader.faults[before:]}
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            place = f"$[{index}]"
            if not isinstance(entry, dict):
                continue
            family = entry.get("family", settings.get("default_family", ""))
            if family not in known_families:
                known = ", ".join(known_families) or "none"
                reader.faults.append(Fault(file, f"{place}.family", f"unknown family {family!r}; known: {known}"))
                continue
            if place in faulty or family not in families:
                continue
            owner, at = owners.setdefault(entry["driver"], (family, f"{file} {place}"))
            if owner != family:
                message = (f"{entry['driver']} is already of family {owner} ({at}); a profile with a matrix of its"
                           " own can have this one")
                reader.faults.append(Fault(file, f"{place}.driver", message))
                continue
            reader.faults += _arch_faults(entry, settings, file, place)
            wants.append(MatrixEntry(entry["driver"], family, tuple(entry["ocp_versions"]), (file, place),
                              tuple(entry.get("flavours", ("default",))), tuple(entry.get("arch", ()))))
    return wants


def _matrix_files(root: Path, settings: Mapping[str, Any]) -> list[str]:
    """The matrix files, and of the further ones those that are there."""
    further = [file for file in settings.get("further_matrix", []) if (root / file).exists()]
    return [*settings.get("matrix", []), *further]


def _arch_faults(entry: Mapping[str, Any], settings: Mapping[str, Any], file: str, place: str) -> list[Fault]:
    built = settings.get("arch", ())
    return [
        Fault(file, f"{place}.arch[{number}]", f"{arch} is not in the setting `arch` ({', '.join(built)})")
        for number, arch in enumerate(entry.get("arch", ())) if built and arch not in built
    ]


def _catalogue_faults(file: str, catalogue: Sequence[CatalogueEntry], where: str = "$") -> list[Fault]:
    """Entries that are there twice, and kernels of one name for two architectures: their cells would be one."""
    seen: dict[tuple[str, ...], int] = {}
    arches: dict[str, str] = {}
    faults = []
    for index, entry in enumerate(catalogue):
        for flavour, kernel in entry.kernels.items():
            if arches.setdefault(kernel, entry.arch) != entry.arch:
                text = f"{kernel} is a kernel for {arches[kernel]}, too: its name must tell the architecture"
                faults.append(Fault(file, f"$[{index}].{FLAVOURS[flavour]}", text))
        name = tuple(part for part in (entry.version, entry.arch, entry.stream) if part)
        first = seen.setdefault(name, index)
        if first != index:
            faults.append(Fault(file, f"{where}[{index}]", f"{' '.join(name)} is already at {where}[{first}]"))
    return faults


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, mapping by mapping; lists and scalars are replaced, null takes a value away."""
    result = dict(under)
    for name, value in over.items():
        below = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(below, Mapping) and isinstance(value, Mapping):
            result[name] = merged(below, value)
        else:
            result[name] = value
    return result
