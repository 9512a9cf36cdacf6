"""Stage toolkit:pr: what is new in catalogue and locks, proposed as a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import append_to, read_file
from foundry.catalogue.changes import Content, make_news, message, section, title
from foundry.config.catalogue import CatalogueEntry
from foundry.config.locks import Lock, parse_lock
from foundry.github.repository import client, repository, require_token
from foundry.plan.catalogue import PR_LOG, log_path, parse_entries
from foundry.plan.upgrades import Upgrade, flat, parse_upgrades
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.config.catalogue import CatalogueEntry
from foundry.github.pulls import Proposal

BRANCH = "update-driver-toolkit"
_PERMISSIONS = "the permissions `contents: write` and `pull-requests: write`"


def propose(foundry: Foundry) -> None:
    """Have one pull request with the catalogue and the locks as this checkout has them, if the default branch lacks it.

    Raises ConfigError where the profile names no repository or the catalogue is empty, OutsideError
    ``github-credentials`` without a token, and what `foundry.github.pulls.reconcile` raises.
    """
    from foundry.github.pulls import Wanted, reconcile

    if not repository(foundry):
        place = f"config/profiles/{foundry.config.profile.name}.yaml"
        raise ConfigError([Fault(place, "$.github_repository", "no repository is named for pull requests")],
                          hint="set `github_repository: owner/name`, or choose another profile (KMOD_PROFILE=github)")
    log = foundry.root / log_path(foundry.config, PR_LOG)
    log.unlink(missing_ok=True)
    files = _files(foundry)
    new = _content(foundry, files)
    if not new.entries:
        raise ConfigError([Fault(foundry.settings.catalogue, "", "has no release yet")], hint="run `doit toolkit`")
    require_token("pull requests")
    wanted = Wanted(BRANCH, files, partial(_words, foundry, new), force=foundry.states.force)
    try:
        done = reconcile(client(foundry, log, _PERMISSIONS), wanted)
    except FoundryError as error:
        error.log = error.log or (log if log.exists() else None)
        raise
    append_to(log)(f"{done.says} ({', '.join(done.writes) or 'nothing was written'})")
    if foundry.verbosity:
        print(f"  {done.says}")


def _files(foundry: Foundry) -> dict[str, bytes]:
    """The catalogue and the locks that there are."""
    names = [foundry.settings.catalogue, foundry.settings.upgrades, *(
        foundry.config.locks.path(family).as_posix() for family in sorted(foundry.config.families))]
    return {name: read_file(foundry.root / name) for name in names if (foundry.root / name).is_file()}


def _words(foundry: Foundry, new: Content, held: Mapping[str, bytes | None]) -> Proposal:
    from foundry.github.pulls import Proposal

    news = make_news(foundry.config, _content(foundry, held, lenient=True), new)
    return Proposal(title(news), message(news), partial(section, news))


def _content(foundry: Foundry, files: Mapping[str, bytes | None], *, lenient: bool = False) -> Content:
    """What the files say; with `lenient`, faulty ones say nothing, and are named."""
    config, name = foundry.config, foundry.settings.catalogue
    entries: tuple[CatalogueEntry, ...] = ()
    locks: dict[str, Lock] = {}
    upgrades: frozenset[Upgrade] = frozenset()
    faulty: list[str] = []
    for file, data in files.items():
        try:
            if data is not None and file == foundry.settings.upgrades:
                upgrades = flat(parse_upgrades(data, file, config.validation))
            elif data is not None and file == name:
                entries = parse_entries(data, file, config.validation)
            elif data is not None:
                locks[file] = parse_lock(data, file, config.validation)
        except ConfigError:
            if not lenient:
                raise
            faulty.append(file)
    return Content(entries, locks, tuple(faulty), upgrades)
