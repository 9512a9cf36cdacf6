"""`doit sign:image`: published images whose modules are signed by a key of one's own, instead of ours or beside it.

The new image has the layers of the old one. New are the signatures at the end of the modules, the certificate in
``/licenses`` and the labels; that nothing else is, is proven from what was written, before it is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError, UsageError
from foundry.base.files import remove_abandoned, scratch
from foundry.base.names import KEY_LABEL, RESIGNED_LABEL, cell_name, near, signature_labels
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference
from foundry.cell.image import CERTIFICATE, IMAGE_FILE
from foundry.ledger.ledgers import all_ledgers
from foundry.ledger.verify import MAX_IMAGE
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Row
from foundry.registry.targets import Target
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.images.oci import Image
    from foundry.formats.images.rootfs import Entry
    from foundry.formats.modules.signature import Signature
    from foundry.registry.push import Writer
    from foundry.signing.keys import Signer

FOLDER = "signed"  # below build/<profile>
_MODULES = "opt/lib/modules/"  # where KMM's worker looks for modules
_LICENSES = str(PurePosixPath(CERTIFICATE).parent)
_COMPRESSED = (".ko.gz", ".ko.xz", ".ko.zst")
_ELF = b"\x7fELF"
_SHOWN = 5
_TAG_SECONDS = 10.0  # to say in a hint what a tag is


@dataclass(frozen=True)
class Wishes:
    """How to sign: with which hash (empty: that of the present signature), and whether others' signatures stay."""

    signer: Signer
    hash_name: str = ""
    beside: bool = False


@dataclass(frozen=True)
class Signed:
    """An image that was signed.

    `modules` are their paths, each with who else signed it; `elsewhere` are modules that KMM does not look for and that
    are left alone, `others` is the number of all other files.
    """

    image: Image
    signature: Signature
    modules: Mapping[str, tuple[str, ...]]
    elsewhere: tuple[str, ...]
    others: int


def sources(foundry: Foundry, words: Sequence[str]) -> list[Reference]:
    """The images that are meant, by digest, and by tag where one is known; cells are looked up in the ledgers.

    Raises UsageError for what is no image by digest and no published cell, and what reading ledgers raises.
    """
    named = {word: _parsed(foundry, word) for word in words if any(mark in word for mark in "/@:")}
    cells = _published(all_ledgers(foundry).values()) if len(named) < len(set(words)) else {}
    for word in words:
        if word in named:
            continue
        if word not in cells:
            raise UsageError(f"no ledger has a cell {word}{near(word, cells)}",
                             hint="name a published cell, as `doit status` shows it, or registry/repository@sha256:…")
        named[word] = _of_cell(foundry, word, *cells[word])
    return list(dict.fromkeys(named[word] for word in words))


def destination(text: str, images: Sequence[Reference]) -> Reference:
    """Where to push to; UsageError where it can't be meant, or an image would have no tag there."""
    try:
        place = parse_reference(text)
    except FoundryError as error:
        raise UsageError(error.message, hint=error.hint) from error
    if place.digest:
        raise UsageError(f"--to {text}: a new image has a digest of its own", hint="name registry/repository:tag")
    tags = [place.tag or image.tag for image in images]
    if not all(tags):
        raise UsageError(f"--to {text}: no tag is known for {images[tags.index('')]}",
                         hint="name one: --to registry/repository:tag")
    if len(set(tags)) < len(tags):
        raise UsageError(f"--to {text}: several images would have the tag {tags[0]}", hint="sign them one by one")
    return place


def sign_image(foundry: Foundry, image: Reference, wishes: Wishes, place: Path | Reference) -> tuple[Signed, str]:
    """Sign an image's modules, prove the new image, and write it below a folder or push it; the image, and where it is.

    Nothing is left there where anything is wrong. Raises FoundryError: ``module-missing``, ``module-compressed``,
    ``gate-elf``, ``layer-not-a-file``, ``module-changed`` (the proof), ``tag-taken``; what reading, signing and pushing
    raise.
    """
    from foundry.formats.images.oci import image_of, read_archive, write_archive
    from foundry.registry.push import content_of, fetch_content

    registry = foundry.registries.reader(image.host)
    content = fetch_content(registry, image.repository, image.digest, MAX_IMAGE)
    old = image_of(content.manifest, content.media_type, content.blobs)
    made = signed_image(old, wishes)
    tag = f"signed-{made.image.digest.removeprefix('sha256:')[:12]}"
    folder = place if isinstance(place, Path) else foundry.root / foundry.config.build / FOLDER
    remove_abandoned(folder, "sign")
    with scratch(folder, "sign") as work:
        write_archive(made.image, work / IMAGE_FILE, f"{image.name}:{tag}", 0)
        written = read_archive(work / IMAGE_FILE)
        made = _proven(old, written, made, wishes)
        if isinstance(place, Path):
            file = place / made.image.digest.removeprefix("sha256:") / IMAGE_FILE
            file.parent.mkdir(exist_ok=True)
            (work / IMAGE_FILE).replace(file)
            return made, str(file)
    writer = foundry.registries.writer(Target(place.host, place.repository, create_repository=False))
    tag = place.tag or image.tag

    def look() -> None:
        _require_free(writer, tag, image.digest, made.image.digest)

    look()
    writer.push(content_of(written), tag, last_look=look)
    return made, f"{place.name}:{tag}@{made.image.digest}"


