"""Stage image: the cell's module in a small OCI image with the same bytes every time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import remove_stale, scratch, sha256_file, write_atomic
from foundry.base.names import DEPENDS_LABEL, KEY_LABEL, OCI_ARCH, SIGNING_FILE, signature_labels
from foundry.base.reasons import Reason
from foundry.base.records import Record, input_facts, output_facts, read_record, write_record
from foundry.base.templates import fill_known
from foundry.cell import module, sign
from foundry.cell.kit import HOST
from foundry.driver.source import FIRMWARE
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey, key_of
from foundry.plan.labels import created
from foundry.plan.state import CellState
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.images.oci import Image

RECORD = "image.json"
IMAGE_FILE = "image.oci.tar"
LOG = "image.log"
CERTIFICATE = f"licenses/{SIGNING_FILE}"  # in the image


def file_deps(foundry: Foundry, cell: Cell) -> list[str]:
    """The files that the stage depends on, relative to the root."""
    family, folder = cell.family, foundry.states.cell_path(cell)
    signed = (f"{folder}/{sign.RECORD}", foundry.settings.signing.certificate) if foundry.settings.signing.key else ()
    return [f"{folder}/{module.RECORD}", *signed, family["containerfile"], *family["licenses"]]


def image(foundry: Foundry, cell: Cell, key: CellKey) -> None:
    """Build the image from the cell's outputs: ``image.oci.tar`` and ``image.json``.

    Raises FoundryError: module outputs that are not what the record says, a base
    that its registry no longer has, a build that fails, a label that is not true.
    """
    from foundry.formats.images.oci import read_archive, with_annotations, write_archive

    folder = foundry.cell_folder(cell)
    log = folder / LOG
    (folder / RECORD).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    remove_stale(folder)
    lock = foundry.config.locks.of(cell.family.name)
    base, package = lock.base, lock.packages[cell.driver]
    if base is None:
        raise FoundryError(f"the base of {cell.name} is not locked", reason=Reason.BASE_NOT_LOCKED)
    record = module.record_of(foundry, cell, key)
    signature = _signature(foundry, cell, key)
    in_tree = record.get("in_tree", {"modules": [], "linked": False})
    labels = {**key.labels, KEY_LABEL: key.key}
    if in_tree["modules"]:
        labels[DEPENDS_LABEL] = " ".join(in_tree["modules"])
    if signature is not None:
        labels |= signature_labels(signature)
    reference = foundry.containers.platforms.image_of(base_reference(base.name, base.digest), cell.arch)
    timestamp = created(package, base)
    with scratch(folder, "image") as work:
        _stage_context(foundry, cell, _contents(record, signature), work / "context", linked=in_tree["linked"])
        if signature is not None:
            write_atomic(work / "context" / CERTIFICATE, foundry.certificate().der)
        arguments = _arguments(cell, reference, labels, timestamp)
        images = foundry.containers.images
        with images.used(reference, cell.arch, log), images.kept(reference, log):
            _build(foundry, cell, work, arguments, log)
        # podman writes a digest of its store's copy, which may have come from elsewhere, under another one
        made = with_annotations(read_archive(work / "built.tar"), {
            "org.opencontainers.image.base.name": base.name,
            "org.opencontainers.image.base.digest": base.digest,
        })
        _check(cell, made, labels)
        name = fill_known(foundry.settings.image_repository, {"family": cell.family.name})
        write_archive(made, work / IMAGE_FILE, f"{name}:{cell.tag}", timestamp)
        (work / IMAGE_FILE).replace(folder / IMAGE_FILE)
    write_record(folder / RECORD, "image", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.key, "key_inputs": key.parts, "inputs": input_facts(foundry.root, file_deps(foundry, cell)),
        "outputs": output_facts(folder, [IMAGE_FILE]), "tag": cell.tag, "digest": made.digest,
        "config_digest": made.config_digest, "diff_ids": list(made.diff_ids), "size": made.size,
        "labels": dict(made.labels), "tools": {"podman": foundry.containers.engine.version()},
    })


def adopt(foundry: Foundry, state: CellState) -> None:
    """Record a published cell: an ``image.json`` that names no local file."""
    cell, row, key = state.cell, state.row, state.key
    if row is None or key is None:
        raise FoundryError(f"{cell.name} is not in the ledger", reason=Reason.NOT_PUBLISHED)
    write_record(foundry.cell_folder(cell) / RECORD, "image", {
        "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
        "key": key.key, "key_inputs": key.parts, "inputs": {}, "outputs": {}, "labels": key.labels,
        "tag": row.tags[0], "digest": row.digest, "adopted": True,
    })
    from foundry.plan.inputs import keep_inputs

    keep_inputs(foundry.root / foundry.config.build, key)


def base_reference(name: str, digest: str) -> str:
    """``registry/repository@sha256:…`` of a base that is named with a tag."""
    repository, colon, tag = name.rpartition(":")
    return f"{repository if colon and '/' not in tag else name}@{digest}"


def _signature(foundry: Foundry, cell: Cell, key: CellKey) -> Record | None:
    """The record of the cell's signed modules; None where the profile signs none."""
    if not key.certificate:
        return None
    record = read_record(foundry.cell_folder(cell) / sign.RECORD, "sign")
    if record is None or record["key"] != key_of(key.signed_parts):
        raise FoundryError(f"{cell.name} has no signed modules of today's inputs yet", reason=Reason.MODULE_MISSING,
                           hint=f"run `doit sign:{cell.name}`")
    return record


