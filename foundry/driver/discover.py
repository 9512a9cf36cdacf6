"""What a driver's packages say of themselves, read once when they are fetched and kept in the lock.

Modules, make command and places from ``dkms.conf``, values from files, and what the package's
scripts would do on a node. Nothing of a package is executed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.expressions import EndlessError, first_group
from foundry.base.files import open_file
from foundry.base.reasons import Reason
from foundry.config.family import Family
from foundry.config.locks import DkmsFacts, MainPackage
from foundry.config.module import Module
from foundry.formats.packages import dkms
from foundry.formats.packages.host_side_effects import find_parts

if TYPE_CHECKING:
    from foundry.packages.obtain import Obtained

_OF_MODULES = ("BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_LOCATION")
_SHOWN = 5
_LONGEST_PATH = 200
_MAX_TEXT = 1 << 20  # bytes of a file that is looked into
_HOOK_NAMES = re.compile(r"(?:pre|post)-?(?:install|inst|remove|rm|add|build)(?:\.sh)?")


def discover(package: MainPackage, family: Family, driver: str, work: Path, found: Sequence[Obtained]) -> MainPackage:
    """The package with what is found in it; the fetched files are in `work`, where they are unpacked.

    Raises FoundryError ``source-missing``, ``dkms-*``, ``variable-missing``, ``firmware-missing``,
    and what unpacking raises; ConfigError for a file that a variable names and that is not there.
    """
    from foundry.formats.trees.links import require_tree
    from foundry.packages.obtain import unpack

    roots: dict[str, Path] = {}
    files: list[str] = []
    scripts: dict[str, str] = {}
    for one in found:
        root = work / f"root-{one.spec.role or 'main'}"
        written = unpack(one.spec, work / one.spec.file, root)
        roots[one.spec.role] = root
        files += [path for path in written if not (root / path).is_dir()]
        scripts |= one.scripts
    place = source_place(family, driver, roots[""])
    require_tree(roots[""], place)
    tree = roots[""] / place
    conf = _conf(family, tree) if family.dkms else None
    if conf is not None:
        _require_ordered(family, conf)
        _require_program(conf, tree)
    variables = {name: _variable(family, name, one, tree, roots[""])
                 for name, one in family.data.get("variables", {}).items()}
    taken = {f"{source}" for entry in family.data.get("firmware", ())
             for source, _ in firmware_files(family, entry, roots[entry.get("package", "")])}
    node = find_parts({**scripts, **_tree_scripts(tree, conf.hooks if conf is not None else {})}, files, taken)
    dkms_facts = _dkms_facts(place, conf) if conf is not None else None
    return replace(package, variables=variables, dkms=dkms_facts, node=node)


def source_place(family: Family, driver: str, root: Path) -> str:
    """The folder of the sources below an unpacked package: as the family file says, else where ``dkms.conf`` is.

    Raises FoundryError ``source-missing``.
    """
    said = family.source_root(driver)
    if said:
        fit = [said] if (root / said).is_dir() else sorted(
            path.relative_to(root).as_posix() for path in root.glob(said) if path.is_dir())
        if len(fit) != 1:
            what = f"more than one folder {said}: {', '.join(fit[:_SHOWN])}" if fit else f"no folder {said}"
            raise FoundryError(f"the package of {driver} has {what}", reason=Reason.SOURCE_MISSING,
                               hint=f"correct `source.root` in {family.file}")
        return fit[0]
    places = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(dkms.FILE) if path.is_file())
    above = {*places} - {"."}
    top = [place for place in places if not any(parent.as_posix() in above for parent in PurePosixPath(place).parents)]
    if len(top) != 1:
        what = f"more than one {dkms.FILE}: in {', '.join(top[:_SHOWN])}" if top else f"no {dkms.FILE}"
        raise FoundryError(f"the package of {driver} has {what}", reason=Reason.SOURCE_MISSING,
                           hint=f"say in {family.file} where the sources are: `source.root`")
    return top[0]


def firmware_files(family: Family, entry: Mapping[str, Any], root: Path) -> list[tuple[str, str]]:
    """Of one entry of `firmware`: paths below the unpacked package, and below ``/opt/lib/firmware``.

    Raises FoundryError ``firmware-missing`` where it names no file.
    """
    source, dest = entry["from"].rstrip("/"), entry["to"].strip("/")
    if (root / source).is_dir():
        paths = [path for path in sorted((root / source).rglob("*")) if path.is_file()]
        found = [(path.relative_to(root).as_posix(), f"{dest}/{path.relative_to(root / source).as_posix()}")
                 for path in paths]
    else:
        found = [(path.relative_to(root).as_posix(), f"{dest}/{path.name}")
                 for path in sorted(root.glob(source)) if path.is_file()]
    if not found:
        which = f"the package {entry['package']!r}" if entry.get("package") else "the package"
        raise FoundryError(f"{which} has no firmware {source}", reason=Reason.FIRMWARE_MISSING,
                           hint=f"correct `firmware` in {family.file}; the module would not find it on the node")
    return found


def _conf(family: Family, tree: Path) -> dkms.DkmsConf:
    file = tree / dkms.FILE
    if not file.is_file():
        raise FoundryError(f"the package has no {dkms.FILE} in {tree.name}", reason=Reason.SOURCE_MISSING,
                           hint=f"correct `source` in {family.file}")
    overridden = set(_OF_MODULES) if "modules" in family.data else set()
    overridden |= {"MAKE", "MAKE_MATCH"} if "command" in family.data.get("make", {}) else set()
    overridden |= set(family["source"].get("ignore", ()))
    with open_file(file) as stream:
        data = stream.read(dkms.MAX_BYTES + 1)
    return dkms.parse(data, overridden=frozenset(overridden))


def _require_ordered(family: Family, conf: dkms.DkmsConf) -> None:
    """ConfigError where the family orders modules that its package does not have."""
    names = [_name_of(one) for one in conf.modules]
    faults = [
        Fault(family.file, f"$.loading_order[{number}]",
              f"the package's {dkms.FILE} names no module {name!r}; it has {', '.join(names)}")
        for number, name in enumerate(family.data.get("loading_order", ())) if conf.modules and name not in names
    ]
    if faults:
        raise ConfigError(faults, hint="names are those that lsmod shows")


def _require_program(conf: dkms.DkmsConf, tree: Path) -> None:
    """FoundryError ``dkms-unsupported`` where DKMS would not run what the package wants to be run before."""
    for program in conf.pre_build[:1]:
        if not (tree / program).is_file() or not os.access(tree / program, os.X_OK):
            raise FoundryError(
                f"the package's {dkms.FILE} can't be followed: its PRE_BUILD wants {program}, which is no program of"
                " the package; DKMS would build without it", reason=Reason.DKMS_UNSUPPORTED,
                hint="if that is right, write `ignore: [PRE_BUILD]` into `source` of the family file",
            )


def _name_of(module: dkms.DkmsModule) -> str:
    return Path(module.file).stem.replace("-", "_")


def _dkms_facts(place: str, conf: dkms.DkmsConf) -> DkmsFacts:
    modules = tuple(Module(_name_of(one), one.file, one.destination) for one in conf.modules)
    return DkmsFacts(place, modules, tuple(conf.make), tuple(conf.pre_build), dict(conf.exclusive), tuple(conf.remarks))


def _variable(family: Family, name: str, said: Mapping[str, Any], tree: Path, root: Path) -> str:
    """A value in a file of the source folder, or of the whole package."""
    path = next((place / said["file"] for place in (tree, root) if (place / said["file"]).is_file()), None)
    where = f"$.variables.{name}"
    if path is None:
        raise ConfigError([Fault(family.file, f"{where}.file", f"the package has no file {said['file']}")])
    with open_file(path) as stream:
        text = stream.read(_MAX_TEXT).decode(errors="replace")
    try:
        value = first_group(said["pattern"], text).strip()
    except EndlessError as error:
        raise FoundryError(f"looking for {{{name}}} in {said['file']} of the package takes too long",
                           reason=Reason.VARIABLE_MISSING,
                           hint=f"make {where}.pattern in {family.file} simpler, or look at the file") from error
    if not value or not value.isprintable() or " " in value:
        raise FoundryError(
            f"{said['file']} of the package gives no value for {{{name}}}"
            + (f": {value[:60]!r} is no single word" if value else ""), reason=Reason.VARIABLE_MISSING,
            hint=f"correct {where}.pattern in {family.file}",
        )
    return value


def _tree_scripts(tree: Path, hooks: Mapping[str, str]) -> dict[str, str]:
    """Scripts of the source folder that would run on a node, by their names: DKMS's, and those called like them."""
    names = [hook.split()[0].removeprefix("./") for hook in hooks.values() if hook.split()]
    names += sorted(path.name for path in tree.iterdir() if _HOOK_NAMES.fullmatch(path.name))
    found = {}
    for name in dict.fromkeys(names):
        path = tree / name
        if len(name) > _LONGEST_PATH:
            continue
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(tree.resolve()):
            with open_file(path) as stream:
                found[name] = stream.read(_MAX_TEXT).decode(errors="replace")
    return found
