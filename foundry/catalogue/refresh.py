"""Stage toolkit: the catalogue and the base images, found in the network by small reads.

Everything is found out before anything is written: a list that can't be had, or an image that is not to be trusted,
leaves catalogue and locks as they were; a release that can't be read is left out, with what is known of it as it was.
What was read is kept by digest, so the next run goes on where this one ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foundry.base.documents import as_document
from foundry.base.errors import OutsideError
from foundry.base.filelock import locked
from foundry.base.files import append_to, read_file, write_atomic
from foundry.base.reasons import Reason
from foundry.catalogue.base_lock import resolve_base, write_base
from foundry.catalogue.find_releases import find_releases, lost, require_wanted
from foundry.catalogue.refresh_run import RefreshRun
from foundry.catalogue.release_lists import Lists
from foundry.catalogue.resolve import CustomToolkits, Resolver
from foundry.config.catalogue import CatalogueEntry, Place
from foundry.config.family import Family
from foundry.plan.catalogue import (
    Change,
    Release,
    by_place,
    catalogue_bytes,
    changed,
    is_complete,
    log_path,
    wanted_minors,
)
from foundry.plan.catalogue import read_entries as read_catalogue
from foundry.plan.locks import pending_bases
from foundry.plan.upgrades import upgrades_bytes, upgrades_of
from foundry.run.context import Foundry

_SHOWN = 20  # releases, by name

Job = Release | Family | Place  # a release, a base, or a toolkit by reference and architecture


def refresh(
    foundry: Foundry, *, custom: Callable[[Foundry], CustomToolkits | None], allow_shrink: bool, update_base: bool
) -> None:
    """Bring the catalogue and the locks' base images up to date; `custom` finds toolkits that the profile names.

    Raises ConfigError for our own files, OutsideError for all that others give us; then nothing was written. Raises
    FoundryError ``releases-left-out`` after all others were written.
    """
    run = _Run(foundry, time.monotonic(), "toolkit")
    log = foundry.root / log_path(foundry.config)
    with run.begun(log):
        run.refresh(log, custom(foundry), allow_shrink=allow_shrink, update_base=update_base)


@dataclass
class _Run(RefreshRun):
    def refresh(
        self, log: Path, custom: CustomToolkits | None, *, allow_shrink: bool, update_base: bool
    ) -> None:
        foundry = self.foundry
        entries = self._entries()
        lists = Lists(log.parent / "answers", self.policy, self.pen, foundry.addresses.resolve, append_to(log))
        minors = wanted_minors(foundry.config.wants)
        listed = find_releases(foundry, lists, minors, foundry.ending)
        found = listed.releases
        gone = lost(foundry, entries, found, minors, allow=allow_shrink, file=foundry.settings.catalogue)
        require_wanted(foundry, found)
        known = by_place(entries)
        new = [
            release for release in found if release.version not in self.settings.exclude
            and not (is_complete(known.get(release.place, ()), release.payload)
                     and (custom is None or custom.has(known[release.place])))
        ]
        places = {release.place for release in new} | set(gone)
        toolkits = dict.fromkeys(
            (entry.dtk, entry.arch) for place, rows in known.items() if place not in places
            for entry in rows if not entry.kernel
        )
        bases = pending_bases(foundry.config, update=update_base)
        resolver = Resolver(foundry, self.policy, self.pen, entries, custom)
        self.read([*bases, *toolkits, *new], partial(_work, resolver, update_base))
        change = Change(
            {release.place: self.results[release] for release in new if release in self.results},
            {place: self.results[place] for place in toolkits if place in self.results}, frozenset(gone),
        )
        for family in bases:
            write_base(foundry, family, self.results[family])
        self._write(change)
        if listed.edges:
            known_upgrades = {arch: upgrades_of(edges) for arch, edges in listed.edges.items()}
            self._write_file(foundry.settings.upgrades, upgrades_bytes(known_upgrades, minors))
        self._tell(change, len(found))
        self.warn_of_left_out()

    def _entries(self) -> tuple[CatalogueEntry, ...]:
        name = self.foundry.settings.catalogue
        return read_catalogue(self.foundry.root / name, name, self.foundry.config.validation)

    def _write(self, change: Change) -> None:
        """Into the catalogue, beside whatever an editor changed meanwhile."""
        foundry, name = self.foundry, self.foundry.settings.catalogue
        with locked(foundry.root / foundry.config.build / ".lock-catalogue"):
            before = self._entries()
            after = changed(before, change)
            faults = foundry.config.validation.faults("catalogue", [as_document(entry) for entry in after], name)
            if faults:
                raise OutsideError(f"what was found does not fit into a catalogue: {faults[0].render()}",
                                   reason=Reason.RELEASES_MALFORMED, hint="nothing was changed")
            self._write_file(name, catalogue_bytes(after))
        self._warn(by_place(before), change)

    def _write_file(self, name: str, data: bytes) -> None:
        path = self.foundry.root / name
        if not path.exists() or data != read_file(path):
            write_atomic(path, data)

    def _warn(self, before: Mapping[Place, Sequence[CatalogueEntry]], change: Change) -> None:
        warn = self.foundry.journal.warn
        for place, entries in change.found.items():
            for old in before.get(place, ()):
                fit = [entry for entry in entries if old.stream in ("", entry.stream)]
                for name in ("dtk", "kernel", "rt_kernel"):
                    was, now = getattr(old, name), [getattr(entry, name) for entry in fit]
                    if was and fit and was not in now:
                        warn(f"{' '.join(place)}: {name} was {was}, and is {now[0] or 'gone'}")
            for entry in entries:
                if entry.mismatch:
                    warn(f"{' '.join(place)}: the toolkit is for {entry.kernel}, the nodes have"
                         f" {entry.node_kernel}: not built unless FORCE_BUILD is set")
                if not entry.node_kernel:
                    warn(f"{' '.join(place)}: no node image tells its kernel, so nothing is compared")
        for place in sorted(change.gone):
            warn(f"{' '.join(place)} was taken out: it is no longer to be found")

    def _tell(self, change: Change, found: int) -> None:
        if not self.foundry.verbosity:
            return
        for release in list(change.found)[:_SHOWN]:
            kernels = " and ".join(kernel for entry in change.found[release] for kernel in entry.kernels.values())
            print(f"  {' '.join(release)}  {kernels}")
        if len(change.found) > _SHOWN:
            print(f"  and {len(change.found) - _SHOWN} more")
        left_out = sum(isinstance(job, Release) for job in self.left_out)
        print(f"  {found} releases: {len(change.found)} new, {found - len(change.found) - left_out} known"
              + (f", {left_out} left out" if left_out else ""))


def _work(resolver: Resolver, update_base: bool, job: Job) -> Any:
    if isinstance(job, Release):
        return resolver.release(job)
    if isinstance(job, Family):
        return resolve_base(resolver, job, update=update_base)
    return resolver.toolkit(job)
