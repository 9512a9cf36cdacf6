"""Stage push: a cell's image in the registries of its profile, proven, and its row in this checkout's ledger.

A tag that exists is never overwritten silently: the same key is adopted, another
one is replaced only where the ledger knows what is replaced and why, or with
FORCE_BUILD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import append_to
from foundry.base.names import KEY_LABEL, depends_of, signature_of, tag_of
from foundry.base.reasons import Reason
from foundry.base.records import read_record, write_record
from foundry.base.times import now
from foundry.cell import image, module
from foundry.cell.boot import proof_of
from foundry.cell.published import Published
from foundry.ledger.ledgers import put_row
from foundry.plan.cells import Cell
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.keys import CellKey
from foundry.plan.rows import Replaced, Row, row_of
from foundry.plan.state import CellState
from foundry.registry.targets import targets_of
from foundry.run.context import Foundry
from foundry.run.failure import noted

if TYPE_CHECKING:
    from foundry.registry.client import Fetched
    from foundry.registry.push import Writer
    from foundry.signing.image_key import ImageSigner

LOG = "push.log"
RECORD = "push.json"
TAKEN_HINT = ("`doit adopt` proves images of others and takes them over, the setting `leave_tags` leaves them alone,"
              " FORCE_BUILD=true builds and replaces them")


def published(foundry: Foundry, state: CellState) -> bool:
    """Whether the ledger has the cell with today's key in all targets, for all its releases; no network request."""
    if not state.adopted or state.row is None:
        return False
    family = state.cell.family.name
    return (
        all(target.is_in(state.row.registries) for target in targets_of(foundry.settings.publish, family))
        and state.cell.releases == state.row.releases
        and set(tags(foundry, state.cell)) <= set(state.row.tags)
        and (not foundry.settings.image_signing.key or state.row.image_signer == foundry.config.image_key)
        and (foundry.states.is_enough(state.row.proof) or not foundry.states.to_prove(state.cell.arch))
    )


def push(foundry: Foundry, cell: Cell) -> None:
    """Publish the cell's image to every target and write its row.

    Raises FoundryError: ``tag-taken``, ``push-mismatch``, ``image-missing`` (it was not built), and what
    `foundry.registry.push.Writer.push` raises.
    """
    state = foundry.states.refresh(cell)
    key = state.key
    if key is None:
        raise FoundryError(f"{cell.name} can't be published: {state.reason}", reason=state.why.code)
    folder = foundry.cell_folder(cell)
    known = state.row.proof if state.adopted and state.row is not None else None
    # of these very modules: with FORCE_BUILD every stage counts as not done, and the boot has just been done anew
    made = proof_of(foundry, cell, key) if state.proven or foundry.states.force else None
    if foundry.states.to_prove(cell.arch) and not any(map(foundry.states.is_enough, (known, made))):
        raise FoundryError(f"{cell.name} is not published: its kernel has not loaded it ({state.reason})",
                           reason=Reason.NOT_PROVEN, hint=f"run `doit boot:{cell.name}`")
    signer = foundry.publishing_signer()  # before anything is pushed that could then not be signed
    (folder / RECORD).unlink(missing_ok=True)
    with noted(folder, stage="push", key=key.key):
        row = _pushed(foundry, cell, state, key, signer)
    put_row(foundry, cell, row)
    write_record(folder / RECORD, "push", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch, "key": key.key,
        "inputs": {}, "outputs": {}, "row": row.as_data(),
    })
    if not foundry.settings.keep_images:
        (folder / image.IMAGE_FILE).unlink(missing_ok=True)


def _pushed(foundry: Foundry, cell: Cell, state: CellState, key: CellKey, signer: ImageSigner | None) -> Row:
    """Have the image, with its signatures and what is attested of it, in every target; the cell's row."""
    from foundry.attest.statements import hashes
    from foundry.ledger.attest import attest, statements_of
    from foundry.registry.signatures import sign_image

    current = state.row is not None and state.row.key == key.key and not foundry.states.force
    row = state.row if current else None
    log = foundry.cell_folder(cell) / LOG
    log.unlink(missing_ok=True)
    content = Published(foundry, state, row, log)
    said: dict[str, bytes] = {}
    of = ""  # the digest that they are about
    as_known = (row is not None and signer is not None and row.image_signer == signer.public.fingerprint
                and (row.proof is not None or proof_of(foundry, cell, key) is None))
    registries = list(row.registries) if row is not None else []
    replaced: Replaced | None = None
    for target in foundry.registries.targets(cell.family.name):
        writer = foundry.registries.writer(target)
        if row is None or not target.is_in(registries) or not set(tags(foundry, cell)) <= set(row.tags):
            replaced = _publish(foundry, writer, state, key, content) or replaced
        if signer is not None:
            if not as_known or not target.is_in(registries):
                said = said if of == content.digest else statements_of(foundry, cell, key, content)
                of = content.digest
                made = attest(writer, cell, content.whole(), said, signer, foundry.cell_folder(cell))
                append_to(log)(f"{writer.name}@{content.digest} is signed: {', '.join(made)}")
            else:
                sign_image(writer, content.digest, cell.tag, signer)
        registries = [*(name for name in registries if name != writer.name), writer.name]
    result = _row(foundry, state, key, content, sorted(registries), replaced)
    if signer is not None:
        result = replace(result, image_signer=signer.public.fingerprint)
    return replace(result, attestations=hashes(said)) if said else result


