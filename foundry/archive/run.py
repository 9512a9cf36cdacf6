"""`doit archive`: the archive brought up to date, version by version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.archive import content, form
from foundry.archive.branch import Branch
from foundry.archive.content import Store, Version
from foundry.archive.form import Evr
from foundry.archive.gittree import FILE
from foundry.archive.place import Place, pull, push, ready
from foundry.archive.record import Record, read_state, write_state
from foundry.archive.settings import Settings, settings_of
from foundry.base.errors import FoundryError
from foundry.base.filelock import locked
from foundry.base.files import remove_tree, scratch, sha256_bytes
from foundry.base.reasons import Reason
from foundry.config.family import Family
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.packages.repodata import RepoPackage
    from foundry.packages.offers import Offer, Origin

_READINGS = 3  # of a repository that is published anew while it is read


def archive(foundry: Foundry, family: Family) -> None:
    """Bring the family's archive up to date, and its remote.

    What is finished stays whatever happens: each version is there with its tag, or not at all.
    Raises FoundryError: an offer that can't be had or trusted, an archive that is not ours to write.
    """
    folder = foundry.root / foundry.config.build / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{family.name}.log"
    log.unlink(missing_ok=True)
    settings = settings_of(foundry, family)
    run = _Run(settings, folder / f"{family.name}.json", folder, log,
               lambda text: print(f"  {text}", flush=True) if foundry.verbosity else None)
    with locked(folder / f".lock-{family.name}"):
        try:
            run.perform()
        except FoundryError as error:
            error.log = error.log or (log if log.exists() else None)
            raise


@dataclass
class _Run:
    settings: Settings
    record: Path
    work: Path
    log: Path
    say: Callable[[str], None]
    added: list[str] = field(default_factory=list)

    def perform(self) -> None:
        from foundry.packages import offers

        settings = self.settings
        origin = offers.Origin(settings.base_url, settings.key_url, settings.notes_url, settings.packages,
                               settings.arch, settings.seconds, self.log)
        known = read_state(self.record, settings)
        if known is not None and self._current(origin, known):
            if not known.pushed:
                push(settings, ready(settings), self.log, self.say)
                write_state(self.record, settings, known.as_pushed())
            self.say("nothing new" if known.pushed else "nothing new; pushed")
            return
        for stale in self.work.glob(f".work-{settings.family.name}.*"):
            remove_tree(stale)
        where = ready(settings)
        with locked(where.git.folder / "kmod-foundry.lock"):
            where.prepare()
            pull(settings, where, self.log)
            try:
                offer = self._update(origin, where)
            except FoundryError:
                with suppress(FoundryError):
                    where.finish()
                raise
            where.finish()
            state = Record.of(offer, where, folder=offers.folder_state(origin) if settings.is_folder else "")
            write_state(self.record, settings, state)
            if settings.remote:
                push(settings, where, self.log, self.say)
            write_state(self.record, settings, state.as_pushed())
            where.git.tidy()
        self.say(f"{where.git.place}: {_count(len(self.added))} added, {state.versions} in all")

    def _current(self, origin: Origin, known: Record) -> bool:
        from foundry.packages import offers

        if self.settings.is_folder:
            return known.folder == offers.folder_state(origin)
        return not known.folder and offers.unchanged(origin, known.validators, known.seen)

    def _update(self, origin: Origin, where: Place) -> Offer:
        """Metadata, versions, and what joins them; once more where the repository changed meanwhile."""
        from foundry.packages import offers
        from foundry.packages.repository import STALE

        read = offers.read_folder if self.settings.is_folder else offers.read_repository
        offer = read(origin, self.notes_name)
        for _ in range(_READINGS):
            try:
                self._write(origin, offer, where)
                return offer
            except FoundryError as error:
                again = read(origin, self.notes_name) if error.reason in STALE else offer
                if again.documents == offer.documents and again.packages == offer.packages:
                    raise
                offer = again
        raise FoundryError("the repository changes faster than it can be read", reason=Reason.DIGEST_MISMATCH,
                           hint="what was archived stays; try again later", retry=True)

    def _write(self, origin: Origin, offer: Offer, where: Place) -> None:
        store = Store(where.git)
        versions = content.versions_of(where.refs())
        pending = self._pending(offer, versions, where)
        newest_time = max([one.build_time for one in offer.packages] + [one.when for one in versions], default=0)
        branch = Branch(self.settings, store, where, offer, newest_time)
        with scratch(self.work, f"work-{self.settings.family.name}") as folder:
            key = folder / "key"
            key.write_bytes(next(data for name, data in offer.documents.items() if name.startswith("key.")))
            self._require_key(key)
            branch.write(versions)
            for number, one in enumerate(pending, 1):
                self.say(f"archiving {one.name} {one.version}  [{number}/{len(pending)}]")
                versions.append(self._version(origin, one, offer, store, versions, key))
                self.added.append(one.version)
        branch.join(versions)

    def _require_key(self, key: Path) -> None:
        """The public key that is offered must be the pinned one, or have it, before it goes into the archive."""
        from foundry.archive.key_time import creation_time
        from foundry.packages import gpg

        if creation_time(gpg.keyring(key), self.settings.fingerprint) is None:
            raise FoundryError(
                f"the public key at {self.settings.family['signing']['key_url']} is not {self.settings.fingerprint}",
                reason=Reason.SIGNATURE_WRONG_KEY, hint="take a newer one only from the vendor, over a way you trust",
            )

    def _pending(self, offer: Offer, versions: Sequence[Version], where: Place) -> list[RepoPackage]:
        """What is not there yet, lowest version first. Raises ``driver-ambiguous``, ``archive-diverged``."""
        left_out = {*self.settings.exclude}
        mine = [one for one in offer.packages if not left_out & {one.version, f"{one.version}-{one.release}"}]
        by_tag: dict[str, list[RepoPackage]] = {}
        for one in mine:
            by_tag.setdefault(self._tag(one), []).append(one)
        for tag, found in by_tag.items():
            if len(found) > 1:
                places = ", ".join(sorted(one.href for one in found))
                raise FoundryError(
                    f"there are {len(found)} packages for the tag {tag.removeprefix(content.TAGS)}: {places}",
                    reason=Reason.DRIVER_AMBIGUOUS,
                    hint="ask the vendor which one is meant; `archive.exclude` in the family's file leaves it out",
                )
        names = sorted(one.href.rpartition("/")[2] for one in mine)
        twice = next((name for name, other in pairwise(names) if name == other), "")
        if twice:
            raise FoundryError(f"two packages have the file name {twice}", reason=Reason.DRIVER_AMBIGUOUS,
                               hint="`archive.exclude` in the family's file leaves a version out")
        there = {one.tag for one in versions}
        taken = sorted(by_tag.keys() & where.refs().keys() - there)
        if taken:
            raise FoundryError(
                f"{where.git.place} has a tag {taken[0].removeprefix(content.TAGS)} that is none of this archive's",
                reason=Reason.ARCHIVE_DIVERGED, hint="archive into a repository of its own, or remove the tag",
            )
        pending = [found[0] for tag, found in by_tag.items() if tag not in there]
        return sorted(pending, key=lambda one: content.sort_key(_evr(one)))

    def _version(
        self, origin: Origin, one: RepoPackage, offer: Offer, store: Store, versions: Sequence[Version], key: Path
    ) -> Version:
        """Fetch, verify, unpack and commit one version."""
        from foundry.archive.git import Commit, Identity
        from foundry.archive.key_time import creation_time
        from foundry.packages import gpg, offers

        settings, evr = self.settings, _evr(one)
        file = key.parent / "package.rpm"
        try:
            got = offers.obtain(origin, one, key, settings.fingerprint, file)
            payload = content.payload_files(file, got.package, key.parent)
        except FoundryError as error:
            error.message = f"{one.href}: {error.message}"
            raise
        before = content.parent_of(evr, got.package.build_time, versions)
        base = store.listing(before.commit if before else "")
        name = one.href.rpartition("/")[2]
        root, files = content.version_files(payload, name, got.data, base)
        furniture = {path: (FILE, data) for path, data in settings.furniture.items()}
        made = store.assemble(files | furniture, base)
        signature = got.signature
        said = form.Said(
            name, one.href if offer.listed else "", sha256_bytes(got.data), signature.fingerprint, signature.uid,
            creation_time(gpg.keyring(key), signature.fingerprint), offer.listed, root,
            self._notes(offer, one.version), settings.keeper, made.sha256, made.changed,
            settings.family["repository"]["url"] if offer.listed else "",
        )
        commit = Commit(Identity(settings.name, settings.email, got.package.build_time),
                        form.version_message(got.package, said), (before.commit,) if before else (), made.files)
        oid = store.git.commit(self._tag(one), commit)
        store.listings[oid] = made.listing
        return Version(evr, oid, got.package.build_time, self._tag(one))

    def _tag(self, one: RepoPackage) -> str:
        return content.TAGS + form.tag_name(_evr(one), with_release=self.settings.with_release)

    @property
    def notes_name(self) -> str:
        """What the release notes are called in the archive."""
        return form.NOTES + self.settings.notes_suffix

    def _notes(self, offer: Offer, version: str) -> str | None:
        from foundry.archive.vendor_notes import section_of

        data = offer.documents.get(self.notes_name)
        return section_of(data.decode("utf-8", "replace"), version) if data else None


def _evr(one: RepoPackage) -> Evr:
    return Evr(one.epoch, one.version, one.release)


def _count(number: int) -> str:
    return f"{number} {'version' if number == 1 else 'versions'}"
