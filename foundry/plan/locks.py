"""The base image in a lock."""

from __future__ import annotations

from dataclasses import replace

from foundry.config.family import Family
from foundry.config.load import Config
from foundry.config.locks import Base


def pending_bases(config: Config, *, update: bool) -> list[Family]:
    """The wanted families whose base has to be asked for: the lock has none or that of another name, or with `update`.

    A base's digest is part of every key, so a newer one makes every image anew
    (docs/decisions/0011-what-toolkit-asks.md).
    """
    families = [config.families[name] for name in dict.fromkeys(want.family for want in config.wants)]
    return [family for family in families if update or _lacks(config.locks.of(family.name).base, family)]


def merged_base(old: Base | None, new: Base) -> Base:
    """The new base, with the checksums that the old one has for sources that both name.

    What the old one says of its BusyBox does not count for another digest.
    """
    before = old.busybox if old is not None else None
    if new.busybox is None:
        return replace(new, busybox=before) if old is not None and old.digest == new.digest else new
    known = {**(before.sha256 if before is not None else {}), **new.busybox.sha256}
    sums = {url: digest for url, digest in known.items() if url in new.busybox.sources}
    return replace(new, busybox=replace(new.busybox, sha256=sums))


def _lacks(base: Base | None, family: Family) -> bool:
    if base is None or base.name != family["base"]["name"]:
        return True
    return "busybox" in family["base"] and base.busybox is None
