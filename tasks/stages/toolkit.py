"""Stage toolkit: the kernels of toolkits that the catalogue lists without one.

What a digest holds never changes: what was read is kept in
``toolkits/<digest>-<arch>.json`` for ever, and put into the catalogue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.core.config import Config
from tasks.core.errors import FoundryError
from tasks.core.files import pretty_json, read_json, write_atomic
from tasks.core.records import Record, read_record, write_record
from tasks.core.versions import version_key
from tasks.services.lock import locked
from tasks.stages.context import Foundry

_SHOWN_DIGITS = 12
_ORDER = ("version", "arch", "dtk", "kernel", "rt_kernel", "rhel", "stream", "payload", "node_kernel", "mismatch")


@dataclass(frozen=True)
class Unread:
    """A toolkit image whose kernel the catalogue lacks for an architecture, and the releases that it is for."""

    reference: str
    arch: str
    releases: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """64 hex digits."""
        return self.reference.rpartition(":")[2]

    @property
    def name(self) -> str:
        """Of its task."""
        return f"{self.digest[:_SHOWN_DIGITS]}-{self.arch}"


def unread_toolkits(config: Config) -> list[Unread]:
    """One entry a toolkit, in the order of their lowest releases."""
    releases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in sorted(config.catalogue, key=lambda entry: version_key(entry["version"])):
        if "kernel" not in entry:
            releases[entry["dtk"], entry["arch"]].append(entry["version"])
    return [Unread(reference, arch, tuple(names)) for (reference, arch), names in releases.items()]


def record_path(config: Config, toolkit: Unread) -> Path:
    """Where what was read of a toolkit is kept, relative to the root."""
    return config.build / "toolkits" / f"{toolkit.digest}-{toolkit.arch}.json"


def read_kernel(foundry: Foundry, toolkit: Unread) -> None:
    """Find out the toolkit's kernel and complete the catalogue's entries with it.

    Raises what `tasks.services.toolkits.read_toolkit` raises; the catalogue stays as it was then.
    """
    path = foundry.root / record_path(foundry.config, toolkit)
    log = path.with_suffix(".log")
    record = _kept(path, toolkit)
    if record is None:
        log.unlink(missing_ok=True)
        try:
            record = _read(foundry, toolkit, path, log)
        except FoundryError as error:
            error.log = error.log or (log if log.exists() else None)
            raise
    if record["label_kernel"]:
        foundry.journal.warn(
            f"{toolkit.reference}: its label kernel-version is {record['label_kernel']},"
            f" its release file says {record['kernel']}; the file is believed"
        )
    complete_catalogue(foundry, {(toolkit.reference, toolkit.arch): record})


def complete_catalogue(foundry: Foundry, found: Mapping[tuple[str, str], Record]) -> None:
    """Put kernels into the entries that have none, beside whatever an editor changed meanwhile."""
    path = foundry.root / foundry.settings["catalogue"]
    with locked(foundry.root / foundry.config.build / ".lock-catalogue"):
        entries = read_json(path)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FoundryError(f"{foundry.settings['catalogue']} was changed to something that is no catalogue",
                               reason="catalogue-unreadable", hint="correct it and run again")
        for entry in entries:
            record = found.get((entry.get("dtk"), entry.get("arch")))
            if record is not None and "kernel" not in entry:
                entry |= {name: record[name] for name in ("kernel", "rt_kernel", "rhel") if record.get(name)}
        data = catalogue_bytes(entries)
        if data != path.read_bytes():
            write_atomic(path, data)


def catalogue_bytes(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """The catalogue as it is written: by release and architecture, the fields of an entry in a fixed order."""
    rows = [
        {name: entry[name] for name in sorted(entry, key=lambda name: (_ORDER.index(name) if name in _ORDER else 99))}
        for entry in sorted(entries, key=lambda entry: (version_key(entry["version"]), entry["version"], entry["arch"]))
    ]
    return pretty_json(rows, sort=False)


def _kept(path: Path, toolkit: Unread) -> Record | None:
    record = read_record(path, "toolkit")
    return record if record is not None and record.get("reference") == toolkit.reference else None


def _read(foundry: Foundry, toolkit: Unread, path: Path, log: Path) -> Record:
    from tasks.core.references import parse_reference
    from tasks.services.toolkits import read_toolkit

    reference = parse_reference(toolkit.reference)
    facts = read_toolkit(foundry.registry(reference.host, log), reference, toolkit.arch)
    release = facts.release
    write_record(path, "toolkit", {
        "inputs": {}, "outputs": {}, "reference": toolkit.reference, "arch": toolkit.arch, "kernel": release.kernel,
        "rt_kernel": release.rt_kernel, "rhel": release.rhel, "label_kernel": facts.label_kernel,
    })
    record = _kept(path, toolkit)
    if record is None:
        raise FoundryError(f"{path} can't be read back", reason="record-unreadable", log=log)
    return record
