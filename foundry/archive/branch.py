"""The archive's branch: where the documents are, and where all versions are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.archive import form
from foundry.archive.content import Store, Version, branch_files, sort_key
from foundry.archive.git import Commit, Identity
from foundry.archive.gittree import FILE, Listing
from foundry.archive.place import Place
from foundry.archive.settings import Settings

if TYPE_CHECKING:
    from foundry.packages.offers import Offer


@dataclass
class Branch:
    """The branch: the documents as they are now, and all versions joined, the newest one's sources on top."""

    settings: Settings
    store: Store
    where: Place
    offer: Offer
    when: int

    def write(self, versions: Sequence[Version]) -> None:
        """The documents, if they changed; before the versions, so that the list that these were found in is there."""
        tip = self.where.tip
        before = self.store.listing(tip)
        self._commit(before, versions, [tip] if tip else [], self._reached(versions))

    def join(self, versions: Sequence[Version]) -> None:
        """The versions that the branch does not have yet."""
        leaves = self.where.unmerged(versions)
        if leaves:
            self._commit(self.store.listing(self.where.tip), versions, [self.where.tip, *leaves], list(versions))

    def _reached(self, versions: Sequence[Version]) -> list[Version]:
        missing = set(self.where.outside_of_branch(versions))
        return [one for one in versions if one.commit not in missing]

    def _commit(
        self, before: Listing, versions: Sequence[Version], parents: Sequence[str], there: Sequence[Version]
    ) -> None:
        settings = self.settings
        newest = max(there, key=lambda one: sort_key(one.evr), default=None)
        files = branch_files(
            self.offer.documents, self.store.listing(newest.commit if newest else ""),
            [before, *(self.store.listing(parent) for parent in parents[1:])],
        )
        furniture = {**settings.furniture, form.README: self._readme()}
        made = self.store.assemble(files | {path: (FILE, data) for path, data in furniture.items()}, before)
        if not made.changed and len(parents) <= 1:
            return
        message = form.update_message(form.Update(
            form.subjects(path for _, path in made.changed), self.offer.revision,
            str(newest.evr) if newest else "", len(there), self.when, settings.keeper, made.sha256, made.changed,
        ))
        identity = Identity(settings.name, settings.email, self.when)
        oid = self.store.git.commit(settings.ref, Commit(identity, message, tuple(parents), made.files))
        self.store.listings[oid] = made.listing
        self.where.moved(oid)

    def _readme(self) -> bytes:
        settings = self.settings
        repository = settings.family["repository"]
        return form.readme(settings.family["title"], settings.fingerprint, {
            "packages": ", ".join(f"`{name}`" for name in settings.packages), "repository": f"<{repository['url']}>",
        })
