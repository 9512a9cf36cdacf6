"""The record of an archive: what was seen when it was last up to date, so that nothing new costs one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.archive.content import versions_of
from foundry.archive.git import refs_state
from foundry.archive.settings import Settings
from foundry.base.records import read_record, write_record
from foundry.net.http import Validators

if TYPE_CHECKING:
    from foundry.archive.place import Place
    from foundry.packages.offers import Offer

STAGE = "archive"


@dataclass(frozen=True)
class Record:
    """`seen` has the SHA-256 of each watched document by URL, `folder` the state of a folder of packages."""

    validators: Mapping[str, Validators]
    seen: Mapping[str, str]
    folder: str
    git: str
    refs: str
    versions: int
    newest: str
    pushed: bool

    @classmethod
    def of(cls, offer: Offer, place: Place, *, folder: str) -> Record:
        """What is to be remembered of a run that did all that there was to do."""
        versions = versions_of(place.refs())
        return cls(
            offer.validators, offer.seen, folder, str(place.git.folder),
            refs_state(place.git.folder, place.settings.ref), len(versions),
            str(versions[-1].evr) if versions else "", not place.settings.remote,
        )

    def as_pushed(self) -> Record:
        """The same, with the remote up to date, too."""
        return replace(self, pushed=True)


def read_state(path: Path, settings: Settings) -> Record | None:
    """The record, where it is of these settings and the archive's refs are as they were then."""
    found = read_record(path, STAGE)
    if found is None or found["settings"] != settings.digest:
        return None
    state = Record(
        {url: Validators(**one) for url, one in found["validators"].items()}, found["seen"], found["folder"],
        found["git"], found["refs"], found["versions"], found["newest"], found["pushed"],
    )
    return state if state.refs and refs_state(Path(state.git), settings.ref) == state.refs else None


def write_state(path: Path, settings: Settings, state: Record) -> None:
    """Write the record."""
    facts = {**asdict(state), "validators": {url: asdict(one) for url, one in state.validators.items()}}
    write_record(path, STAGE, {
        "family": settings.family.name, "settings": settings.digest, "inputs": {}, "outputs": {}, **facts,
    })
