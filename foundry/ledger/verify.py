"""Proving published images again: as they are in their registries, not as they were when they were pushed.

Each image is fetched by digest, every blob compared with its digest; then its
labels, layout, depmod's files, its modules' signatures and the gate are looked at anew. Its tags must
still be it, and the driver's GitHub release must not say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError, UsageError
from foundry.base.files import scratch, sha256_bytes
from foundry.base.names import KEY_LABEL, signature_of
from foundry.base.parallel import in_parallel
from foundry.base.references import parse_reference
from foundry.cell.boot import module_hashes, modules_in
from foundry.cell.compile import kernel_file
from foundry.cell.image import CERTIFICATE
from foundry.cell.kit import HOST
from foundry.cell.module import recipe_for
from foundry.cell.output_checks import exports_of
from foundry.cell.published import files_of
from foundry.cell.run import require_here
from foundry.config.recipe import Recipe
from foundry.ledger.ledgers import contradictions
from foundry.plan.cells import Cell
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Row
from foundry.registry.repository import Repository
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.images.rootfs import Entry
    from foundry.registry.push import Content

LOG = "verify.log"
MAX_IMAGE = 2 << 30  # bytes
_READERS = 8  # tags that are looked at at once
# What depmod leaves and modprobe needs; modules.dep must name each module.
_DEPMOD = ("modules.dep", "modules.dep.bin", "modules.alias.bin", "modules.symbols.bin")


@dataclass(frozen=True)
class Verdict:
    """What was found of one image in one registry; no faults: it is as the ledger says."""

    image: str
    faults: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Published:
    """An image as a ledger has it, in one of its registries (``host/repository``).

    `released` is what the driver's GitHub release says of it, where that can't be true beside the ledger.
    """

    cell: Cell
    row: Row
    repository: str
    released: str

    @property
    def name(self) -> str:
        """By digest."""
        return f"{self.repository}@{self.row.digest}"


def published(foundry: Foundry, ledgers: Iterable[Ledger], *, named: bool = False) -> Iterator[Published]:
    """The images of these ledgers. One of a family that is not known here is left out with a warning.

    Raises UsageError for it where its driver was `named`, and what GitHub raises.
    """
    for ledger in ledgers:
        family = foundry.config.families.get(ledger.family)
        if family is None:
            unknown = f"the ledger of {ledger.driver} is of the family {ledger.family}, which is not known here"
            if named:
                raise UsageError(unknown)
            foundry.journal.warn(f"{unknown}: its {len(ledger.rows)} images are not looked at")
            continue
        differ = contradictions(foundry, ledger)
        for row in ledger.sorted_rows():
            cell = Cell(ledger.driver, family, row.kernel, row.arch, row.releases, row.toolkit)
            for repository in row.registries:
                yield Published(cell, row, repository, differ.get((row.kernel, row.arch), ""))


def verify(foundry: Foundry, images: Sequence[Published], *, tags_only: bool = False) -> Iterator[Verdict]:
    """Look at published images, in their order; raises what can't be had (registry, toolkit) as OutsideError.

    With `tags_only` that is a small request for each tag, eight at once, and no toolkit is pulled.
    """
    if not tags_only:
        for image in images:
            faults = _tag_faults(foundry, image)
            try:
                faults += _image_faults(foundry, image)
            except FoundryError as error:
                if error.exit_code != FoundryError.exit_code:
                    raise
                faults.append(error.message)
            yield Verdict(image.name, tuple(faults))
        return
    found: dict[Published, list[str] | None] = {}
    for outcome in in_parallel(images, partial(_tag_faults, foundry), threads=_READERS, stopping=foundry.ending):
        if outcome.error is not None:
            raise outcome.error
        found[outcome.job] = outcome.value
    yield from (Verdict(image.name, tuple(found[image] or ())) for image in images)


def _tag_faults(foundry: Foundry, image: Published) -> list[str]:
    """Tags that are something else, and what GitHub says."""
    faults = [f"the GitHub release has {image.released}"] if image.released else []
    where = parse_reference(image.repository)
    place = Repository(foundry.registries.reader(where.host, _log(foundry)), where.repository)
    for tag in image.row.tags:
        there = place.tagged(tag)
        if there is None or there.digest != image.row.digest:
            faults.append(f"its tag {tag} is {there.digest if there is not None else 'not there'}")
    return faults


def _image_faults(foundry: Foundry, image: Published) -> Iterator[str]:
    from foundry.attest.check import faults_of_image, faults_of_ledger, payloads
    from foundry.registry.push import fetch_content
    from foundry.registry.referrers import attached
    from foundry.registry.signatures import signer_of

    where, log = parse_reference(image.repository), _log(foundry)
    registry = foundry.registries.reader(where.host, log)
    content = fetch_content(registry, where.repository, image.row.digest, MAX_IMAGE)
    labels, row = labels_in(content), image.row
    key = labels.get(KEY_LABEL, "")
    if key != row.key:
        yield f"its label {KEY_LABEL} is {key[:64]!r}, not the ledger's key"
    if (said := signature_of(labels)) != row.signature:
        yield f"its labels have {_signer(said)}, the ledger has {_signer(row.signature)}"
    keys = foundry.public_keys()
    if keys:
        place = Repository(registry, where.repository)
        if not signer_of(place, row.digest, keys):
            yield "no key of `image_signing.public_keys` signed it"
        there = payloads(attached(place, row.digest, keys))
        yield from faults_of_ledger(there, row, image.cell.driver, image.cell.family.name)
        yield from faults_of_image(there, labels, files_of(content), row)
    yield from (f"its label {name} is missing or empty" for name in image.cell.family["labels"]
                if not labels.get(name, "").strip())
    yield from faults_of(foundry, image.cell, content, log)
    yield from _proof_faults(row, files_of(content))


def _log(foundry: Foundry) -> Path:
    return foundry.root / foundry.config.build / LOG


def labels_in(content: Content) -> Mapping[str, str]:
    """The labels of an image that is here."""
    from foundry.formats.images.manifest import Manifest, parse_config, parse_manifest

    manifest = parse_manifest(content.manifest, content.media_type)
    return parse_config(content.blobs[manifest.config.digest]).labels if isinstance(manifest, Manifest) else {}


def faults_of(foundry: Foundry, cell: Cell, content: Content, log: Path) -> Iterator[str]:
    """What is wrong with an image of the cell, our own or another's: labels that name it, layout, signatures, gate."""
    files, labels = files_of(content), labels_in(content)
    for name, template in cell.family["labels"].items():
        wanted = {"{kernel}": cell.kernel, "{driver}": cell.driver}.get(template) if name.endswith("-version") else None
        if wanted and labels.get(name) != wanted:
            yield f"its label {name} is {ascii(labels.get(name, ''))[:80]}, not {wanted}"
    yield from _layout_faults(cell, recipe_for(foundry, cell), files)
    if (said := signature_of(labels)) is not None:
        yield from _signature_faults(said, files)
    yield from _gate_faults(foundry, cell, files, log)


