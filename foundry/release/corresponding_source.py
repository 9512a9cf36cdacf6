"""The modified source of a driver as one tarball: what was changed, why, for which kernels, and how to build it.

Pristine tree, patch series as real diffs, build files and a README whose commands make
a module again. The same facts give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, atomic, read_file, sha256_file
from foundry.base.plain_text import plain
from foundry.base.reasons import Reason
from foundry.base.records import read_record
from foundry.base.versions import version_key
from foundry.config.patches import Patch, edited, file_of
from foundry.config.recipe import BUILD_SCRIPT, Recipe
from foundry.driver.source import RECORD, tree_sha256
from foundry.plan.releases import asset_name
from foundry.release.source_readme import BUILD, NONE, PATCHES, SOURCE, Readme, SeriesText, readme


@dataclass(frozen=True)
class Series:
    """Kernels whose modules have the same patches, in the order in which they are applied; none is a series, too."""

    kernels: tuple[str, ...]
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class CorrespondingSource:
    """Everything that the tarball depends on.

    `tree` is what the stage `source` left, with its record beside it; `files` are further
    files by their names in the tarball (`build_files` gives the usual ones); `recipe` says how
    modules are made; `toolkits` the toolkit of each kernel, by digest;
    `mtime` the time of all members, in seconds since 1970.
    """

    title: str
    driver: str
    package_name: str
    package_url: str
    package_sha256: str
    package_license: str
    tree: Path
    series: tuple[Series, ...]
    files: Mapping[str, bytes]
    recipe: Recipe
    toolkits: Mapping[str, str]
    mtime: int

    @property
    def name(self) -> str:
        """The tarball's name without its suffix, and the folder that is in it."""
        return asset_name(self.package_name, self.driver).removesuffix(".tar.gz")


def build_files(root: Path, containerfile: str, licenses: Sequence[str]) -> dict[str, bytes]:
    """The build script, the Containerfile and the licence texts, paths below `root`, by their names in the tarball."""
    names = {BUILD_SCRIPT: "", containerfile: "", **dict.fromkeys(licenses, "licenses/")}
    return {f"{BUILD}/{below}{Path(name).name}": read_file(root / name) for name, below in names.items()}


def write_corresponding_source(dest: Path, source: CorrespondingSource, log: Path | None = None) -> None:
    """Write the tarball (.tar.gz) to `dest`, which appears whole or not at all.

    Raises FoundryError: ``source-missing`` and ``source-changed`` where `tree` is not what
    the stage `source` left of this package, what a patch that does not fit raises.
    ValueError where no kernel is named, or one twice.
    """
    from foundry.formats.trees.sourcetar import Entry, tree_entries, write_tar_gz

    named = [kernel for series in source.series for kernel in series.kernels]
    if not named or len(set(named)) != len(named) or not all(series.kernels for series in source.series):
        raise ValueError("each series has kernels, and no kernel has two series")
    _check_tree(source)
    folders = _folders(source)
    entries = [
        Entry("README.md", content=plain(_readme(source, folders)).encode()),
        Entry(SOURCE), *tree_entries(source.tree, f"{SOURCE}/"),
        Entry(f"{PATCHES}/kernels.txt", content=_kernels(source, folders)),
        *(Entry(f"{PATCHES}/{folder}/{name}", content=text)
          for folder, (_, diffs) in folders.items() for name, text in _series_files(diffs)),
        *(Entry(name, content=content) for name, content in source.files.items()),
    ]
    with atomic(dest) as sink:
        write_tar_gz(sink, entries, top=source.name, mtime=source.mtime)
    if log is not None:
        patches = ", ".join(folders) or "no patches"
        append_to(log)(f"{dest.name}: {dest.stat().st_size} bytes, sha256 {sha256_file(dest)}; {patches}")


# -- patches -------------------------------------------------------------------

_Diffs = list[tuple[Patch, bytes]]


def _folders(source: CorrespondingSource) -> dict[str, tuple[Series, _Diffs]]:
    """The series that change something, by the name of their folder, in the order of their oldest kernel."""
    made = [(series, _diffs(source.tree, series.patches)) for series in source.series]
    changing = sorted(
        ((series, diffs) for series, diffs in made if diffs),
        key=lambda one: min((version_key(kernel), kernel) for kernel in one[0].kernels),
    )
    named = {}
    for number, (series, diffs) in enumerate(changing, 1):
        more = f"-and-{len(diffs) - 1}-more" if len(diffs) > 1 else ""
        named[f"{number:02}-{diffs[0][0].id}{more}"] = (series, diffs)
    return named


