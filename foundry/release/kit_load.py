"""Loading a kit (`foundry.release.offline_kit`): its images, with what lies beside them, in a registry, and proven."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError, UsageError
from foundry.base.files import open_file, read_file, scratch
from foundry.base.names import CHECKSUMS_FILE, LEDGER_FILE, tag_of
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.base.yaml_lines import located
from foundry.formats.images.manifest import Descriptor
from foundry.kmm.files import BOOT_FILE
from foundry.ledger.offline import Stored, damage, images_of, verify_files
from foundry.ledger.verify import Verdict
from foundry.plan.ledger import parse_ledger
from foundry.plan.rows import Row
from foundry.registry.push import Writer
from foundry.registry.targets import Target
from foundry.release.bundle import FOLDER as BUNDLE
from foundry.run.context import Foundry
from foundry.signing.image_key import PublicKey

_MADE = "`doit kit:DRIVER` makes one"
_LARGEST = 64 << 30  # bytes of a kit


def load(foundry: Foundry, kit: Path, place: str, keys: Sequence[PublicKey]) -> Iterator[Verdict]:
    """Have a kit's images below `place` (``host[:port][/path]``) in a registry; what was looked at, and what is wrong.

    The kit is proven first: where anything is wrong with it nothing is pushed. Each image lies at the end of `place` by
    its own repository's path, as the mirrors in the kit's manifests have it. Without `keys` nothing is said of
    signatures, and none are loaded. Raises UsageError for what is no kit or no place, and what registries raise;
    FoundryError ``tag-taken`` for a tag that is another image than the ledger knows of.
    """
    with unpacked(foundry, kit) as folder:
        stored = list(images_of(folder, keys))
        if keys:
            before = [Verdict(one.digest, (*one.unsigned, *one.faults)) for one in stored]
            before += verify_files(folder, keys)
        else:
            before = [Verdict(one.digest, tuple(one.faults)) for one in stored if one.content is None]
            before.append(Verdict(CHECKSUMS_FILE, tuple(damage(folder))))
        if bad := [one for one in before if one.faults]:
            yield from bad
            return
        ledger = parse_ledger(read_file(folder / LEDGER_FILE), LEDGER_FILE, foundry.config.validation)
        rows = {row.digest: row for row in ledger.rows.values()}
        boot = _boot_repository(folder)
        images = [(one, rows[one.digest], writer, tags) for one in stored if one.digest in rows
                  for writer, tags in _places(foundry, rows[one.digest], place, boot)]
        for one, row, writer, tags in images:
            _require_free(one, row, writer, tags)  # before anything is pushed
        for one, _, writer, tags in images:
            _push(one, writer, tags, keys)
            yield Verdict(f"{writer.name}@{one.digest}", tuple(_proof(one, writer, keys)))


@contextmanager
def unpacked(foundry: Foundry, kit: Path) -> Iterator[Path]:
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
            why = error.strerror if isinstance(error, OSError) else "it is empty"
            raise UsageError(f"{kit} is no kit: {why}", hint=_MADE) from error
        except FoundryError as error:
            if isinstance(error, OutsideError):
                raise
            raise UsageError(f"{kit} is no kit: {error.message}", hint=f"copy it again; {_MADE}") from error
        [top, *more] = sorted((work / "kit").iterdir()) or [work]
        folder = work / "kit" if more else top
        _require_kit(folder)
        yield folder


def _require_kit(folder: Path) -> None:
    for name in ("oci-layout", CHECKSUMS_FILE, LEDGER_FILE):
        if not (folder / name).is_file():
            raise UsageError(f"{folder.name} is no kit: it has no {name}", hint=_MADE)


def _boot_repository(folder: Path) -> str:
    """``host/path`` of the images by kernel alone that the kit's BootModuleConfig names; empty where it has none."""
    file = folder / BUNDLE.name / BOOT_FILE
    if not file.is_file():
        return ""
    [config, *_] = located(read_file(file))
    return str(config.value["spec"]["kernelModuleImage"])


def _places(foundry: Foundry, row: Row, place: str, boot: str) -> list[tuple[Writer, tuple[str, ...]]]:
    """The repositories that an image goes to, with its tags: each that it was published in, below the place.

    And that of images by kernel alone, where there is one and the kernel can be a tag.
    """
    tags = dict.fromkeys(row.registries, row.tags)
    if boot and tag_of(row.kernel) == row.kernel:
        tags[boot] = (row.kernel,)
    found = {f"{place.rstrip('/')}/{name.partition('/')[2]}": named for name, named in tags.items()}
    try:
        names = [parse_reference(one) for one in found]
    except FoundryError as error:
        raise UsageError(f"{place} is no registry, nor a path in one: {error.message}",
                         hint="as in mirror.example.com:5000/drivers") from error
    writers = [foundry.registries.writer(Target(one.host, one.repository, create_repository=False)) for one in names]
    return list(zip(writers, found.values(), strict=True))


def _require_free(one: Stored, row: Row, writer: Writer, tags: Sequence[str]) -> None:
    for tag in tags:
        there = writer.tagged(tag)
        known = (one.digest, row.replaces.digest if row.replaces is not None else "")
        if there is not None and there.digest not in known:
            raise FoundryError(f"{writer.name}:{tag} is {there.digest}, which the kit does not know of",
                               reason=Reason.TAG_TAKEN, hint="whose is it? remove the tag there, or load elsewhere")


def _push(one: Stored, writer: Writer, tags: Sequence[str], keys: Sequence[PublicKey]) -> None:
    from foundry.formats.attestations.bundle import parse_bundle
    from foundry.registry.referrers import attach
    from foundry.registry.signatures import take_over

    image = one.content
    assert image is not None  # noqa: S101 - a damaged one was refused before
    for tag in tags:
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
