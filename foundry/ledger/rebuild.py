"""Building a published image anew, in an empty folder, from what its provenance names; and comparing the two.

Nothing that was built before is used: anyone with this repository at the same commit, the inputs and podman can do it.
The private key that signed the modules is not needed: the signatures are taken from the published image, after its
modules turned out to be the same without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foundry.attest import provenance
from foundry.attest.statements import KINDS
from foundry.base.errors import FoundryError
from foundry.base.files import read_file, remove_tree, sha256_bytes
from foundry.base.reasons import Reason
from foundry.base.records import read_record
from foundry.cell import image, module, sign
from foundry.cell.published import files_of
from foundry.driver import fetch, source
from foundry.formats.attestations.bundle import parse_statement
from foundry.ledger.ledgers import fetch_missing, ledger_of
from foundry.plan.cells import Cell
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.keys import CellKey, cell_key
from foundry.plan.rows import Row
from foundry.plan.state import States
from foundry.plan.why import Why
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.push import Content

FOLDER = "rebuild"
_MAX_IMAGE = 2 << 30  # bytes


def rebuild(foundry: Foundry, cell: Cell) -> None:
    """Build the published image of a cell anew; says that it is the same, byte for byte.

    Raises FoundryError: ``not-published``, ``attestation-missing``, ``other-inputs`` where this checkout would make
    another image, ``not-reproduced`` with what differs (then what was built stays for a look), and what the stages
    raise.
    """
    row = _row(foundry, cell)
    cell = Cell(cell.driver, cell.family, row.kernel, row.arch, row.releases, row.toolkit)
    content, said = _published(foundry, cell, row)
    anew = replace(foundry, config=(config := replace(foundry.config, within=f"{FOLDER}/{cell.name}")),
                   states=States(config, not_here=foundry.states.not_here, no_boot=foundry.states.no_boot))
    folder = foundry.root / config.build
    key = _key(anew, cell, row, said)
    remove_tree(folder)
    anew.cell_folder(cell).mkdir(parents=True)
    fetch.fetch(anew, cell.driver, cell.family)
    source.source(anew, cell.driver, cell.family)
    module.module(anew, cell, key)
    if key.certificate:
        _take_signatures(anew, cell, key, content)
    image.image(anew, cell, key)
    differs = list(_differences(anew, cell, key, row, content, said))
    if differs:
        raise FoundryError(f"{cell.name} was built anew, and {'; '.join(differs)}", reason=Reason.NOT_REPRODUCED,
                           hint=f"what was built is in {config.build}; the published image is {row.digest}")
    remove_tree(folder)
    print(f"{cell.name} was built anew: {row.digest}, as published, byte for byte")


def _row(foundry: Foundry, cell: Cell) -> Row:
    fetch_missing(foundry, [cell.driver])
    row = ledger_of(foundry, cell.driver).rows.get((cell.kernel, cell.arch))
    if row is None or not row.registries:
        raise FoundryError(f"{cell.name} is not published", reason=Reason.NOT_PUBLISHED,
                           hint=f"`doit status {cell.driver}` says what is")
    return row


def _published(foundry: Foundry, cell: Cell, row: Row) -> tuple[Content, Mapping[str, Any]]:
    """The published image, and what its provenance says of how it was built."""
    from foundry.registry.push import fetch_content
    from foundry.registry.referrers import attached

    [target, *_] = [one for one in foundry.registries.targets(cell.family.name) if one.is_in(row.registries)]
    place = foundry.registries.repository(target)
    for signed in attached(place, row.digest, foundry.public_keys()).get(KINDS["provenance"], ()):
        found = parse_statement(signed.payload)
        if found is not None and sha256_bytes(signed.payload) == row.attestations.get("provenance"):
            return fetch_content(place.registry, place.repository, row.digest, _MAX_IMAGE), found.predicate
    raise FoundryError(f"{place.name}@{row.digest} has no provenance by a key of `image_signing.public_keys`",
                       reason=Reason.ATTESTATION_MISSING,
                       hint="only images that are attested can be built anew: docs/attest.md")


def _key(anew: Foundry, cell: Cell, row: Row, said: Mapping[str, Any]) -> CellKey:
    """The cell's key as this checkout has it, which is that of the published image."""
    key = cell_key(cell, anew.config, anew.states.hashes)
    if isinstance(key, Why):
        raise FoundryError(f"{cell.name} can't be built here: {key.text}", reason=key.code,
                           hint=f"run `doit fetch:{cell.driver}`")
    if key.key != row.key:
        at = next((one["digest"].get("gitCommit", "") for one in said["buildDefinition"]["resolvedDependencies"]
                   if one.get("name") == "kmod-foundry"), "")
        changed = part_words(changed_parts(row.key_inputs, key.parts))
        raise FoundryError(
            f"this checkout would make another image of {cell.name}: {changed} changed since",
            reason=Reason.OTHER_INPUTS,
            hint=f"check out the commit that it was built from, {at}" if at else "nobody knows from which commit it is")
    return key


def _take_signatures(anew: Foundry, cell: Cell, key: CellKey, content: Content) -> None:
    """Sign the modules that were built with the signatures of the published ones, which are else the same."""
    from foundry.formats.modules.signature import bare

    files, signed = files_of(content), {}
    for one in module.recipe_for(anew, cell).modules:
        entry = files.get(f"opt/lib/modules/{cell.kernel}/{one.installed}")
        theirs = entry.content if entry is not None else b""
        if bare(theirs) != read_file(anew.cell_folder(cell) / one.base):
            raise FoundryError(f"{cell.name} was built anew, and its module {one.base} is another one",
                               reason=Reason.NOT_REPRODUCED,
                               hint=f"compare {anew.config.build} with the published image {content.digest}")
        signed[one.base] = theirs
    sign.keep(anew, cell, key, signed, anew.certificate())


def _differences(
    anew: Foundry, cell: Cell, key: CellKey, row: Row, content: Content, said: Mapping[str, Any]
) -> Iterator[str]:
    """What is not as published: the image, or what provenance says of it."""
    folder, base = anew.cell_folder(cell), anew.config.locks.of(cell.family.name).base
    records = [read_record(folder / name, stage) for name, stage in (
        (module.RECORD, "module"), (image.RECORD, "image"), (sign.RECORD, "sign"))]
    of_module, of_image, of_sign = records
    assert of_module is not None and of_image is not None and base is not None  # noqa: S101 - made just now
    made = provenance.predicate(cell, key, of_module, of_image, of_sign, base, anew.settings.source_url)
    for name, theirs in _inputs(said).items():
        if (ours := _inputs(made).get(name)) != theirs and name != "kmod-foundry":
            yield f"its {name} is {ours}, not {theirs}"
    if of_image["digest"] == row.digest:
        return
    if of_image["config_digest"] != row.config_digest:
        yield f"its configuration is {of_image['config_digest']}, not {row.config_digest}"
    else:
        tools = {**said["runDetails"]["builder"].get("version", {})}
        ours = made["runDetails"]["builder"]["version"]
        others = [f"{name} {ours.get(name)}, not {tools[name]}" for name in tools if ours.get(name) != tools[name]]
        yield (f"its manifest is {of_image['digest']}, not {row.digest}, with the same configuration and contents"
               + (f": {', '.join(others)}" if others else ""))


def _inputs(said: Mapping[str, Any]) -> dict[str, Any]:
    return {str(one.get("name")): one.get("digest") for one in said["buildDefinition"]["resolvedDependencies"]}
