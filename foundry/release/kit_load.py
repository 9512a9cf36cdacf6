"""Loading a kit (`foundry.release.offline_kit`): its images, with what lies beside them, in a registry, and proven."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from foundry.base.errors import FoundryError, UsageError
from foundry.base.files import open_file, read_file, scratch
from foundry.base.names import CHECKSUMS_FILE, LEDGER_FILE
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.formats.images.manifest import Descriptor
from foundry.ledger.offline import Stored, damage, images_of, verify_folder
from foundry.ledger.verify import Verdict
from foundry.plan.ledger import parse_ledger
from foundry.plan.rows import Row
from foundry.registry.push import Writer
from foundry.registry.targets import Target
from foundry.run.context import Foundry
from foundry.signing.image_key import PublicKey

_LARGEST = 64 << 30  # bytes of a kit


def load(foundry: Foundry, kit: Path, place: str, keys: Sequence[PublicKey]) -> Iterator[Verdict]:
    """Have a kit's images below `place` (``host[:port][/path]``) in a registry; what was looked at, and what is wrong.

    The kit is proven first: where anything is wrong with it nothing is pushed. Each image lies at the end of `place` by
    its own repository's path, as the mirrors in the kit's manifests have it. Without `keys` nothing is said of
    signatures, and none are loaded. Raises UsageError for what is no kit or no place, and what registries raise;
    FoundryError ``tag-taken`` for a tag that is another image than the ledger knows of.
    """
    with _unpacked(foundry, kit) as folder:
        if keys:
            before = list(verify_folder(folder, keys, foundry.config.validation))
        else:
            before = [Verdict(CHECKSUMS_FILE, tuple(damage(folder))), *(
                Verdict(one.digest, tuple(one.faults)) for one in images_of(folder, ()) if one.content is None)]
        if bad := [one for one in before if one.faults]:
            yield from bad
            return
        ledger = parse_ledger(read_file(folder / LEDGER_FILE), LEDGER_FILE, foundry.config.validation)
        rows = {row.digest: row for row in ledger.rows.values()}
        images = [(one, rows[one.digest], writer) for one in images_of(folder, keys) if one.digest in rows
                  for writer in _writers(foundry, rows[one.digest], place)]
        for one, row, writer in images:
            _require_free(one, row, writer)  # before anything is pushed
        for one, row, writer in images:
            _push(one, row, writer, keys)
            yield Verdict(f"{writer.name}@{one.digest}", tuple(_proof(one, writer, keys)))


@contextmanager
def _unpacked(foundry: Foundry, kit: Path) -> Iterator[Path]:
    """The kit's folder; a tar is unpacked into one that is gone at the end."""
    from foundry.formats.trees.sourcetree import unpack_tar

    if kit.is_dir():
        _require_kit(kit)
        yield kit
        return
    with scratch(foundry.root / foundry.config.build, "kit") as work:
        try:
            with open_file(kit) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                data = memoryview(mapped)
                try:
                    unpack_tar(data, work / "kit", what=str(kit), limit=_LARGEST)
                finally:
                    data.release()
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise UsageError(f"{kit} can't be read: {error}") from error
        [top, *more] = sorted((work / "kit").iterdir()) or [work]
        folder = work / "kit" if more else top
        _require_kit(folder)
        yield folder


def _require_kit(folder: Path) -> None:
    for name in ("oci-layout", CHECKSUMS_FILE, LEDGER_FILE):
        if not (folder / name).is_file():
            raise UsageError(f"{folder.name} is no kit: it has no {name}", hint="`doit kit:DRIVER` makes one")


def _writers(foundry: Foundry, row: Row, place: str) -> list[Writer]:
    """The repositories that an image goes to: of each that it was published in, its path below the place."""
    found = dict.fromkeys(f"{place.rstrip('/')}/{name.partition('/')[2]}" for name in row.registries)
    try:
        names = [parse_reference(one) for one in found]
    except FoundryError as error:
        raise UsageError(f"{place} is no registry, nor a path in one: {error.message}",
                         hint="as in mirror.example.com:5000/drivers") from error
    return [foundry.registries.writer(Target(one.host, one.repository, create_repository=False)) for one in names]


def _require_free(one: Stored, row: Row, writer: Writer) -> None:
    for tag in row.tags:
        there = writer.tagged(tag)
        known = (one.digest, row.replaces.digest if row.replaces is not None else "")
        if there is not None and there.digest not in known:
            raise FoundryError(f"{writer.name}:{tag} is {there.digest}, which the kit does not know of",
                               reason=Reason.TAG_TAKEN, hint="whose is it? remove the tag there, or load elsewhere")


def _push(one: Stored, row: Row, writer: Writer, keys: Sequence[PublicKey]) -> None:
    from foundry.formats.attestations.bundle import parse_bundle
    from foundry.registry.referrers import attach
    from foundry.registry.signatures import take_over

    image = one.content
    assert image is not None  # noqa: S101 - a damaged one is told of before
    for tag in row.tags:
        writer.push(image, tag)
    if one.signatures:
        take_over(writer, one.digest, one.signatures)
    for key in keys:
        for kind, bundles in one.bundles.items():
            for bundle in bundles:
                signed = parse_bundle(bundle)
                if signed is not None and signed.is_by(key.verifies):
                    attach(writer, Descriptor(image.media_type, one.digest, len(image.manifest)), {kind: bundle}, key)


def _proof(one: Stored, writer: Writer, keys: Sequence[PublicKey]) -> Iterator[str]:
    """What is wrong with what has arrived; the image itself was read back when it was pushed."""
    from foundry.registry.referrers import attached
    from foundry.registry.signatures import signer_of

    if not keys:
        return
    if not signer_of(writer, one.digest, keys):
        yield "its signature has not arrived"
    there = attached(writer, one.digest, keys)
    yield from (f"{kind} has not arrived" for kind in one.bundles if kind not in there)
