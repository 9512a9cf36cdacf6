"""What a ledger of elsewhere says of an image is a claim; here is what can be judged of it without a registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from foundry.base.names import image_tag, tag_of
from foundry.base.times import CLOCKS_DIFFER, parse_utc, require_clock
from foundry.plan.changes import PART_NAMES
from foundry.plan.keys import key_of
from foundry.plan.rows import Row

_TARBALLS = {  # of a driver's release, by kind
    "driver": r"[A-Za-z0-9][A-Za-z0-9._+~-]*-{driver}-modified-source\.tar\.gz",
    "busybox": r"busybox-[0-9][A-Za-z0-9._+-]*\.tar\.(gz|bz2|xz)",
}
_OTHER_KEY = "its key is not that of its inputs"


def fault_of(key: str, key_inputs: Mapping[str, str], published: str) -> str:
    """Why no registry could make a row of a ledger true; empty when one could."""
    if key != key_of(key_inputs):
        return _OTHER_KEY
    return fault_of_time(published)


def fault_of_row(row: Row, driver: str) -> str:
    """The same of a row of a driver's ledger, which must be about the cell that its key is of."""
    return _fault_of_cell(row, driver) or fault_of(row.key, row.key_inputs, row.published)


def fault_of_unpublished(row: Row, driver: str) -> str:
    """The same in a profile that publishes nowhere: another checkout's row names no registry and no time, as ours."""
    if row.registries or row.published:
        return "it was published, and this profile publishes nowhere"
    return _fault_of_cell(row, driver) or ("" if row.key == key_of(row.key_inputs) else _OTHER_KEY)


def _fault_of_cell(row: Row, driver: str) -> str:
    of_the_cell = {
        "kernel": row.kernel, "platform": f"linux/{row.arch}", "package": row.content_sha256,
        "toolkit": row.toolkit.rpartition("@")[2],
    }
    for name, value in of_the_cell.items():
        if row.key_inputs.get(name) != value:
            return f"its key is that of an image with something else as {PART_NAMES[name]}"
    if row.tags[0] != image_tag(driver, row.kernel) or any(tag != tag_of(tag) for tag in row.tags):
        return f"its tags begin with {row.tags[0]!r:.200}, not with the cell's own"
    return ""


def is_source_tarball(name: str, kind: str, driver: str) -> bool:
    """Whether a source tarball of that kind may have the name: files of releases, here and there, are named by it."""
    return re.fullmatch(_TARBALLS[kind].replace("{driver}", re.escape(driver)), name) is not None


def fault_of_time(text: str) -> str:
    """Why this can't be the time when an image was published: one to come would make a row win for ever.

    Raises OutsideError ``clock`` where this machine's clock can't tell: every time would be one to come.
    """
    require_clock()
    when = parse_utc(text)
    if when is None:
        return "it does not say when it was published"
    return "it was published in the future" if when > datetime.now(UTC) + CLOCKS_DIFFER else ""
