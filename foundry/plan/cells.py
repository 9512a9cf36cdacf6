"""From matrix and catalogue to cells: a pure function, no network.

A cell is one (driver, kernel); the releases that share a kernel share the cell.
Its toolkit is the one that it was last built in, if the catalogue still has it
for the kernel, else that of the *lowest* such release of the whole catalogue:
a release added later changes no cell (docs/decisions/0003-toolkit-of-a-cell.md).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from foundry.base.names import cell_name, image_tag
from foundry.base.versions import minor_of, named_rhel_release, version_key
from foundry.config.catalogue import CatalogueEntry
from foundry.config.family import Family
from foundry.config.load import Config, MatrixEntry


@dataclass(frozen=True)
class Cell:
    """The unit of work: one module, one image, one tag."""

    driver: str
    family: Family
    kernel: str
    arch: str
    releases: tuple[str, ...]
    toolkit: str
    toolkits: tuple[str, ...] = ()
    flavour: str = "default"

    @cached_property
    def name(self) -> str:
        """``<driver>-<kernel>``: of the cell's folder and tasks."""
        return cell_name(self.driver, self.kernel)

    @cached_property
    def tag(self) -> str:
        """The image's tag."""
        return image_tag(self.driver, self.kernel)

    @property
    def toolkit_digest(self) -> str:
        """``sha256:…`` of the toolkit."""
        return self.toolkit.rpartition("@")[2]

    def compiled_in(self, digest: str) -> Cell:
        """The cell with the toolkit of that digest, if the catalogue has one such for the kernel; else as it is."""
        for reference in self.toolkits if digest else ():
            if reference.endswith(f"@{digest}") and reference != self.toolkit:
                return replace(self, toolkit=reference)
        return self


@dataclass(frozen=True)
class Gap:
    """A release that the matrix wants of a driver and that the catalogue can't give.

    `place` is what names it in the matrix: file, path, and the release or minor. `arch` is empty where only one
    architecture is built; `flavour` is one that no toolkit has.
    """

    driver: str
    release: str  # as the matrix names it where the catalogue has none of it; a minor has no toolkit with the flavour
    place: tuple[str, str, str]
    arch: str = ""
    known: bool = False  # in the catalogue, without kernel
    flavour: str = ""


@dataclass(frozen=True)
class Mismatch:
    """A wanted release whose toolkit is for another kernel than its nodes have: nothing built in it would load."""

    driver: str
    release: str
    arch: str
    kernel: str  # of the cell
    toolkit_kernel: str  # of the default flavour, which the nodes' is compared with
    node_kernel: str

    @property
    def text(self) -> str:
        """Why it is not built, in words."""
        return (f"{self.release} {self.arch}: the toolkit is for {self.toolkit_kernel},"
                f" the nodes have {self.node_kernel}; FORCE_BUILD builds it")


@dataclass(frozen=True)
class Lacking:
    """One of a minor's releases whose toolkit has no kernel of a wanted flavour, though others' toolkits have."""

    driver: str
    release: str
    arch: str
    flavour: str

    @property
    def text(self) -> str:
        """What is not there, in words."""
        return f"{self.release} {self.arch}: the toolkit has no {self.flavour} kernel, so nothing is built for one"


@dataclass(frozen=True)
class Plan:
    """All cells that the matrix wants, by driver, and what it wants in vain.

    `withheld` are the cells that serve mismatched releases alone. By force they are built, and are in `cells`.
    `wants` are the releases and minors of each driver, as the matrix names them; `left_alone` are tags of others.
    """

    cells: tuple[Cell, ...]
    by_driver: Mapping[str, tuple[Cell, ...]]
    families: Mapping[str, Family]
    gaps: tuple[Gap, ...]
    catalogue: str
    empty: bool  # the catalogue has no release at all
    withheld: tuple[Cell, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    wants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    left_alone: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Cell]:
        """The cells by their names."""
        return {cell.name: cell for cell in self.cells}

    def rhel_releases(self, driver: str) -> list[str]:
        """The RHEL releases of a driver's kernels (``8.6``), the lowest first, as far as their names have them."""
        return sorted({named_rhel_release(cell.kernel) for cell in self.by_driver[driver]} - {""}, key=version_key)

    def only(self, cells: Iterable[Cell], drivers: Iterable[str] = ()) -> Plan:
        """The plan with no other cells than these; of drivers with these, their own and further ones."""
        wanted: dict[str, list[Cell]] = {driver: [] for driver in drivers}
        for cell in cells:
            wanted.setdefault(cell.driver, []).append(cell)
        by_driver = {driver: tuple(wanted[driver]) for driver in self.by_driver if driver in wanted}
        return replace(
            self, cells=tuple(itertools.chain.from_iterable(by_driver.values())), by_driver=by_driver,
            families={driver: self.families[driver] for driver in by_driver},
        )

    def narrowed(self, driver: str, release: str) -> tuple[Cell, ...]:
        """The cells that serve a release (``4.18.15``) or any of a minor (``4.18``); both may be patterns."""
        return tuple(
            cell for name, cells in self.by_driver.items() if fnmatchcase(name, driver) for cell in cells
            if any(fnmatchcase(have, release) or fnmatchcase(minor_of(have), release) for have in cell.releases)
        )


@dataclass(frozen=True)
class _Kernels:
    """The catalogue, indexed for look-ups by minor and by release."""

    by_want: Mapping[str, Sequence[CatalogueEntry]]
    arches: tuple[str, ...]
    toolkits: Mapping[tuple[str, str], Sequence[str]]
    flavours: Mapping[tuple[str, str], str]