def _publish(
    foundry: Foundry, writer: Writer, state: CellState, key: CellKey, content: Published
) -> Replaced | None:
    """Have the image under all its tags in one registry."""
    replaced = None
    note = append_to(content.log)
    for tag in tags(foundry, state.cell):
        there = writer.tagged(tag)
        if there is not None and there.digest == content.digest:
            note(f"{writer.name}:{tag} is there already: {there.digest}")
            continue
        if there is not None:
            its_key = _key_of(writer, there.digest)
            if its_key == key.key and not foundry.states.force and _is_ours(foundry, writer, there.digest):
                note(f"{writer.name}:{tag} has the same key: {there.digest} is adopted")
                content.adopt(writer, there.digest)
                continue
            replaced = _allowed(foundry, writer, state, key, tag, Replaced(there.digest, its_key, ""))
            note(f"{writer.name}:{tag} was {there.digest}: replaced, {replaced.reason}")
        writer.push(content.whole(), tag)
        sent = writer.sent
        note(f"{writer.name}:{tag} is {content.digest}; sent so far: {sent.blobs} blobs, {sent.bytes} bytes")
    return replaced


def _is_ours(foundry: Foundry, writer: Writer, digest: str) -> bool:
    """Whether an image with today's key may be taken for ours: where images are signed, by its signature."""
    from foundry.registry.signatures import signer_of

    keys = foundry.public_keys()
    return not keys or bool(signer_of(writer, digest, keys))


def found(foundry: Foundry, state: CellState) -> Row | None:
    """The row of a cell whose image all targets have under all its tags, with today's key; else None."""
    from foundry.formats.images.manifest import Manifest, parse_manifest
    from foundry.registry.images import labels_of

    key, names = state.key, []
    manifests: dict[str, Fetched] = {}
    labels: Mapping[str, str] = {}
    for target in foundry.registries.targets(state.cell.family.name):
        writer = foundry.registries.writer(target)
        for tag in tags(foundry, state.cell):
            there = writer.tagged(tag)
            labels = labels_of(writer, there.digest) if there is not None else {}
            if key is None or there is None or labels.get(KEY_LABEL) != key.key:
                return None
            if not _is_ours(foundry, writer, there.digest):
                return None
            manifests[there.digest] = there
        names.append(writer.name)
    if key is None or len(manifests) != 1:
        return None
    [(digest, fetched)] = manifests.items()
    manifest = parse_manifest(fetched.data, fetched.media_type)
    if not isinstance(manifest, Manifest):
        return None
    append_to(foundry.cell_folder(state.cell) / LOG)(f"{', '.join(names)}: {digest} has today's key and is adopted")
    return row_of(
        state.cell, key, content_sha256=foundry.content_sha256(state.cell), digest=digest,
        tags=tags(foundry, state.cell), registries=sorted(names), config_digest=manifest.config.digest,
        size=len(fetched.data) + sum(part.size for part in (manifest.config, *manifest.layers)),
        depends=depends_of(labels), signature=signature_of(labels), published=now(),
    )


def _allowed(
    foundry: Foundry, writer: Writer, state: CellState, key: CellKey, tag: str, old: Replaced
) -> Replaced:
    """Why the tag's image may be replaced; FoundryError ``tag-taken`` when it may not."""
    row = state.row
    if row is not None and row.digest == old.digest:
        parts = changed_parts(row.key_inputs, key.parts)
        if parts:
            return replace(old, reason=f"changed: {part_words(parts)}")
    if foundry.states.force:
        return replace(old, reason="FORCE_BUILD is set")
    if old.key == key.key:
        raise FoundryError(
            f"{writer.name}:{tag} is {old.digest} with today's key, and no key of `image_signing` signed it",
            reason=Reason.TAG_TAKEN, hint=TAKEN_HINT)
    raise FoundryError(
        f"{writer.name}:{tag} is {old.digest} with another key ({old.key[:12] or 'none'}), unknown to the ledger",
        reason=Reason.TAG_TAKEN,
        hint=TAKEN_HINT,
    )


def _key_of(writer: Writer, digest: str) -> str:
    """The key in an image's labels; empty when it has none."""
    from foundry.registry.images import labels_of

    return labels_of(writer, digest).get(KEY_LABEL, "")


def _row(
    foundry: Foundry, state: CellState, key: CellKey, content: Published, registries: list[str],
    replaced: Replaced | None,
) -> Row:
    before = content.row
    facts = content.facts()
    proof = proof_of(foundry, state.cell, key)
    return row_of(
        state.cell, key, content_sha256=foundry.content_sha256(state.cell), digest=content.digest,
        tags=tags(foundry, state.cell), registries=registries, config_digest=facts.config_digest, size=facts.size,
        depends=facts.depends, devices=_compiled(foundry, state.cell, key, before, "devices"),
        loads=_compiled(foundry, state.cell, key, before, "loads"), signature=facts.signature,
        proof=proof if proof is not None or before is None else before.proof,
        image_signer=before.image_signer if before is not None else "",
        attestations=before.attestations if before is not None else None,
        published=before.published if before is not None else now(),
        replaces=replaced or (before.replaces if before is not None else None),
    )


def _compiled(foundry: Foundry, cell: Cell, key: CellKey, before: Row | None, name: str) -> Sequence[str]:
    """A fact on the modules (`devices`, `loads`) where they were compiled here; else as the row has it."""
    record = read_record(foundry.cell_folder(cell) / module.RECORD, "module")
    if record is not None and record["key"] == key.module:
        found: Sequence[str] = record.get(name, ())
        return found
    return getattr(before, name, ())


def tags(foundry: Foundry, cell: Cell) -> tuple[str, ...]:
    """The image's own tag and those of the setting `extra_tags`, one a release where they name it."""
    tags = [cell.tag]
    for template in foundry.settings.extra_tags:
        for release in cell.releases if "{release}" in template else ("",):
            text = template.format(driver=cell.driver, kernel=cell.kernel, arch=cell.arch, release=release)
            tags.append(tag_of(text))
    return tuple(dict.fromkeys(tags))