def _diffs(tree: Path, patches: Sequence[Patch]) -> _Diffs:
    """Each patch as a diff on top of those before it; one that changes nothing is left out."""
    from foundry.formats.trees.diffs import unified_diff

    now: dict[str, bytes] = {}
    diffs = []
    for patch in patches:
        before: dict[str, bytes] = {}
        for edit in patch.edits:
            path = file_of(patch, edit, tree)
            name = os.path.normpath(edit.file)
            content = now[name] if name in now else read_file(path)
            before.setdefault(name, content)
            now[name] = edited(patch, edit, content)
        if diff := b"".join(unified_diff(name, old, now[name]) for name, old in before.items()):
            diffs.append((patch, _patch_header(patch) + diff))
    return diffs


def _patch_header(patch: Patch) -> bytes:
    """What it is and why; no line can be taken for a part of a diff, as a line from elsewhere could."""
    ranges = [("drivers", patch.drivers), ("kernels", patch.kernels), ("RHEL", patch.rhel)]
    wanted = ", ".join(f"{name} {text}" for name, text in ranges if text != "*") or "everything"
    lines = {"Subject": patch.id, "Description": patch.why, "Needed-for": wanted}
    return "".join(f"{name}: {' '.join(text.split())}\n" for name, text in lines.items()).encode() + b"\n"


def _series_files(diffs: _Diffs) -> Iterator[tuple[str, bytes]]:
    names = [f"{number:04}-{patch.id}.patch" for number, (patch, _) in enumerate(diffs, 1)]
    yield "series", "".join(f"{name}\n" for name in names).encode()
    for name, (_, text) in zip(names, diffs, strict=True):
        yield name, text


# -- tables --------------------------------------------------------------------


def _kernels(source: CorrespondingSource, folders: Mapping[str, tuple[Series, _Diffs]]) -> bytes:
    folder_of = {kernel: folder for folder, (series, _) in folders.items() for kernel in series.kernels}
    lines = ["# kernel, its folder of patches, its toolkit"]
    lines += [f"{kernel} {folder_of.get(kernel, NONE)} {source.toolkits[kernel]}" for kernel in _all_kernels(source)]
    return "".join(f"{line}\n" for line in lines).encode()


def _all_kernels(source: CorrespondingSource) -> list[str]:
    return _sorted(kernel for series in source.series for kernel in series.kernels)


def _sorted(kernels: Iterator[str] | Sequence[str]) -> list[str]:
    return sorted(set(kernels), key=lambda kernel: (version_key(kernel), kernel))


def _readme(source: CorrespondingSource, folders: Mapping[str, tuple[Series, _Diffs]]) -> str:
    texts = tuple(
        SeriesText(folder, tuple(_sorted(series.kernels)), tuple(
            (name, patch.why) for (name, _), (patch, _) in zip(list(_series_files(diffs))[1:], diffs, strict=True)
        ))
        for folder, (series, diffs) in folders.items()
    )
    changed = {kernel for text in texts for kernel in text.kernels}
    kernels = _all_kernels(source)
    return readme(Readme(
        title=source.title, driver=source.driver, name=source.name, package=source.package_name,
        url=source.package_url, sha256=source.package_sha256, license=source.package_license,
        series=texts, unchanged=tuple(kernel for kernel in kernels if kernel not in changed),
        # the commands as they stand show patches, where there are any
        example=texts[-1].kernels[-1] if texts else kernels[-1],
        recipe=source.recipe, files=tuple(sorted(source.files)),
    ))


def _check_tree(source: CorrespondingSource) -> None:
    record = read_record(source.tree.parent / RECORD, "source")
    if record is None or record["content_sha256"] != source.package_sha256 or not source.tree.is_dir():
        raise FoundryError(
            f"the sources of {source.driver} that were published are not there", reason=Reason.SOURCE_MISSING,
            hint=f"run `doit source:{source.driver}`",
        )
    if tree_sha256(source.tree) != record["tree_sha256"]:
        raise FoundryError(
            f"the pristine sources of {source.driver} were changed by hand", reason=Reason.SOURCE_CHANGED,
            hint=f"remove {source.tree.parent} and build again; changes belong into patches",
        )
