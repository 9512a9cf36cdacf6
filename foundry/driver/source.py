"""Stage source: the pristine tree of a driver's sources, read-only, and its deterministic tar; its firmware beside."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, remove_stale, remove_tree, scratch, sha256_bytes, sha256_file
from foundry.base.reasons import Reason
from foundry.base.records import input_facts, output_facts, write_record
from foundry.config.family import Family
from foundry.config.locks import MainPackage
from foundry.config.package_specs import specs_of
from foundry.driver.fetch import files_of
from foundry.run.context import Foundry
from foundry.run.failure import noted

TREE = "tree"
FIRMWARE = "firmware"
TAR = "source.tar"
RECORD = "source.json"
_HISTORY = frozenset({".git", ".svn", ".hg", ".bzr", "CVS", "_darcs"})


def source(foundry: Foundry, driver: str, family: Family) -> None:
    """Unpack the fetched packages: ``tree/`` (read-only), ``source.tar``, ``firmware/`` and ``source.json``.

    Raises FoundryError for a package that is damaged, unsafe, or has no sources or firmware
    where the family file says.
    """
    with noted(foundry.source_folder(driver), stage="source", key=foundry.states.fetch_key(driver, family)):
        _source(foundry, driver, family)


def _source(foundry: Foundry, driver: str, family: Family) -> None:
    from foundry.driver.discover import source_place
    from foundry.formats.trees.links import require_tree
    from foundry.formats.trees.sourcetar import tree_entries, write_tar
    from foundry.packages.obtain import build_time, content_sha256, unpack

    folder = foundry.source_folder(driver)
    record = folder / RECORD
    record.unlink(missing_ok=True)
    remove_stale(folder)
    specs = specs_of(family, driver)
    known = foundry.config.locks.of(family.name).packages.get(driver)
    place = known.dkms.root if known is not None and known.dkms is not None else ""
    with scratch(folder, "unpack") as work:
        roots = {spec.role: work / (spec.role or "main") for spec in specs}
        found = {spec.role: content_sha256(spec, folder / spec.file) for spec in specs}
        require_locked(driver, found, known, folder)
        for spec in specs:
            unpack(spec, folder / spec.file, roots[spec.role])
            remove_history(roots[spec.role])
        place = place or source_place(family, driver, roots[""])
        require_tree(roots[""], place)  # what its links lead to comes along when it is moved
        tree = roots[""] / place
        firmware = _firmware(family, roots, work / FIRMWARE)
        with (work / TAR).open("wb") as sink:
            write_tar(sink, tree_entries(tree), top=f"{family.name}-{driver}",
                      mtime=build_time(specs[0], folder / specs[0].file))
        make_read_only(tree)
        remove_tree(folder / TREE)
        remove_tree(folder / FIRMWARE)
        tree.chmod(0o755)  # a folder must be writable to be moved
        os.replace(tree, folder / TREE)
        (folder / TREE).chmod(0o555)
        if firmware:
            os.replace(work / FIRMWARE, folder / FIRMWARE)
        os.replace(work / TAR, folder / TAR)
    further = {role: content for role, content in found.items() if role}
    inputs = [str(foundry.states.source_folder(driver) / name) for name in files_of(family, driver)]
    write_record(record, "source", {
        "driver": driver, "family": family.name, "inputs": input_facts(foundry.root, inputs),
        "outputs": output_facts(folder, [TAR, *(f"{FIRMWARE}/{name}" for name in firmware)]),
        "content_sha256": found[""], "tree_sha256": tree_sha256(folder / TREE),
        "files": sum(1 for path in (folder / TREE).rglob("*") if path.is_file()),
        **({"further": further} if further else {}),
    })


def require_locked(driver: str, found: Mapping[str, str], known: MainPackage | None, folder: Path) -> None:
    """FoundryError ``lock-mismatch`` where a fetched package is not the locked one, before anything is read in it."""
    locked = {"": known, **known.further} if known is not None else {}
    for role, content in found.items():
        package = locked.get(role)
        if package is not None and package.content_sha256 != content:
            raise FoundryError(
                f"the package {package.href} of {driver} in {folder} is not the locked one: its content is {content},"
                f" locked is {package.content_sha256}", reason=Reason.LOCK_MISMATCH,
                hint=f"run `doit fetch:{driver}`, which fetches it again",
            )


def _firmware(family: Family, roots: Mapping[str, Path], dest: Path) -> list[str]:
    """Copy the driver's firmware out of its packages; the paths below `dest`, which are those in the image."""
    from foundry.driver.discover import firmware_files
    from foundry.formats.trees.budget import Budget
    from foundry.formats.trees.sourcetree import MAX_UNPACKED

    names: list[str] = []
    # A link is copied as the file that it leads to, and there may be many.
    budget = Budget("the driver's firmware", Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE, MAX_UNPACKED)
    for entry in family.data.get("firmware", ()):
        root = roots[entry.get("package", "")]
        for source, name in firmware_files(family, entry, root):
            if any(part.startswith(".wh.") for part in name.split("/")):  # in a layer: that another file is removed
                raise FoundryError(f"firmware can't be called {name}", reason=Reason.PACKAGE_UNSAFE_PATH)
            if name in names:
                raise FoundryError(f"two files of firmware would be {name}", reason=Reason.FIRMWARE_TWICE,
                                   hint=f"correct `firmware` in {family.file}")
            budget.keep((root / source).stat().st_size)
            (dest / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / source, dest / name)
            names.append(name)
    return names


def tree_sha256(tree: Path) -> str:
    """One hash over a tree: paths, kinds, the execute bit, contents and link targets."""
    facts: list[list[str]] = []
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.is_symlink():
            facts.append([name, "link", os.readlink(path)])
        elif path.is_dir():
            facts.append([name, "folder", ""])
        else:
            kind = "program" if path.stat().st_mode & stat.S_IXUSR else "file"
            facts.append([name, kind, sha256_file(path)])
    return sha256_bytes(canonical_json(facts))


def remove_history(root: Path) -> None:
    """Remove what version control keeps beside sources: it is none, is published with them, and can hold tokens."""
    for folder, names, files in os.walk(root):
        for name in _HISTORY.intersection([*names, *files]):
            remove_tree(Path(folder, name))
        names[:] = [name for name in names if name not in _HISTORY]


def make_read_only(tree: Path) -> None:
    """Take the write bits off everything below and including `tree`."""
    for path in [*tree.rglob("*"), tree]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
