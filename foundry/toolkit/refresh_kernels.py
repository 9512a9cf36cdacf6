"""Stage dtk:kernels: the kernels of the releases' nodes, and the bases of their toolkits, found by small reads.

As the catalogue: a list that can't be had, or a release that is no longer there, leaves the kernel list as it was; a
release that can't be read is left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import append_to
from foundry.catalogue.find_releases import find_releases, lost, require_wanted
from foundry.catalogue.refresh_run import RefreshRun
from foundry.catalogue.release_lists import Lists
from foundry.catalogue.resolve import Resolver
from foundry.config.catalogue import CatalogueEntry, KernelList
from foundry.plan.catalogue import Release, by_place, library_minors, log_path
from foundry.plan.toolkits import Toolkit, toolkit_of
from foundry.run.context import Foundry
from foundry.toolkit.kernel_list import change_kernels, read_base_of, read_kernels

Job = Release | Toolkit  # a release, or a toolkit whose base is to be locked
_SHOWN = 20


def refresh(foundry: Foundry, *, allow_shrink: bool, update_base: bool) -> None:
    """Bring the kernel list up to date; errors as of `foundry.catalogue.refresh.refresh`."""
    run = _Run(foundry, time.monotonic(), "dtk:kernels")
    log = foundry.root / log_path(foundry.config)
    with run.begun(log):
        run.refresh(log, allow_shrink=allow_shrink, update_base=update_base)


@dataclass
class _Run(RefreshRun):
    def refresh(self, log: Path, *, allow_shrink: bool, update_base: bool) -> None:
        foundry, file = self.foundry, self.foundry.settings.toolkits.kernels
        kernels = read_kernels(foundry)
        lists = Lists(log.parent / "answers", self.policy, self.pen, foundry.addresses.resolve, append_to(log))
        minors = library_minors(foundry.config.wants, foundry.settings.toolkits.since)
        found = find_releases(foundry, lists, minors, foundry.ending).releases
        gone = set(lost(foundry, kernels.releases, found, minors, allow=allow_shrink, file=file))
        require_wanted(foundry, found)
        known = by_place(kernels.releases)
        new = [
            release for release in found if release.version not in self.settings.exclude
            and [entry.payload for entry in known.get(release.place, ())][:1] != [release.payload]
        ]
        resolver = Resolver(foundry, self.policy, self.pen, ())
        self.read(new, resolver.kernels)
        new = [release for release in new if release in self.results]
        places = {release.place for release in new} | gone
        kept = [entry for place, entries in known.items() if place not in places for entry in entries]
        releases = kept + [entry for release in new for entry in self.results[release]]
        toolkits = self._without_base(releases, kernels, update_base)
        self.read(list(toolkits.values()), partial(read_base_of, foundry, resolver.registry))
        bases = {name: self.results[toolkit] for name, toolkit in toolkits.items()}

        def change(now: KernelList) -> KernelList:
            return KernelList({**now.bases, **bases}, tuple(releases))

        if releases or kernels.releases:
            change_kernels(foundry, change)
        self._tell(kernels, releases, bases, len(found))
        self.warn_of_left_out()

    def _without_base(
        self, releases: list[CatalogueEntry], kernels: KernelList, update: bool
    ) -> dict[str, Toolkit]:
        """A toolkit of each base that has to be asked for, by the base's name; a kernel without recipe has none."""
        toolkits: dict[str, Toolkit] = {}
        for kernel in dict.fromkeys(entry.kernel for entry in releases):
            try:
                toolkit = toolkit_of(self.foundry.config, kernel)
                name = toolkit.base_name
            except FoundryError as error:
                self.foundry.journal.warn(f"kernel {kernel} gets no toolkit: {error.sentence}")
                continue
            if update or name not in kernels.bases:
                toolkits.setdefault(name, toolkit)
        return toolkits

    def _tell(
        self, before: KernelList, releases: list[CatalogueEntry], bases: Mapping[str, Any], found: int
    ) -> None:
        old = {entry.kernel for entry in before.releases}
        kernels = dict.fromkeys(entry.kernel for entry in releases)
        new = [kernel for kernel in kernels if kernel not in old]
        for name, base in bases.items():
            self.foundry.journal.warn(f"{name} is locked as {base['digest']}: its toolkits are made anew"
                                      if name in before.bases else f"{name} is locked as {base['digest']}")
        if not self.foundry.verbosity:
            return
        for kernel in new[:_SHOWN]:
            print(f"  {kernel}")
        if len(new) > _SHOWN:
            print(f"  and {len(new) - _SHOWN} more")
        print(f"  {found} releases with {len(kernels)} kernels: {len(new)} new, {len(kernels) - len(new)} known")
