"""Proving published images again: as they are in their registries, not as they were when they were pushed.

Each image is fetched by digest, every blob compared with its digest; then its
labels, its layout, depmod's files and the gate are looked at anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import scratch
from foundry.base.names import KEY_LABEL
from foundry.base.references import parse_reference
from foundry.cell.compile import kernel_exports
from foundry.cell.module import recipe_for
from foundry.cell.output_checks import exports_of
from foundry.cell.run import require_here
from foundry.config.recipe import Recipe
from foundry.plan.cells import Cell
from foundry.plan.rows import Row
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.formats.images.rootfs import Entry

LOG = "verify.log"
_MAX_IMAGE = 2 << 30  # bytes
# What depmod leaves and modprobe needs; modules.dep must name each module.
_DEPMOD = ("modules.dep", "modules.dep.bin", "modules.alias.bin", "modules.symbols.bin")


@dataclass(frozen=True)
class Verdict:
    """What was found of one image in one registry; no faults: it is as the ledger says."""

    image: str
    faults: tuple[str, ...]


def verify(foundry: Foundry, cell: Cell, row: Row, repository: str) -> Verdict:
    """Look at one published image of a cell; raises what can't be had (registry, toolkit) as OutsideError."""
    from foundry.registry.push import fetch_content

    log = foundry.root / foundry.config.build / LOG
    where = parse_reference(repository)
    name = f"{repository}@{row.digest}"
    try:
        registry = foundry.registries.reader(where.host, log)
        content = fetch_content(registry, where.repository, row.digest, _MAX_IMAGE)
        faults = [*_tag_faults(registry.manifest(where.repository, row.tags[0]).digest, row)]
        faults += _faults(foundry, cell, row, content.manifest, content.blobs, log)
    except FoundryError as error:
        if error.exit_code != FoundryError.exit_code:
            raise
        faults = [error.message]
    return Verdict(name, tuple(faults))


def _tag_faults(digest: str, row: Row) -> Iterator[str]:
    if digest != row.digest:
        yield f"its tag {row.tags[0]} is {digest}"


def _faults(
    foundry: Foundry, cell: Cell, row: Row, manifest: bytes, blobs: Mapping[str, bytes], log: Path
) -> Iterator[str]:
    from foundry.formats.images.manifest import Manifest, parse_config, parse_manifest
    from foundry.formats.images.rootfs import unpack

    parsed = parse_manifest(manifest)
    if not isinstance(parsed, Manifest):
        yield "it is an index, not an image"
        return
    labels = parse_config(blobs[parsed.config.digest]).labels
    if labels.get(KEY_LABEL) != row.key:
        yield f"its label {KEY_LABEL} is {labels.get(KEY_LABEL, '')[:64]!r}, not the ledger's key"
    yield from (f"its label {name} is missing or empty" for name in cell.family["labels"]
                if not labels.get(name, "").strip())
    files = unpack(blobs[layer.digest] for layer in parsed.layers)
    yield from _layout_faults(cell, recipe_for(foundry, cell), files)
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
    for entry in cell.family.data.get("firmware", ()):
        place = f"opt/lib/firmware/{entry['to'].strip('/')}/"
        if not any(path.startswith(place) for path in files):
            yield f"/{place} has no firmware"
    for file in cell.family["licenses"]:
        if f"licenses/{Path(file).name}" not in files:
            yield f"/licenses/{Path(file).name} is missing"
    if not any(path in files for path in ("bin/sh", "usr/bin/sh")):
        yield "it has no /bin/sh, which KMM's worker runs"


def _gate_faults(foundry: Foundry, cell: Cell, files: Mapping[str, Entry], log: Path) -> Iterator[str]:
    from foundry.formats.modules.gate import check
    from foundry.formats.modules.symvers import parse

    require_here(foundry, cell)
    toolkit = foundry.containers.platforms.image_of(cell.toolkit, cell.arch)
    with foundry.containers.images.used(toolkit, cell.arch, log):
        exported = parse(kernel_exports(foundry, cell, toolkit, log))
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
