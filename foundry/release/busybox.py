"""BusyBox's source for a release: of the very version in the base image, from one of two places."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import append_to, open_file, scratch, sha256_file
from foundry.base.reasons import Reason
from foundry.config.family import Family
from foundry.config.locks import BusyBox, Lock
from foundry.net.transport import FIRST_WAIT
from foundry.run.context import Foundry

_version = re.compile(r"[0-9][0-9A-Za-z._+-]*")
_HEAD = 64  # bytes that say which compressor made a tarball


class BusyBoxSource(NamedTuple):
    """The tarball under its right name, its hex SHA-256, and the URL in the lock that it came from."""

    path: Path
    sha256: str
    url: str


def fetch_busybox(
    foundry: Foundry, family: Family, dest_folder: Path, log: Path, *, first_wait: float = FIRST_WAIT
) -> BusyBoxSource:
    """Leave the source of the base's BusyBox in `dest_folder`, as ``busybox-1.36.1.tar.bz2`` or what it is.

    The lock's `source` comes first, then `source_backup`; each is checked by the lock's
    checksum, if it has one for that URL, and by what is in it. A checksum that the lock lacks
    is added. What is there with a locked checksum is not fetched again. `first_wait` is the pause in seconds
    before a place is asked a second time.

    Raises FoundryError ``busybox-unknown`` where the lock names no source, ``busybox-source``
    where no place has it (OutsideError when all are out of reach), ``lock-changed``.
    """
    facts = _facts(foundry, family)
    there = _there(dest_folder, facts.version, {
        url: facts.sha256[url] for url in facts.sources if url in facts.sha256})
    if there is not None:
        return there
    errors: list[FoundryError] = []
    for url in facts.sources:
        try:
            found = _fetched(foundry, family, url, dest_folder, log, first_wait)
        except FoundryError as error:
            append_to(log)(f"BusyBox {facts.version} from {url}: {error.message}")
            errors.append(error)
            continue
        if errors:
            foundry.journal.warn(f"the source of BusyBox was taken from {url}, because {_sentence(errors)}")
        return found
    raise _none(foundry, family, errors, log)


def _facts(foundry: Foundry, family: Family) -> BusyBox:
    base = foundry.config.locks.of(family.name).base
    if base is None or base.busybox is None:
        raise FoundryError(
            f"{foundry.config.locks.path(family.name)} does not say which BusyBox is in the base",
            reason=Reason.BUSYBOX_UNKNOWN, hint="write `base.busybox` into it: docs/configuration.md, Locks",
        )
    if not _version.fullmatch(base.busybox.version):
        raise FoundryError(
            f"BusyBox has no version {base.busybox.version!r}", reason=Reason.BUSYBOX_UNKNOWN,
            hint=f"correct `base.busybox.version` in {foundry.config.locks.path(family.name)}",
        )
    return base.busybox


def _there(folder: Path, version: str, sums: Mapping[str, str]) -> BusyBoxSource | None:
    """What an earlier run left, if it is what the lock says."""
    from foundry.release.busybox_tarball import asset_name

    found = [path for path in folder.glob(f"busybox-{version}.tar.*") if path.is_file()] if sums else []
    files = {path: sha256_file(path) for path in found}
    for url, wanted in sums.items():
        for path, digest in sorted(files.items()):
            if digest != wanted:
                continue
            with open_file(path) as stream:
                name = asset_name(stream.read(_HEAD), version)
            if path.name == name:
                return BusyBoxSource(path, digest, url)
    return None


def _fetched(
    foundry: Foundry, family: Family, url: str, folder: Path, log: Path, first_wait: float
) -> BusyBoxSource:
    from foundry.net.http import download, shown
    from foundry.release.busybox_tarball import MAX_BYTES, check_source

    facts = _facts(foundry, family)
    with scratch(folder, "busybox") as work:
        tarball = work / "tarball"
        download(
            foundry.addresses.resolve(url), tarball, sha256=facts.sha256.get(url), max_bytes=MAX_BYTES,
            total=foundry.settings.network_timeout, first=first_wait, log=log,
        )
        name = check_source(tarball, facts.version, shown(url))
        digest = sha256_file(tarball)
        _lock(foundry, family, facts.version, url, digest)
        os.replace(tarball, folder / name)
    return BusyBoxSource(folder / name, digest, url)


def _lock(foundry: Foundry, family: Family, version: str, url: str, digest: str) -> None:
    """Add the checksum to the lock file, beside whatever else was put there meanwhile; never replace one."""
    place = foundry.config.locks.path(family.name)

    def add(lock: Lock) -> Lock:
        base = lock.base
        facts = base.busybox if base is not None else None
        if base is None or facts is None or facts.version != version or facts.sha256.get(url, digest) != digest:
            raise FoundryError(
                f"{place} was changed while the source of BusyBox {version} was fetched", reason=Reason.LOCK_CHANGED,
                hint="run again",
            )
        return replace(lock, base=replace(base, busybox=replace(facts, sha256={**facts.sha256, url: digest})))

    if foundry.config.locks.change(family.name, add):
        foundry.journal.warn(f"the source of BusyBox {version} is now locked in {place}: keep that file")


def _none(foundry: Foundry, family: Family, errors: list[FoundryError], log: Path) -> FoundryError:
    outside = all(isinstance(error, OutsideError) for error in errors)
    kind = OutsideError if outside else FoundryError
    place = foundry.config.locks.path(family.name)
    return kind(
        f"the source of BusyBox can't be had: {_sentence(errors)}", reason=Reason.BUSYBOX_SOURCE, log=log,
        retry=any(error.retry for error in errors),
        hint=f"try again later, or correct `base.busybox` in {place}; "
             "where a checksum differs, find out why before you change it",
    )


def _sentence(errors: list[FoundryError]) -> str:
    return "; ".join(error.message for error in errors)