def _layout_faults(cell: Cell, recipe: Recipe, files: Mapping[str, Entry]) -> Iterator[str]:
    folder = f"opt/lib/modules/{cell.kernel}"
    if not recipe.modules:
        yield "its modules are not known here: the driver's package is not locked"
    for name in (*(one.installed for one in recipe.modules), *_DEPMOD):
        entry = files.get(f"{folder}/{name}")
        if entry is None or entry.kind != "file" or not entry.content:
            yield f"/{folder}/{name} is missing or no plain file"
    dep = files.get(f"{folder}/modules.dep")
    named = {line.partition(":")[0] for line in (dep.content if dep else b"").decode(errors="replace").splitlines()}
    yield from (f"modules.dep does not name {one.installed}" for one in recipe.modules if one.installed not in named)
    link = files.get(f"{folder}/{HOST}")
    if any(name.startswith(f"{HOST}/") for name in named) and (
        link is None or link.target != f"/lib/modules/{cell.kernel}"
    ):
        yield f"modules.dep names modules of the kernel's own, and /{folder}/{HOST} does not lead to them"
    for entry in cell.family.data.get("firmware", ()):
        place = f"opt/lib/firmware/{entry['to'].strip('/')}/"
        if not any(path.startswith(place) for path in files):
            yield f"/{place} has no firmware"
    for file in cell.family["licenses"]:
        if f"licenses/{Path(file).name}" not in files:
            yield f"/licenses/{Path(file).name} is missing"
    if not any(path in files for path in ("bin/sh", "usr/bin/sh")):
        yield "it has no /bin/sh, which KMM's worker runs"


