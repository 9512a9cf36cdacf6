"""The base images of the families: digest, build time and BusyBox, resolved into the locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foundry.base.errors import FoundryError
from foundry.base.references import Reference, parse_reference
from foundry.catalogue.base_reader import read_base
from foundry.catalogue.resolve import Resolver, outside
from foundry.config.family import Family
from foundry.config.locks import Base, BusyBox
from foundry.packages import apt
from foundry.plan.locks import merged_base
from foundry.run.context import Foundry


def resolve_base(resolver: Resolver, family: Family, *, update: bool) -> Base:
    """The base of a family's lock. Raises OutsideError."""
    foundry = resolver.foundry
    base = foundry.config.locks.of(family.name).base
    name = family["base"]["name"]
    try:
        asked = _pinned(parse_reference(name), None if update else base)
        sources = family["base"].get("busybox", {}).get("sources", [])
        facts = read_base(resolver.registry(asked.host), asked, foundry.settings.arch, with_busybox=bool(sources))
    except FoundryError as error:
        raise outside(error, f"the base {name}: ", resolver.log) from error
    return Base(name, facts.digest, facts.created, _busybox(sources, facts.busybox) if sources else None)


def write_base(foundry: Foundry, family: Family, base: Base) -> bool:
    """Put the base into the lock file, beside what others put there; whether that changed anything.

    Raises ConfigError when the file is no lock any more.
    """
    locks = foundry.config.locks
    changed = locks.write(family.name, lambda lock: replace(lock, base=merged_base(lock.base, base)))
    if changed:
        place = locks.path(family.name)
        foundry.journal.warn(f"{base.name} is now locked in {place} as {base.digest}: keep that file")
    return changed


def _pinned(reference: Reference, base: Base | None) -> Reference:
    """The digest that is locked already, where only the rest is to be found out."""
    same = base is not None and parse_reference(base.name) == reference
    return reference.at(base.digest) if base is not None and same and not reference.digest else reference


def _busybox(sources: Sequence[str], version: str) -> BusyBox:
    urls = [apt.address(source).replace("{version}", version)
            .replace("{version_underscored}", version.replace(".", "_")) for source in sources]
    return BusyBox(version, urls[0], urls[1] if len(urls) > 1 else "")
