"""The base image in a lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundry.config.family import Family
from foundry.config.load import Config


def pending_bases(config: Config, *, update: bool) -> list[Family]:
    """The wanted families whose base has to be asked for: the lock has none or that of another name, or with `update`.

    A base's digest is part of every key, so a newer one makes every image anew
    (docs/decisions/0011-what-toolkit-asks.md).
    """
    families = [config.families[name] for name in dict.fromkeys(want.family for want in config.wants)]
    return [family for family in families if update or _lacks(config.locks[family.name].get("base"), family)]


def merged_base(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The new base, with the checksums that the old one has for sources that both name.

    What the old one says of its BusyBox does not count for another digest.
    """
    merged = {**old, **new}
    if "busybox" not in new:
        if old.get("digest") != new["digest"]:
            merged.pop("busybox", None)
        return merged
    facts = new["busybox"]
    sources = (facts.get("source"), facts.get("source_backup"))
    known = {**old.get("busybox", {}).get("sha256", {}), **facts.get("sha256", {})}
    sums = {url: digest for url, digest in known.items() if url in sources}
    merged["busybox"] = {**facts, **({"sha256": sums} if sums else {})}
    return merged


def _lacks(base: Mapping[str, Any] | None, family: Family) -> bool:
    if base is None or base["name"] != family["base"]["name"]:
        return True
    return "busybox" in family["base"] and "busybox" not in base
