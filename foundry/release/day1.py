"""Stage day1: images under the names of their kernels alone, in a repository of each driver's.

KMM's BootModuleConfig ("Day 1") has nodes pull ``<repository>:$(uname -r)``: of a kernel whose name no tag can have
(``+rt``) there is nothing.
"""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, sha256_bytes
from foundry.base.names import tag_of
from foundry.base.reasons import Reason
from foundry.base.records import input_facts, read_record, write_record
from foundry.base.references import parse_reference
from foundry.ledger.ledgers import kept_ledger, ledger_file
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.registry.ecr.places import is_ecr
from foundry.registry.ecr.repositories import require_repository
from foundry.registry.targets import Target
from foundry.release.bundle import wishes_of
from foundry.release.unbuilt import withdrawn
from foundry.run.context import Foundry

STAGE = "day1"
RECORD = f"{STAGE}.json"


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that it depends on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver))]


def current(foundry: Foundry, driver: str) -> bool:
    """Whether all that the ledger has was tagged; no network request."""
    ledger = foundry.states.ledger(driver)
    record = read_record(ledger_file(foundry, driver).with_name(RECORD), STAGE)
    return ledger is not None and record is not None and record["key"] == _key(foundry, ledger)


def tag_kernels(foundry: Foundry, driver: str) -> None:
    """Have each image under its kernel's name, signed where images are.

    Raises what registries raise, and FoundryError ``tag-taken``.
    """
    from foundry.registry.mirror import mirror
    from foundry.registry.signatures import sign_image

    ledger, signer = kept_ledger(foundry, driver), foundry.publishing_signer()
    place = parse_reference(wishes_of(foundry, ledger).boot_repository)
    target = Target(place.host, place.repository, create_repository=True)
    if is_ecr(target.registry):
        require_repository(target)
    writer = foundry.registries.writer(target)
    for row in ledger.sorted_rows():
        if tag_of(row.kernel) != row.kernel:
            foundry.journal.warn(f"{row.kernel} can be no tag: {writer.name} has no image for it")
    for row in _rows(foundry, ledger):
        there = writer.tagged(row.kernel)
        if there is not None and there.digest not in (row.digest, row.replaces.digest if row.replaces else ""):
            raise FoundryError(f"{writer.name}:{row.kernel} is {there.digest}, which the ledger does not know",
                               reason=Reason.TAG_TAKEN, hint="whose is it? that repository is for this driver alone")
        source = parse_reference(f"{row.registries[0]}@{row.digest}")
        if there is None or there.digest != row.digest:
            mirror(foundry.registries.reader(source.host), source, writer, [row.kernel])
        if signer is not None:
            sign_image(writer, row.digest, row.kernel, signer)
    write_record(ledger_file(foundry, driver).with_name(RECORD), STAGE, {
        "driver": driver, "family": ledger.family, "key": _key(foundry, ledger),
        "inputs": input_facts(foundry.root, file_deps(foundry, driver)), "outputs": {},
    })


def _rows(foundry: Foundry, ledger: Ledger) -> list[Row]:
    refused = withdrawn(foundry, ledger)
    return [row for row in ledger.sorted_rows()
            if row.registries and row.digest not in refused and tag_of(row.kernel) == row.kernel]


def _key(foundry: Foundry, ledger: Ledger) -> str:
    rows = [[row.kernel, row.digest] for row in _rows(foundry, ledger)]
    return sha256_bytes(canonical_json([rows, wishes_of(foundry, ledger).boot_repository, foundry.config.image_key]))
