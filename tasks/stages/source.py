"""Stage source: the pristine tree of a driver's sources, read-only, and its deterministic tar."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tasks.core.config import Family
from tasks.core.errors import FoundryError
from tasks.core.files import canonical_json, remove_stale, remove_tree, scratch, sha256_bytes, sha256_file
from tasks.core.records import input_facts, output_facts, write_record
from tasks.stages.context import Foundry
from tasks.stages.failure import noted
from tasks.stages.fetch import PACKAGE

TREE = "tree"
TAR = "source.tar"
RECORD = "source.json"


def source(foundry: Foundry, driver: str, family: Family) -> None:
    """Unpack the fetched package: ``tree/`` (read-only), ``source.tar`` and ``source.json``.

    Raises FoundryError for a package that is damaged, unsafe, or has no sources
    where the family file says.
    """
    with noted(foundry.source_folder(driver), stage="source", driver=driver):
        _source(foundry, driver, family)


def _source(foundry: Foundry, driver: str, family: Family) -> None:
    from tasks.formats.rpm import read_package, unpack
    from tasks.formats.sourcetar import tree_entries, write_tar

    folder = foundry.source_folder(driver)
    record = folder / RECORD
    record.unlink(missing_ok=True)
    remove_stale(folder)
    rpm = folder / PACKAGE
    package = read_package(rpm)
    with scratch(folder, "unpack") as work:
        unpack(rpm, package, work / "root")
        tree = work / "root" / family.source_root(driver)
        if not tree.is_dir():
            raise FoundryError(
                f"the package of {driver} has no folder {family.source_root(driver)}",
                reason="source-missing", hint=f"correct `source.root` in config/drivers/{family.name}.yaml",
            )
        with (work / TAR).open("wb") as sink:
            write_tar(sink, tree_entries(tree), top=f"{family.name}-{driver}", mtime=package.build_time)
        make_read_only(tree)
        remove_tree(folder / TREE)
        tree.chmod(0o755)  # a folder must be writable to be moved
        os.replace(tree, folder / TREE)
        (folder / TREE).chmod(0o555)
        os.replace(work / TAR, folder / TAR)
    write_record(record, "source", {
        "driver": driver, "family": family.name,
        "inputs": input_facts(foundry.root, [str(foundry.states.source_folder(driver) / PACKAGE)]),
        "outputs": output_facts(folder, [TAR]),
        "content_sha256": package.content_sha256, "tree_sha256": tree_sha256(folder / TREE),
        "files": sum(1 for path in (folder / TREE).rglob("*") if path.is_file()),
    })


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


def make_read_only(tree: Path) -> None:
    """Take the write bits off everything below and including `tree`."""
    for path in [*tree.rglob("*"), tree]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