def _signer(said: Mapping[str, str] | None) -> str:
    """Who signed, in words; of labels."""
    return ascii(f"{said['signer']} ({said['hash']}, certificate {said['certificate']})")[:300] if said else "no signer"


def _signature_faults(said: Mapping[str, str], files: Mapping[str, Entry]) -> Iterator[str]:
    """The certificate in the image is that which its labels name, and its key signed each of the modules."""
    from foundry.formats.modules.signature import check
    from foundry.signing.certificate import parse_certificate

    entry = files.get(CERTIFICATE)
    if entry is None or sha256_bytes(entry.content) != said["certificate"]:
        yield f"/{CERTIFICATE} is missing or not the certificate that its labels name"
        return
    try:
        certificate = parse_certificate(entry.content, Path(f"/{CERTIFICATE}"))
    except FoundryError as error:
        yield error.message
        return
    for path in modules_in(files):
        try:
            found = check(files[path].content, certificate)
        except FoundryError as error:
            yield f"/{path}: {error.message}"
            continue
        if (found.signer, found.hash_name) != (said["signer"], said["hash"]):
            yield f"/{path} is signed by {found.signer!a} ({found.hash_name}), which its labels don't say"


def _proof_faults(row: Row, files: Mapping[str, Entry]) -> Iterator[str]:
    """The modules that were booted are those in the image."""
    if row.proof is not None:
        here, booted = module_hashes(files), row.proof["modules"]
        yield from (f"{name} is not the module that was booted"
                    for name in sorted({*here, *booted}) if here.get(name) != booted.get(name))


def _gate_faults(foundry: Foundry, cell: Cell, files: Mapping[str, Entry], log: Path) -> Iterator[str]:
    from foundry.formats.modules.gate import check
    from foundry.formats.modules.symvers import parse

    if parse_reference(cell.toolkit).name not in _toolkit_places(foundry):
        yield f"its toolkit {cell.toolkit} is in no repository of the catalogue or `releases.images`: it is not started"
        return
    require_here(foundry, cell)
    toolkit = foundry.containers.platforms.image_of(cell.toolkit, cell.arch)
    with foundry.containers.images.used(toolkit, cell.arch, log):
        exported = parse(kernel_file(foundry, cell, toolkit, log))
    with scratch(foundry.root / foundry.config.build, "verify") as folder:
        there = {}
        for module in recipe_for(foundry, cell).modules:
            entry = files.get(f"opt/lib/modules/{cell.kernel}/{module.installed}")
            if entry is not None:
                there[module] = folder / module.base
                there[module].write_bytes(entry.content)
        siblings = exports_of(list(there.values()))
        for module, path in there.items():
            report = check(
                path, kernel=cell.kernel, expected_name=module.name, symvers=exported, arch=cell.arch,
                modversions=None, siblings=siblings,
            )
            yield from (f"gate {finding.rule}: {finding.detail}" for finding in report.findings if not finding.ok)


def _toolkit_places(foundry: Foundry) -> frozenset[str]:
    """Where toolkits are that this project names; a row's own word would have anybody's image started here."""
    named = {parse_reference(entry.dtk).name for entry in foundry.config.catalogue if entry.dtk}
    return frozenset({*named, *foundry.settings.releases.images})