def signed_image(old: Image, wishes: Wishes) -> Signed:
    """The image with its modules signed; of layers without modules nothing is read but what files they have.

    Raises FoundryError as `sign_image`, but for the proof.
    """
    from foundry.formats.images.oci import with_parts
    from foundry.formats.images.rewrite import Change, rewrite
    from foundry.formats.modules.signature import added, check, signed, signers

    files, certificate = _tree(old), wishes.signer.certificate
    modules = {path: files[path].content for path in _modules(files)}
    hash_name = wishes.hash_name or _present_hash(modules, wishes)
    make = added if wishes.beside else signed
    changes = {path: Change(content, make(content, wishes.signer, hash_name)) for path, content in modules.items()}
    signature = check(changes[min(changes)].new, certificate)
    folder, known = files.get(_LICENSES), files.get(CERTIFICATE)
    if (folder is not None and folder.kind != "folder") or (known is not None and known.kind != "file"):
        raise FoundryError(f"/{CERTIFICATE} is no plain file in a folder", reason=Reason.LAYER_NOT_A_FILE,
                           hint="the certificate belongs there: build the image without what is in its place")
    if known is not None:
        changes[CERTIFICATE] = Change(known.content, certificate.der)
    layers = {place: made for place, digest in enumerate(old.layers)
              if (made := rewrite(old.blobs[digest], changes)).paths}
    if known is None and layers:
        last = max(layers)
        layers[last] = layers[last].with_file(CERTIFICATE, certificate.der, [] if _LICENSES in files else [_LICENSES])
    labels = {name: value for name, value in old.labels.items() if name != KEY_LABEL}
    labels |= {RESIGNED_LABEL: old.digest, **signature_labels({
        "signer": signature.signer, "certificate": signature.fingerprint, "hash": signature.hash_name})}
    image = with_parts(old, labels, {place: made.plain for place, made in layers.items()})
    plain = [path for path, entry in files.items() if entry.kind == "file" and path not in changes]
    return Signed(
        image, signature, {path: tuple(signers(changes[path].new, but=certificate)) for path in modules},
        tuple(sorted(path for path in plain if path.endswith(".ko"))), len(plain))


def _tree(image: Image) -> Mapping[str, Entry]:
    from foundry.formats.images.rootfs import unpack

    return unpack(image.blobs[layer] for layer in image.layers)


def _modules(files: Mapping[str, Entry]) -> list[str]:
    """The paths of the modules that KMM's worker would load; FoundryError for what can't be signed there."""
    inside = [path for path in files if path.startswith(_MODULES)]
    if packed := sorted(path for path in inside if path.endswith(_COMPRESSED)):
        raise FoundryError(f"modules are compressed: {_listed(packed)}", reason=Reason.MODULE_COMPRESSED,
                           hint="build the image with uncompressed ones: a signature stands in the module itself")
    found = [path for path in inside if path.endswith(".ko") and files[path].kind == "file"]
    for path in inside:
        if path.endswith(".ko") and path not in found and _leads_to(path, files[path]) not in found:
            raise FoundryError(f"/{path} is no plain file, and no link to one below /{_MODULES}",
                               reason=Reason.LAYER_NOT_A_FILE, hint="put the module there itself")
        if path in found and not files[path].content.startswith(_ELF):
            raise FoundryError(f"/{path} is no module: it is not ELF", reason=Reason.GATE_ELF,
                               hint="was it compressed without another name?")
    if not found:
        raise FoundryError(f"the image has no modules below /{_MODULES}", reason=Reason.MODULE_MISSING,
                           hint="is it an image for KMM?")
    return sorted(found)