def _contents(record: Record, signature: Record | None) -> dict[str, Mapping[str, Any]]:
    """What the image gets, by file in the cell's folder; of signed modules the signed ones."""
    signed = dict(signature["outputs"]) if signature is not None else {}
    return {name: fact for name, fact in record["outputs"].items() if f"{sign.SIGNED}/{name}" not in signed} | signed


def _stage_context(
    foundry: Foundry, cell: Cell, outputs: Mapping[str, Mapping[str, Any]], context: Path, *, linked: bool
) -> None:
    """The build context: settled names and modes, contents as the module's record says.

    With `linked`, depmod's files have modules below `host`: on a node the link leads to the kernel's own.
    """
    folder = foundry.cell_folder(cell)
    modules = context / "opt/lib/modules" / cell.kernel
    licenses = context / "licenses"
    modules.mkdir(parents=True)
    licenses.mkdir()
    places = {one.base: modules / one.installed for one in module.recipe_for(foundry, cell).modules}
    for name, fact in outputs.items():
        if sha256_file(folder / name) != fact["sha256"]:
            raise FoundryError(
                f"{name} of {cell.name} is not what was built", reason=Reason.MODULE_CHANGED,
                hint="remove the file and build again",
            )
        if name.startswith(f"{FIRMWARE}/"):
            dest = context / "opt/lib" / name
        else:
            dest = places.get(Path(name).name, modules / Path(name).name)
        dest.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, dest)
    for file in cell.family["licenses"]:
        shutil.copyfile(foundry.root / file, licenses / Path(file).name)
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if linked:
        (modules / HOST).symlink_to(f"/lib/modules/{cell.kernel}")


def _arguments(cell: Cell, base: str, labels: dict[str, str], timestamp: int) -> list[str]:
    """Everything that decides the image's bytes, besides the context and the Containerfile."""
    return [
        "--layers=false", "--omit-history", "--identity-label=false", "--format=oci", f"--timestamp={timestamp}",
        f"--platform=linux/{OCI_ARCH[cell.arch]}", f"--build-arg=BASE={base}", f"--build-arg=KERNEL={cell.kernel}",
        *(f"--label={name}={value}" for name, value in sorted(labels.items())),
    ]


def _build(foundry: Foundry, cell: Cell, work: Path, arguments: list[str], log: Path) -> None:
    """Build under a name of our own: the same image may be somebody else's, too, under another name."""
    engine = foundry.containers.engine
    with engine.alone_with(cell.name), engine.temporary_image(cell.name) as name:
        engine.call(
            "build", "--quiet", "--pull=never", "--network=none", "--http-proxy=false", f"--tag={name}", *arguments,
            f"--file={foundry.root / cell.family['containerfile']}", str(work / "context"),
            log=log, reason=Reason.IMAGE_BUILD_FAILED, hint="read the log",
        )
        engine.call("save", "--quiet", "--format=oci-archive", f"--output={work / 'built.tar'}", name, log=log)


def _check(cell: Cell, made: Image, labels: dict[str, str]) -> None:
    """What the image says of itself is what was asked for."""
    wrong = [name for name, value in labels.items() if made.labels.get(name) != value]
    wrong += [name for name, value in made.labels.items() if not value.strip()]
    if wrong:
        raise FoundryError(f"the image of {cell.name} has wrong labels: {', '.join(wrong)}", reason=Reason.LABEL_WRONG)
    if made.architecture != OCI_ARCH[cell.arch]:
        raise FoundryError(
            f"the image of {cell.name} is for {made.architecture}, not {cell.arch}", reason=Reason.IMAGE_WRONG_PLATFORM
        )

