"""Stage notes: a driver's notes as files, from its ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.attest.documents import bundle_of
from foundry.base.files import canonical_json, sha256_bytes, write_atomic
from foundry.base.names import (
    BUNDLE_FILE,
    CHECKSUMS_FILE,
    LEDGER_BUNDLE,
    LEDGER_FILE,
    SIGNING_FILE,
    TABLES_FILE,
    VERIFY_FILE,
)
from foundry.base.records import input_facts, output_facts, outputs_changed, read_record, write_record
from foundry.base.versions import version_key
from foundry.config.family import Family
from foundry.config.locks import Base, MainPackage
from foundry.ledger.ledgers import kept_ledger
from foundry.packages.signing import pinned_fingerprint
from foundry.plan.ledger import Ledger, ledger_path
from foundry.plan.rows import Row
from foundry.registry.targets import targets_of
from foundry.release import attested, bundle, source_tarballs
from foundry.release.unbuilt import unbuilt_of
from foundry.run.context import Foundry
from foundry.signing.certificate import der_in

if TYPE_CHECKING:
    from foundry.release.notes_text import Facts, Served

NOTES_FILE = "notes.md"
# Files that only some releases have.
OPTIONAL = frozenset({TABLES_FILE, SIGNING_FILE, LEDGER_BUNDLE, VERIFY_FILE, BUNDLE_FILE})
RECORD = "notes.json"
_UNLOCKED = MainPackage("unknown", "unknown", "", "unknown", 0, "unknown")
_ROOM = 120_000  # characters: what GitHub takes, less some for what people write around it


def file_deps(foundry: Foundry, driver: str) -> list[str]:
    """The files that the notes depend on, relative to the root."""
    return [str(ledger_path(foundry.config.build, driver)),
            *([attested.FOLDER.record_path(foundry, driver)] if foundry.settings.image_signing.public_keys else []),
            *([bundle.FOLDER.record_path(foundry, driver)] if foundry.settings.publish else [])]


def targets(foundry: Foundry, driver: str) -> list[str]:
    """The files that are always written, relative to the root."""
    folder = ledger_path(foundry.config.build, driver).parent
    return [str(folder / name) for name in (NOTES_FILE, CHECKSUMS_FILE, RECORD)]


def current(foundry: Foundry, driver: str) -> bool:
    """Whether the notes that are here are whole and say the same facts; the ledger is compared by its content."""
    folder = _folder(foundry, driver)
    record = read_record(folder / RECORD, "notes")
    ledger = foundry.states.ledger(driver)
    if record is None or ledger is None or outputs_changed(record, folder):
        return False
    return record.get("key") == _key(facts_of(foundry, ledger))


def notes(foundry: Foundry, driver: str) -> None:
    """Write ``notes.md``, ``images.md`` where the tables are too long for a release's text, and ``SHA256SUMS``.

    Where images are signed, the certificate lies beside them. Raises FoundryError ``ledger-missing``,
    ``notes-too-long``, ``certificate-unreadable``, ConfigError where the ledger can't be read.
    """
    from foundry.release.notes_text import make_notes

    folder = _folder(foundry, driver)
    ledger = kept_ledger(foundry, driver)
    facts = facts_of(foundry, ledger)
    made = make_notes(ledger, facts, _ROOM)
    files = released_files(foundry, ledger, made.tables)
    for name in OPTIONAL - files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, content in {NOTES_FILE: made.text.encode(), **files}.items():
        if name != LEDGER_FILE:
            write_atomic(folder / name, content)
    write_record(folder / RECORD, "notes", {
        "driver": driver, "family": ledger.family, "key": _key(facts),
        "inputs": input_facts(foundry.root, file_deps(foundry, driver)),
        "outputs": output_facts(folder, [NOTES_FILE, *sorted(files.keys() - {LEDGER_FILE})]),
    })


def released_files(foundry: Foundry, ledger: Ledger, tables: str) -> dict[str, bytes]:
    """A release's files by name, but the source tarballs: ledger with its signature, certificate, tables, checksums.

    Raises as `certificate_of` and `bundle_of`.
    """
    files = {LEDGER_FILE: ledger.to_bytes(), **({TABLES_FILE: tables.encode()} if tables else {})}
    signature = bundle_of(foundry, files[LEDGER_FILE], _folder(foundry, ledger.driver) / LEDGER_BUNDLE)
    if signature:
        files[LEDGER_BUNDLE] = signature
    package = foundry.config.locks.of(ledger.family).packages.get(ledger.driver, _UNLOCKED)
    for name, folder in {VERIFY_FILE: attested.FOLDER, BUNDLE_FILE: bundle.FOLDER}.items():
        if packed := folder.tarball(foundry, ledger.driver, package.build_time):
            files[name] = packed
    if certificate_of(foundry, ledger):
        files[SIGNING_FILE] = der_in(foundry.root / foundry.settings.signing.certificate)
    return {**files, CHECKSUMS_FILE: checksums(ledger, files)}


def renew_folders(foundry: Foundry, driver: str) -> None:
    """Make what lies beside the ledger anew, where that has changed since; raises what the stages do."""
    if foundry.settings.image_signing.public_keys:
        attested.attest(foundry, driver)
    if foundry.settings.publish:
        bundle.bundle(foundry, driver)


def checksums(ledger: Ledger, files: Mapping[str, bytes]) -> bytes:
    """``SHA256SUMS`` of every source tarball that the ledger knows, and of these files."""
    sums = {name: str(entry["sha256"]) for name, entry in ledger.sources.items()}
    sums |= {name: sha256_bytes(data) for name, data in files.items()}
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def certificate_of(foundry: Foundry, ledger: Ledger) -> str:
    """The SHA-256 of the profile's certificate, if it is that of an image's modules; else empty.

    FoundryError (``certificate-unreadable``) where nobody can tell.
    """
    signed, here = {_certificate(row) for row in ledger.rows.values()} - {None}, foundry.config.certificate
    if signed and foundry.settings.signing.key and not here:
        foundry.certificate()  # says why it can't be read: a release must not lack it silently
    return here if here in signed else ""


def _certificate(row: Row) -> str | None:
    return row.signature["certificate"] if row.signature is not None else None


def facts_of(foundry: Foundry, ledger: Ledger) -> Facts:
    """What the notes say besides the ledger."""
    from foundry.release.notes_text import Facts

    family = foundry.config.families[ledger.family]
    lock = foundry.config.locks.of(family.name)
    package = lock.packages.get(ledger.driver, _UNLOCKED)
    base = lock.base or Base("unknown", "", "")
    recipe = foundry.config.recipe(family, ledger.driver)
    busybox = base.busybox.version if base.busybox is not None else "unknown"
    unbuilt = list(unbuilt_of(foundry, ledger))
    return Facts(
        title=family["title"], modules=tuple(module.name for module in recipe.modules),
        registries=_registries(foundry, family, ledger), package=package.href,
        package_url=package.url, package_license=family.license_of(package.license),
        content_sha256=package.content_sha256, fingerprint=_fingerprint(foundry, family),
        base=f"{base.name}@{base.digest}",
        busybox=busybox if "busybox" in family["base"] else "",
        sources=tuple(sorted(source_tarballs.tarballs(foundry, ledger.driver, ledger))),
        unbuilt=tuple(one for one, stage in unbuilt if stage != "boot"),
        unproven=tuple(one for one, stage in unbuilt if stage == "boot"),
        certificate=certificate_of(foundry, ledger), manifest=bundle.example(foundry, ledger),
        further=tuple((one.href, one.content_sha256) for _, one in sorted(package.further.items())),
        left_out=package.node,
        remarks=package.dkms.remarks if package.dkms is not None else (), served=tuple(_served(foundry, ledger)),
    )


def _registries(foundry: Foundry, family: Family, ledger: Ledger) -> tuple[str, ...]:
    """The profile's targets in their order, by the names that the rows have for them."""
    names = sorted({name for row in ledger.rows.values() for name in row.registries})
    wanted = targets_of(foundry.settings.publish, family.name)
    return tuple(dict.fromkeys(name for target in wanted for name in names if target.is_in([name])))


def _served(foundry: Foundry, ledger: Ledger) -> Iterable[Served]:
    """Of each image: the releases that the matrix wants now, and those besides that the catalogue or its row has."""
    from foundry.release.notes_text import Served

    wanted = {(cell.kernel, cell.arch): cell.releases for cell in foundry.states.plan.by_driver.get(ledger.driver, ())}
    catalogue: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in foundry.config.catalogue:
        for kernel in entry.kernels.values() if not entry.mismatch else ():
            catalogue[kernel, entry.arch].add(entry.version)
    for place, row in sorted(ledger.rows.items()):
        mine = wanted.get(place, ())
        also = ({*row.releases} | catalogue[place]) - {*mine}
        yield Served(*place, mine, tuple(sorted(also, key=version_key)))


def _fingerprint(foundry: Foundry, family: Family) -> str:
    signing = family.data.get("signing")
    return pinned_fingerprint(foundry.root, signing, family.file) if signing is not None else ""


def _folder(foundry: Foundry, driver: str) -> Path:
    return foundry.root / ledger_path(foundry.config.build, driver).parent


def _key(facts: Facts) -> str:
    return sha256_bytes(canonical_json(asdict(facts)))