def _leads_to(path: str, entry: Entry) -> str:
    """What a link names, from the image's root."""
    return normpath(f"/{PurePosixPath(path).parent / entry.target}").lstrip("/")


def _present_hash(modules: Mapping[str, bytes], wishes: Wishes) -> str:
    """The hash of the signatures that are there, the first of the strong ones; FoundryError for what is no module."""
    from foundry.formats.modules.signature import HASHES, signers

    found: list[str] = []
    for content in modules.values():
        try:
            found += signers(content).values()
        except FoundryError as error:
            # a form that no kernel takes needs not be kept
            if wishes.beside or error.reason != Reason.MODULE_SIGNATURE_MALFORMED:
                raise
    return next((name for name in found if name in HASHES), HASHES[0])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    return ", ".join(f"/{name}" for name in names[:_SHOWN]) + more


def _proven(old: Image, written: Image, made: Signed, wishes: Wishes) -> Signed:
    """What was written is what was made, signed, and nothing else in it differs; FoundryError (``module-changed``)."""
    from foundry.formats.images.rewrite import outline
    from foundry.formats.modules.signature import bare, check

    certificate = wishes.signer.certificate
    before, after = _tree(old), _tree(written)
    for path in made.modules:
        check(after[path].content, certificate)
        if bare(after[path].content) != bare(before[path].content):
            raise _differs(path)
    if CERTIFICATE not in after or after[CERTIFICATE].content != certificate.der:
        raise _differs(CERTIFICATE)
    new = {*made.modules, CERTIFICATE, *({_LICENSES} - before.keys())}
    if changed := [path for path in {**before, **after} if before.get(path) != after.get(path) and path not in new]:
        raise _differs(min(changed))
    for first, second in zip(old.layers, written.layers, strict=True):
        if first != second:
            (head, tail), (new_head, new_tail) = (outline(one.blobs[digest], new) for one, digest in (
                (old, first), (written, second)))
            if not new_head.startswith(head) or tail != new_tail:
                raise _differs("")
    return replace(made, image=written)


def _differs(path: str) -> FoundryError:
    what = f"/{path}" if path else "what its layers say of files"
    return FoundryError(f"signing changes {what}, which is more than the signatures of modules",
                        reason=Reason.MODULE_CHANGED, hint="is it a hard link to a module? then the image must be built"
                        " without; else tell the maintainers of kmod-foundry")


def _parsed(foundry: Foundry, word: str) -> Reference:
    """An image by digest; UsageError for a tag, with the digest that it has now if its registry says it soon."""
    from foundry.net.transport import RetryPolicy
    from foundry.registry.mirror import tag_digest

    try:
        found = parse_reference(word)
    except FoundryError as error:
        raise UsageError(error.message, hint=error.hint) from error
    if found.digest:
        return found
    registry = foundry.registries.reader(found.host, policy=RetryPolicy(retries=0, total=_TAG_SECONDS))
    try:
        digest = tag_digest(registry, found.repository, found.tag) if found.tag else ""
    except FoundryError:  # it is said with the command that needs it
        digest = ""
    raise UsageError(f"{word} names no digest, and a tag may be another image by tomorrow",
                     hint=f"now it is {found.at(digest)}" if digest else "name registry/repository@sha256:…")


def _published(ledgers: Iterable[Ledger]) -> dict[str, tuple[Ledger, Row]]:
    """The rows of ledgers by cell."""
    return {cell_name(ledger.driver, row.kernel): (ledger, row) for ledger in ledgers for row in ledger.sorted_rows()}


def _of_cell(foundry: Foundry, name: str, ledger: Ledger, row: Row) -> Reference:
    """A published cell's image in the first registry of the profile that has it."""
    for target in foundry.registries.targets(ledger.family):
        if target.is_in(row.registries):
            return Reference(target.registry, target.repository, row.tags[0], row.digest)
    raise FoundryError(f"{name} is in no registry of this profile", reason=Reason.IMAGE_MISSING,
                       hint="name it by its registry: registry/repository@sha256:…")


def _require_free(writer: Writer, tag: str, old: str, new: str) -> None:
    """FoundryError ``tag-taken`` where a tag is another image than one that was made from the same."""
    from foundry.registry.images import labels_of

    there = writer.tagged(tag)
    if there is None or there.digest == new or labels_of(writer, there.digest).get(RESIGNED_LABEL) == old:
        return
    raise FoundryError(f"{writer.name}:{tag} is {there.digest}, which was not made from {old}",
                       reason=Reason.TAG_TAKEN, hint="choose another tag")
