"""The base image in a lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