def make_plan(config: Config, *, force: bool = False) -> Plan:
    """Every cell of the matrix, sorted by driver and kernel version; with `force` those of mismatched releases, too."""
    index = _index(config)
    releases: dict[str, dict[tuple[str, str], set[str]]] = {}
    families: dict[str, Family] = {}
    found: dict[Gap | Mismatch | Lacking, None] = {}
    for want in config.wants:
        families[want.driver] = config.families[want.family]
        cells = releases.setdefault(want.driver, defaultdict(set))
        found |= dict.fromkeys(_gather(want, index, cells, force=force))
    mismatches = tuple(one for one in found if isinstance(one, Mismatch))
    every = {
        driver: tuple(_cells(driver, families[driver], releases[driver], index))
        for driver in sorted(releases, key=version_key)
    }
    left_alone = frozenset(cell.tag for cells in every.values() for cell in cells
                           if any(fnmatchcase(cell.tag, pattern) for pattern in config.settings.leave_tags))
    by_driver = {driver: tuple(cell for cell in cells if cell.tag not in left_alone) for driver, cells in every.items()}
    return Plan(
        tuple(cell for cells in by_driver.values() for cell in cells), by_driver, families,
        tuple(one for one in found if isinstance(one, Gap)), config.settings.catalogue, not config.catalogue,
        tuple(_withheld(mismatches, by_driver, families, index)), mismatches,
        tuple(one for one in found if isinstance(one, Lacking)),
        {driver: frozenset(release for want in config.wants if want.driver == driver for release in want.releases)
         for driver in by_driver}, tuple(sorted(left_alone, key=version_key)),
    )


def _withheld(
    mismatches: Iterable[Mismatch], by_driver: Mapping[str, Sequence[Cell]], families: Mapping[str, Family],
    index: _Kernels,
) -> Iterable[Cell]:
    """The cells that nothing but mismatched releases would need."""
    releases: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in mismatches:
        releases[one.driver][one.kernel, one.arch].add(one.release)
    for driver, kernels in releases.items():
        wanted = {(cell.kernel, cell.arch) for cell in by_driver[driver]}
        others = {place: names for place, names in kernels.items() if place not in wanted}
        yield from _cells(driver, families[driver], others, index)


def _index(config: Config) -> _Kernels:
    arches = set(config.settings.arch)
    by_want: dict[str, list[CatalogueEntry]] = defaultdict(list)
    toolkits: dict[tuple[str, str], list[str]] = defaultdict(list)
    flavours: dict[tuple[str, str], str] = {}
    for entry in sorted(config.catalogue, key=lambda entry: version_key(entry.version)):
        if entry.arch not in arches:
            continue
        by_want[entry.version].append(entry)
        by_want[minor_of(entry.version)].append(entry)
        for flavour, kernel in entry.kernels.items():
            toolkits[kernel, entry.arch].append(entry.dtk)
            flavours.setdefault((kernel, entry.arch), flavour)
    return _Kernels(by_want, tuple(config.settings.arch), toolkits, flavours)


def _gather(
    want: MatrixEntry, index: _Kernels, cells: dict[tuple[str, str], set[str]], *, force: bool
) -> Iterable[Gap | Mismatch | Lacking]:
    file, path = want.where
    arches = want.arch or index.arches
    for number, release in enumerate(want.releases):
        place = (file, f"{path}.ocp_versions[{number}]", release)
        entries: dict[str, list[CatalogueEntry]] = {arch: [] for arch in arches}
        for entry in index.by_want.get(release, ()):
            if entry.arch in entries:
                entries[entry.arch].append(entry)
        for arch, listed in entries.items():
            shown = arch if len(index.arches) > 1 else ""
            if not listed:
                yield Gap(want.driver, release, place, shown)
            yield from (
                Gap(want.driver, entry.version, place, shown, known=True) for entry in listed if not entry.kernel)
            found = [entry for entry in listed if entry.kernel]
            for flavour in want.flavours if found else ():
                if any(entry.kernel_of(flavour) for entry in found):
                    yield from _of_flavour(want.driver, flavour, found, cells, force=force)
                else:
                    yield Gap(want.driver, release, place, shown, flavour=flavour)


def _of_flavour(
    driver: str, flavour: str, entries: Iterable[CatalogueEntry], cells: dict[tuple[str, str], set[str]], *,
    force: bool,
) -> Iterable[Mismatch | Lacking]:
    """The kernels of one flavour that these entries of the catalogue have, into `cells`; what they don't have."""
    for entry in entries:
        kernel = entry.kernel_of(flavour)
        if not kernel:
            yield Lacking(driver, *entry.place, flavour)
        elif entry.mismatch and not force:
            yield Mismatch(driver, *entry.place, kernel, entry.kernel, entry.node_kernel or "another kernel")
        else:
            cells[kernel, entry.arch].add(entry.version)


def _cells(
    driver: str, family: Family, kernels: Mapping[tuple[str, str], set[str]], index: _Kernels
) -> Iterable[Cell]:
    for kernel, arch in sorted(kernels, key=lambda pair: (version_key(pair[0]), pair)):
        releases = tuple(sorted(kernels[kernel, arch], key=version_key))
        toolkits = tuple(dict.fromkeys(index.toolkits[kernel, arch]))
        yield Cell(driver, family, kernel, arch, releases, toolkits[0], toolkits, index.flavours[kernel, arch])
