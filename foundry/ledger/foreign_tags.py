"""Tags of today's cells that others filled: found before anything is compiled, and taken over when they are proven.

Images that the shell scripts pushed have the tags of our cells, and neither our label nor a row. An adopted image
keeps its layers; what is new are the label with the key, so that it is published as any other from then on, and the
label that says that others built it, so that nobody takes the key for what it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from foundry.base.errors import FoundryError
from foundry.base.names import ADOPTED_LABEL, KEY_LABEL, signature_of
from foundry.base.parallel import in_parallel
from foundry.base.reasons import Reason
from foundry.base.times import now
from foundry.ledger import ledgers, publish
from foundry.ledger.attest import attest
from foundry.ledger.verify import LOG, MAX_IMAGE, faults_of, labels_in
from foundry.plan.cells import Cell
from foundry.plan.rows import Replaced, row_of
from foundry.plan.state import CellState
from foundry.registry.images import labels_of
from foundry.registry.push import Content, Writer, content_of, fetch_content
from foundry.registry.tags import list_tags
from foundry.run.context import Foundry

_READERS = 8  # tags that are looked at at once
_SHOWN = 10
_REASON = "adopted: the same layers, with a label for the key"


@dataclass(frozen=True, eq=False)
class Foreign:
    """A tag of a cell that has an image of others, in one of the cell's registries."""

    state: CellState
    writer: Writer
    digest: str

    @property
    def cell(self) -> Cell:
        """The cell whose tag it is."""
        return self.state.cell

    @property
    def name(self) -> str:
        """Registry and tag."""
        return f"{self.writer.name}:{self.cell.tag}"


def foreign_tags(foundry: Foundry, states: Iterable[CellState]) -> list[Foreign]:
    """The images under the tags of these cells that have another key than today's and that no row knows.

    One list of tags for each registry, and two requests for each tag that is there. Raises what reading raises.
    """
    asked: list[Foreign] = []
    listed: dict[str, set[str]] = {}
    for state in states:
        for target in foundry.registries.targets(state.cell.family.name):
            writer = foundry.registries.writer(target)
            if writer.name not in listed:
                listed[writer.name] = set(list_tags(writer.registry, writer.repository))
            if state.cell.tag in listed[writer.name]:
                asked.append(Foreign(state, writer, ""))
    found: dict[Foreign, Foreign | None] = {}
    for outcome in in_parallel(asked, _looked_at, threads=_READERS, stopping=foundry.ending):
        if outcome.error is not None:
            raise outcome.error
        found[outcome.job] = outcome.value
    return [one for job in asked if (one := found[job]) is not None]


def _looked_at(asked: Foreign) -> Foreign | None:
    state, writer = asked.state, asked.writer
    there = writer.tagged(state.cell.tag)
    if there is None or (state.row is not None and state.row.digest == there.digest):
        return None
    key = labels_of(writer, there.digest).get(KEY_LABEL, "")
    # Before the package is fetched, nobody knows whether a key is today's.
    ours = bool(key) and (state.key is None or key == state.key.key)
    return None if ours else Foreign(state, writer, there.digest)


def require_none(foundry: Foundry, states: Sequence[CellState]) -> None:
    """FoundryError ``tag-taken`` where a cell could not be pushed after it was built. By force all are replaced."""
    found = [] if foundry.states.force else foreign_tags(foundry, states)
    if found:
        names = ", ".join(one.name for one in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if found[_SHOWN:] else ""
        raise FoundryError(f"{names}{more}: images that the ledger does not know; nothing was built",
                           reason=Reason.TAG_TAKEN, hint=publish.TAKEN_HINT)


def adopt(foundry: Foundry, found: Iterable[Foreign]) -> Iterator[tuple[Cell, str, list[str]]]:
    """Prove each image and take it over: its cell, its name, and what is wrong with it; with faults it stays as it is.

    Raises what can't be had (registry, toolkit).
    """
    by_cell: dict[str, list[Foreign]] = {}
    for one in found:
        by_cell.setdefault(one.cell.name, []).append(one)
    for images in by_cell.values():
        yield images[0].cell, images[0].name, list(_adopted(foundry, images))


def _adopted(foundry: Foundry, images: Sequence[Foreign]) -> Iterator[str]:
    first, log = images[0], foundry.root / foundry.config.build / LOG
    state, cell = first.state, first.cell
    if state.key is None:
        yield f"{state.reason}: `doit fetch:{cell.driver}`"
        return
    if len({one.digest for one in images}) > 1:
        yield f"{' and '.join(one.name for one in images)} are different images"
        return
    try:
        content = fetch_content(first.writer.registry, first.writer.repository, first.digest, MAX_IMAGE)
        faults = list(faults_of(foundry, cell, content, log))
    except FoundryError as error:
        if error.exit_code != FoundryError.exit_code:
            raise
        faults = [error.message]
    if faults:
        yield from faults
        return
    ours, signer = with_key(content, state.key.key), foundry.publishing_signer()
    registries = []
    for target in foundry.registries.targets(cell.family.name):
        writer = foundry.registries.writer(target)
        for tag in publish.tags(foundry, cell):
            writer.push(ours, tag)
        if signer is not None:
            attest(writer, cell, ours, {}, signer, foundry.cell_folder(cell))
        registries.append(writer.name)
    size = len(ours.manifest) + sum(len(data) for data in ours.blobs.values())
    ledgers.put_row(foundry, cell, row_of(
        cell, state.key, content_sha256=foundry.content_sha256(cell), digest=ours.digest,
        tags=publish.tags(foundry, cell), registries=sorted(registries), size=size, published=now(),
        config_digest=json.loads(ours.manifest)["config"]["digest"], replaces=Replaced(first.digest, "", _REASON),
        signature=signature_of(labels_in(ours)), image_signer=signer.public.fingerprint if signer is not None else ""))


def with_key(content: Content, key: str) -> Content:
    """The image with a key and its old digest as labels; all layers and the rest of its configuration as they are."""
    from foundry.formats.images.oci import image_of, with_parts

    image = image_of(content.manifest, content.media_type, content.blobs)
    return content_of(with_parts(image, {**image.labels, ADOPTED_LABEL: content.digest, KEY_LABEL: key}))
