"""Stage github: a driver's release on GitHub, with its notes and assets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, read_file, sha256_bytes, sha256_file, write_atomic
from foundry.base.names import LEDGER_FILE
from foundry.base.reasons import Reason
from foundry.github.repository import LOG, driver_client, released_signature, repository, require_token
from foundry.ledger.ledgers import adopted, change, checked, ledger_file, ledger_of
from foundry.plan.ledger import Ledger, NewerLedger
from foundry.plan.releases import release_tag
from foundry.release import notes, source_tarballs
from foundry.release.notes_text import make_notes
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.github.releases import Asset, Wanted


def github(foundry: Foundry, driver: str) -> None:
    """Have the driver's GitHub release as its ledger wants it.

    Raises FoundryError ``asset-missing`` where a source tarball could not be made: images are
    released with their sources or not at all. Otherwise what
    `foundry.github.releases.reconcile` raises.
    """
    from foundry.github.releases import reconcile

    log = ledger_file(foundry, driver).with_name(LOG)
    log.unlink(missing_ok=True)
    require_token()
    ledger = ledger_of(foundry, driver)
    if not ledger.rows:
        foundry.journal.warn(f"{driver} has no image yet: no release")
        return
    client = driver_client(foundry, driver)
    configured, here = foundry.settings.github_repository, repository(foundry)
    if configured != here:
        foundry.journal.warn(f"the labels of images name {configured} as the place of their sources, but the releases "
                             f"are in {here}: set `github_repository` in the profile to it")
    while True:
        try:
            done = reconcile(client, _wanted(foundry, _with_sources(foundry, driver)))
            break
        except _Changed:  # ends: what is to be taken over or made anew is found once
            notes.renew_folders(foundry, driver)
            continue
        except FoundryError as error:
            error.log = error.log or log
            raise
    append_to(log)(f"{done.url}: {', '.join(done.writes) or 'as it should be'}")


def _with_sources(foundry: Foundry, driver: str) -> Ledger:
    """The ledger, if its source tarballs are of its rows."""
    ledger = ledger_of(foundry, driver)
    lacking = source_tarballs.missing(foundry, driver, ledger)
    if lacking:
        raise FoundryError(
            f"{driver} is not released: its source tarballs are missing ({', '.join(lacking)})",
            reason=Reason.ASSET_MISSING, hint=f"run `doit assets:{driver}`",
        )
    return ledger


class _Changed(Exception):
    """The ledger is another one now, and so is what is to be released."""


def _wanted(foundry: Foundry, ledger: Ledger) -> Wanted:
    from foundry.github.releases import Wanted

    tag = release_tag(ledger.family, ledger.driver)
    facts = notes.facts_of(foundry, ledger)
    return Wanted(
        tag, tag, lambda room: make_notes(ledger, facts, room).text,
        lambda room: _assets(foundry, ledger, make_notes(ledger, facts, room).tables),
        obsolete=notes.OPTIONAL,
    )


def _assets(foundry: Foundry, ledger: Ledger, tables: str) -> list[Asset]:
    """The files of the release: the source tarballs, then all others."""
    from foundry.github.releases import Asset

    folder = ledger_file(foundry, ledger.driver).parent
    found = [
        Asset(name, str(entry["sha256"]), partial(_tarball, foundry, ledger.driver, name))
        for name, entry in sorted(source_tarballs.tarballs(foundry, ledger.driver, ledger).items())
    ]
    keep = {LEDGER_FILE: partial(_take_over, foundry, ledger.driver)}
    found += [Asset(name, sha256_bytes(data), _file(folder / name, data), keep.get(name))
              for name, data in notes.released_files(foundry, ledger, tables).items()]
    return found


def _take_over(foundry: Foundry, driver: str, content: bytes) -> None:
    """Rows of cells that ours lacks are not lost, if they are true, be they another checkout's.

    What is no ledger is replaced. Of tarballs of the same inputs those count that this checkout made.
    """
    from foundry.registry.document import Document

    try:
        document = Document(content, released_signature(foundry, driver))
        theirs = checked(foundry, document, f"the GitHub release of {driver}", driver)
    except NewerLedger:
        raise
    except FoundryError as error:
        foundry.journal.warn(f"{error.message}: it is replaced")
        return
    before = ledger_of(foundry, driver)
    made = [(entry["kind"], entry["key"]) for entry in before.sources.values()]
    sources = {name: entry for name, entry in theirs.sources.items() if (entry["kind"], entry["key"]) not in made}
    news = {place: row for place, row in theirs.rows.items() if place not in before.rows}
    theirs = adopted(foundry, replace(theirs, rows=news, sources=sources), f"the GitHub release of {driver}")
    if change(foundry, driver, lambda ledger: ledger.merged(theirs)) != before.to_bytes():
        raise _Changed


def _file(path: Path, data: bytes) -> Callable[[], Path]:
    def write() -> Path:
        if not path.exists() or read_file(path) != data:
            write_atomic(path, data)
        return path

    return write


def _tarball(foundry: Foundry, driver: str, name: str) -> Path:
    """A source tarball's file, made where it is not here."""
    entry = ledger_of(foundry, driver).sources[name]
    path = ledger_file(foundry, driver).with_name(name)
    if not path.is_file() or sha256_file(path) != entry["sha256"]:
        path.unlink(missing_ok=True)
        source_tarballs.make(foundry, driver)
        if ledger_of(foundry, driver).sources.get(name) != entry:
            raise _Changed  # it came out with other bytes, or another name: now the ledger says what they are
    return path
