"""Proving what is in this checkout: every record, what it names, the sources, the ledgers and the files of releases.

By content, and without the network. What a run goes on from it looks at itself; here all is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import ConfigError
from foundry.base.files import sha256_file
from foundry.base.names import LEDGER_FILE
from foundry.base.records import Record, read_record
from foundry.cell.image import IMAGE_FILE
from foundry.driver.source import TREE, tree_sha256
from foundry.plan.keys import key_of
from foundry.plan.ledger import Ledger, read_ledger
from foundry.plan.toolkit_ledger import ledger_path
from foundry.run.context import Foundry
from foundry.toolkit.state import IMAGE, has_ledger
from foundry.toolkit.state import read_ledger as read_toolkit_ledger

# By stage: where its records are, by what they say.
_PLACES = {
    "fetch": "sources/{driver}/fetch.json", "source": "sources/{driver}/source.json",
    "module": "cells/{driver}-{kernel}/module.json", "image": "cells/{driver}-{kernel}/image.json",
    "sign": "cells/{driver}-{kernel}/sign.json", "boot": "cells/{driver}-{kernel}/boot.json",
    "push": "cells/{driver}-{kernel}/push.json", "attest": "release/{driver}/attest.json",
    "bundle": "release/{driver}/bundle.json",
    "notes": "release/{driver}/notes.json", "dtk": "dtk/{kernel}/dtk.json",
    "archive": "archive/{family}.json", "payload": "toolkits/payload-{digest}-{arch}.json",
    "node": "toolkits/node-{digest}-{arch}.json", "toolkit": "toolkits/{digest}-{arch}.json",
}


@dataclass(frozen=True)
class Looked:
    """What was found of one file, named relative to the checkout; no faults: it is as it was written."""

    file: str
    faults: tuple[str, ...]


def verify_here(foundry: Foundry) -> Iterator[Looked]:
    """Look at all files of this checkout's ``build/<profile>`` whose content is known."""
    build = foundry.root / foundry.config.build
    published = set[str]()  # digests and keys; images of these are removed after the push
    for path in sorted(build.glob(f"release/*/{LEDGER_FILE}")):
        file = str(path.relative_to(foundry.root))
        try:
            ledger = read_ledger(path, file, foundry.config.validation) or Ledger("", "")
        except ConfigError as error:
            yield _unreadable(file, error)
            continue
        published |= {row.digest for row in ledger.rows.values()}
        yield Looked(file, tuple(_ledger_faults(path.parent, ledger)))
    if has_ledger(foundry):
        file = str(ledger_path(foundry.config.build))
        try:
            published |= {row["key"] for row in read_toolkit_ledger(foundry).rows.values()}
            yield Looked(file, ())
        except ConfigError as error:
            yield _unreadable(file, error)
    for stage, place in _PLACES.items():
        pattern = re.sub(r"\{\w+\}", "*", place.replace("{digest}", "[0-9a-f]*"))
        for path in sorted(build.glob(pattern)):
            record = read_record(path, stage)
            faults = _record_faults(path, record, published) if record is not None else ["it is not as it was written"]
            if record is not None and build / place.format_map({**record, "digest": _image_of(record)}) != path:
                faults = ["it is the record of something else", *faults]
            yield Looked(str(path.relative_to(foundry.root)), tuple(faults))


def _unreadable(file: str, error: ConfigError) -> Looked:
    return Looked(file, tuple(f"{fault.path} {fault.message}".strip() for fault in error.faults))


def _image_of(record: Record) -> str:
    """The digest of the image that a record of the catalogue's readers is about."""
    return str(record.get("reference", "")).rpartition(":")[2]


def _ledger_faults(folder: Path, ledger: Ledger) -> Iterator[str]:
    if ledger.driver != folder.name:
        yield f"it is the ledger of {ledger.driver}"
    for name, entry in ledger.sources.items():
        if (folder / name).exists() and sha256_file(folder / name) != entry["sha256"]:
            yield f"{name} is damaged"


def _record_faults(path: Path, record: Record, published: set[str]) -> Iterator[str]:
    if "key_inputs" in record and record["key"] != key_of(record["key_inputs"]):
        yield "its key is not that of its inputs"
    for name, fact in record["outputs"].items():
        try:
            if sha256_file(path.parent / name) != fact["sha256"]:
                yield f"{name} is damaged"
        except FileNotFoundError:
            is_image = name == IMAGE_FILE or name.startswith(f"{IMAGE}/")
            if not (is_image and published & {record.get("digest"), record.get("key")}):
                yield f"{name} is missing"
        except OSError as error:
            yield f"{name} can't be read: {error.strerror}"
    tree = path.parent / TREE
    if "tree_sha256" in record and not (tree.is_dir() and tree_sha256(tree) == record["tree_sha256"]):
        yield f"{TREE} was changed by hand"
