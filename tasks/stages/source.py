"""Stage source: the pristine tree of a driver's sources, read-only, and its deterministic tar."""

from __future__ import annotations

import io
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
        write_tar(tree, work / TAR, f"{family.name}-{driver}", package.build_time)
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


def write_tar(tree: Path, dest: Path, prefix: str, mtime: int) -> None:
    """A tar of a tree with the same bytes wherever and whenever it is made (sorted, root's, one time)."""
    import tarfile

    with tarfile.open(dest, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in [tree, *sorted(tree.rglob("*"))]:
            relative = path.relative_to(tree).as_posix()
            info = tarfile.TarInfo(prefix if relative == "." else f"{prefix}/{relative}")
            info.mtime = mtime
            content = b""
            if path.is_symlink():
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
            elif path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                content = path.read_bytes()
                info.size = len(content)
                info.mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
            tar.addfile(info, io.BytesIO(content))


def make_read_only(tree: Path) -> None:
    """Take the write bits off everything below and including `tree`."""
    for path in [*tree.rglob("*"), tree]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
