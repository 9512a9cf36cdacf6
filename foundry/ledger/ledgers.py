"""The drivers' ledgers: kept below ``build/<profile>``, and beside the images in their registries.

A cell's row is written as soon as its image is published; nothing is ever lost
from a ledger because something failed later. A checkout that has no ledger of a
driver asks once, the registry and, where there are such, the driver's GitHub
release, whose ledger is read if it is another; "there is none" is kept as an
empty ledger.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.attest.documents import bundle_of, is_signed, require_signed
from foundry.base.errors import ConfigError, FoundryError, UsageError
from foundry.base.filelock import locked
from foundry.base.files import pretty_json, read_file, read_json, sha256_bytes, write_atomic
from foundry.base.names import LEDGER_BUNDLE, tag_of
from foundry.base.plain_text import LONGEST_WORDS
from foundry.base.reasons import Reason
from foundry.base.versions import version_key
from foundry.config.patches import Patch, applying
from foundry.formats.images.simple_signing import is_attached
from foundry.github.repository import released_ledger
from foundry.ledger.adoption import adopt
from foundry.plan.cells import Cell
from foundry.plan.claims import is_source_tarball
from foundry.plan.keys import patches_hash
from foundry.plan.ledger import Ledger, NewerLedger, Place, ledger_path, parse_ledger, read_ledger
from foundry.plan.rows import Row, row_of
from foundry.registry.targets import Target
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.document import Document
    from foundry.registry.repository import Repository

MEDIA_TYPE = "application/vnd.kmod-foundry.ledger.v1+json"
TAG_PREFIX = "ledger-"
_MEANWHILE = (Reason.DOCUMENT_CHANGED, Reason.PUSH_MISMATCH)  # how it shows that somebody else writes
_SETTLE_SECONDS = 0.1
_ATTEMPTS = 6  # at writing a ledger that somebody else writes, too
STORED = "stored.json"  # target → hash of the ledger that it was last given


def ledger_tag(driver: str) -> str:
    """The tag of a driver's ledger; no image has it, as those begin with the driver's version."""
    return tag_of(f"{TAG_PREFIX}{driver}")


def is_of_image(tag: str) -> bool:
    """Whether a tag is an image's, not a ledger's or of what is attached to images."""
    return not tag.startswith(TAG_PREFIX) and not is_attached(tag)


def ledger_file(foundry: Foundry, driver: str) -> Path:
    """The driver's ledger of this checkout, absolute."""
    return foundry.root / ledger_path(foundry.config.build, driver)


def ledger_of(foundry: Foundry, driver: str) -> Ledger:
    """The driver's ledger as this checkout has it; an empty one where it has none. Raises ConfigError."""
    place = ledger_path(foundry.config.build, driver)
    found = read_ledger(foundry.root / place, str(place), foundry.config.validation)
    return found if found is not None else Ledger(driver, foundry.states.plan.families[driver].name)


def kept_ledger(foundry: Foundry, driver: str) -> Ledger:
    """As `ledger_of`; FoundryError ``ledger-missing`` where this checkout has none."""
    if not ledger_file(foundry, driver).exists():
        raise FoundryError(f"there is no ledger of {driver} yet", reason=Reason.LEDGER_MISSING,
                           hint=f"run `doit release:{driver}`")
    return ledger_of(foundry, driver)


def put_row(foundry: Foundry, cell: Cell, row: Row) -> None:
    """Put a published cell's row into the ledger, beside what others wrote meanwhile."""
    put_rows(foundry, cell.driver, [(cell, row)])


def put_rows(foundry: Foundry, driver: str, rows: Iterable[tuple[Cell, Row]]) -> None:
    """Put rows of cells of one driver into its ledger, all at once."""
    news = list(rows)

    def put(ledger: Ledger) -> Ledger:
        for cell, row in news:
            ledger = ledger.with_row(row, _series(cell))
        return ledger

    change(foundry, driver, put)
    for cell, row in news:
        foundry.states.note_row(cell, row)


def change(foundry: Foundry, driver: str, how: Callable[[Ledger], Ledger]) -> bytes:
    """Change the ledger of this checkout under its lock; its bytes. An unchanged one is not written."""
    path = ledger_file(foundry, driver)
    with locked(path.with_name(".ledger.lock")):
        data = how(ledger_of(foundry, driver)).to_bytes()
        if not path.exists() or read_file(path) != data:
            write_atomic(path, data)
    return data


def fetch_missing(foundry: Foundry, drivers: Iterable[str]) -> None:
    """Have a ledger of each driver here: asks for those that are not.

    Raises what GitHub and the registry raise: an answer that can't be had is never "nothing published".
    """
    for driver in drivers:
        path = ledger_file(foundry, driver)
        family = foundry.states.plan.families[driver].name
        targets = foundry.registries.targets(family)
        if path.exists() or not targets:
            continue
        content, ledger = _read_remote(foundry, driver, foundry.registries.repository(targets[0]))
        ledger = adopted(foundry, ledger, f"the ledger of {targets[0].name}")
        released = released_ledger(foundry, driver, unless=content.data if content is not None else None)
        if released is not None:
            ledger = _joined(foundry, ledger, released, known=content is not None)
        data = ledger.to_bytes()
        write_atomic(path, data)
        if content is not None and content.data == data:
            _mark(foundry, driver, targets[0], data)


def _joined(foundry: Foundry, ledger: Ledger, released: Document, *, known: bool) -> Ledger:
    """Both ledgers in one: either place may have missed what a run left in the other. The registry's goes first."""
    try:
        theirs = checked(foundry, released, f"the GitHub release of {ledger.driver}", ledger.driver)
    except NewerLedger:
        raise
    except FoundryError as error:
        if not known:
            raise
        foundry.journal.warn(f"{error.message}: the registry's ledger is used")
        return ledger
    if differ := ledger.contradicted(theirs):
        (kernel, arch), said = min(differ.items())
        foundry.journal.warn(
            f"the GitHub release of {ledger.driver} has {len(differ)} other images than the registry's ledger, which"
            f" is used, such as {kernel} {arch}: {said}; `doit verify --tags` names them all"
        )
    news = {place: row for place, row in theirs.rows.items() if place not in ledger.rows}
    return ledger.over(adopted(foundry, replace(theirs, rows=news), f"the GitHub release of {ledger.driver}"))


def contradictions(foundry: Foundry, ledger: Ledger) -> dict[Place, str]:
    """What the driver's GitHub release says otherwise, by cell; nothing where the profile makes no releases.

    The release is written after the registry's ledger, by other rights: who may push images can't change it. Of a
    driver that the matrix no longer wants there is nothing to say.
    """
    if ledger.driver not in foundry.states.plan.families:
        return {}
    released = released_ledger(foundry, ledger.driver, unless=ledger.to_bytes())
    if released is None:
        return {}
    return ledger.contradicted(checked(foundry, released, f"the GitHub release of {ledger.driver}", ledger.driver))


def adopted(foundry: Foundry, ledger: Ledger, where: str, proven: Mapping[Place, Row] | None = None) -> Ledger:
    """The ledger that `where` has, with the rows that are true; that others are left out is said.

    `proven` and what is raised are those of `foundry.ledger.adoption.adopt`.
    """
    rows, refused = adopt(foundry, ledger.driver, ledger.family, ledger.rows, proven)
    if refused:
        (kernel, arch), fault = min(refused.items())
        foundry.journal.warn(
            f"{where}: {len(refused)} of {len(ledger.rows)} rows of {ledger.driver} are not believed, such as"
            f" {kernel} {arch}: {fault}"
        )
    series = {name: patches for name, patches in ledger.series.items() if _is_series(name, patches)}
    if series.keys() != ledger.series.keys():
        foundry.journal.warn(f"{where}: patches of {ledger.driver} that are not those of their hash are left out")
    sources = {name: entry for name, entry in ledger.sources.items()
               if is_source_tarball(name, entry["kind"], ledger.driver)}
    if others := sorted(ledger.sources.keys() - sources.keys()):
        foundry.journal.warn(f"{where}: {', '.join(others)[:LONGEST_WORDS]} are no source tarballs of {ledger.driver}"
                             " and are left out")
    return replace(ledger, rows=rows, series=series, sources=sources)


def _is_series(name: str, patches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are the patches that keys have this hash for: they go into the source tarballs."""
    return patches_hash(tuple(Patch.from_config(patch) for patch in patches)) == name


def store(foundry: Foundry, driver: str) -> None:
    """Merge what the targets have, make it a revision, and give it to each target that lacks it.

    In a profile that publishes nowhere the rows are those of the cells that are built, and name no
    registry. Where somebody else writes at the same time, both ledgers are merged again. Raises what
    pushing raises.
    """
    family = foundry.states.plan.families[driver].name
    targets = foundry.registries.targets(family)
    if not targets:
        change(foundry, driver, lambda ledger: _with_built(foundry, ledger).with_revision())
        return
    for attempt in range(_ATTEMPTS):
        try:
            _store_once(foundry, driver, targets)
            return
        except FoundryError as error:
            if error.reason not in _MEANWHILE or attempt == _ATTEMPTS - 1:
                raise
            foundry.ending.wait(random.uniform(0.1, 0.5) * 2**attempt)  # noqa: S311 - keeps two writers apart


def _store_once(foundry: Foundry, driver: str, targets: Sequence[Target]) -> None:
    from foundry.registry.document import Document, put_document

    foundry.publishing_signer()  # before anything is merged that could then not be signed
    theirs = {target: _read_remote(foundry, driver, foundry.registries.writer(target)) for target in targets}
    mine = ledger_of(foundry, driver).rows
    others = [adopted(foundry, ledger, f"the ledger of {target.name}", mine) for target, (_, ledger) in theirs.items()]

    def merge(ledger: Ledger) -> Ledger:
        for other in others:
            ledger = ledger.merged(other)
        return ledger.with_revision()

    data, started = change(foundry, driver, merge), time.monotonic()
    bundle = bundle_of(foundry, data, ledger_file(foundry, driver).with_name(LEDGER_BUNDLE))
    document = Document(data, bundle)
    written = [target for target, (there, _) in theirs.items()
               if there is None or there.data != data or not is_signed(foundry, there)]
    for target in written:
        there = theirs[target][0]
        put_document(foundry.registries.writer(target), ledger_tag(driver), document, MEDIA_TYPE,
                     over=there.data if there is not None else None)
    if written:  # somebody in step with us has looked before our write, and writes about now
        foundry.ending.wait(max(_SETTLE_SECONDS, time.monotonic() - started))
    for target in written:
        there = _read_remote(foundry, driver, foundry.registries.writer(target))[0]
        if there is None or there.data != data:
            raise FoundryError(f"{target.name}:{ledger_tag(driver)} was changed meanwhile",
                               reason=Reason.DOCUMENT_CHANGED, retry=True,
                               hint="somebody else publishes here: run again")
    for target in targets:
        _mark(foundry, driver, target, data)


def stored(foundry: Foundry, driver: str) -> bool:
    """Whether the ledger is a revision that every target has; finding out makes no network request."""
    ledger = foundry.states.ledger(driver)
    if not foundry.settings.publish:
        return ledger is not None and ledger.revised and _with_built(foundry, ledger) == ledger
    if ledger is None or not ledger.rows:
        return True
    marks = list(_marks(foundry, driver).values())
    data = read_file(ledger_file(foundry, driver))
    return ledger.revised and marks.count(sha256_bytes(data)) >= len(foundry.settings.publish)


def all_ledgers(foundry: Foundry) -> dict[str, Ledger]:
    """The ledgers by driver: those of the matrix, asked for where they are not here, and others of this folder.

    Raises what `fetch_missing` raises.
    """
    fetch_missing(foundry, foundry.states.plan.by_driver)
    return {driver: ledger_of(foundry, driver) for driver in ledgers_here(foundry)}


def ledgers_here(foundry: Foundry) -> list[str]:
    """The drivers that have a ledger in this checkout."""
    folder = foundry.root / foundry.config.build / "release"
    return sorted({path.parent.name for path in folder.glob("*/images.json")}, key=version_key)


def ledgers_of(foundry: Foundry, drivers: Sequence[str]) -> dict[str, Ledger]:
    """The ledgers of these drivers, or all where none is named. Raises UsageError for one that has none."""
    known = all_ledgers(foundry)
    for driver in drivers:
        if driver not in known:
            raise UsageError(f"there is no ledger of {driver}; there are {', '.join(known) or 'none'}")
    return {driver: ledger for driver, ledger in known.items() if not drivers or driver in drivers}


def _with_built(foundry: Foundry, ledger: Ledger) -> Ledger:
    """The ledger with the cells that are built here, in a profile that publishes nowhere; else the ledger itself."""
    if foundry.settings.publish:
        return ledger
    for cell in foundry.states.plan.by_driver[ledger.driver]:
        row = _built_row(foundry, cell)
        if row is not None:
            ledger = ledger.with_row(row, _series(cell))
    return ledger


def _series(cell: Cell) -> list[Mapping[str, Any]]:
    return [patch.as_data() for patch in applying(cell.family.patches, cell.driver, cell.kernel)]


def _built_row(foundry: Foundry, cell: Cell) -> Row | None:
    state = foundry.states.of(cell)
    if state.key is None or not (state.module_done and state.image_done) or state.image is None:
        return None
    image = state.image
    return row_of(
        state.cell, state.key, content_sha256=foundry.content_sha256(cell), digest=image.digest, tags=[cell.tag],
        registries=(), config_digest=image.config_digest, size=image.size, depends=image.depends,
    )


def _read_remote(foundry: Foundry, driver: str, place: Repository) -> tuple[Document | None, Ledger]:
    """A ledger as a registry has it, None where there is none, and what it says."""
    from foundry.registry.document import get_document

    family = foundry.states.plan.families[driver].name
    document = get_document(place, ledger_tag(driver), MEDIA_TYPE)
    if document is None:
        return None, Ledger(driver, family)
    return document, checked(foundry, document, f"{place.name}:{ledger_tag(driver)}", driver)


def checked(foundry: Foundry, document: Document, where: str, driver: str) -> Ledger:
    """The ledger in a document that `where` has.

    Raises ConfigError, and FoundryError where it is of another driver or family, since it decides where its images are
    looked for and the name of the release; or where it is not signed by one of the profile's public keys, and is none
    that this checkout has written there itself.
    """
    if sha256_bytes(document.data) not in _marks(foundry, driver).values():
        require_signed(foundry, document, where)
    content = document.data
    try:
        found = parse_ledger(content, where, foundry.config.validation)
    except ConfigError as error:
        error.hint = error.hint or "is it damaged? remove it there: images that are published are adopted by their keys"
        raise
    family = foundry.states.plan.families[driver].name
    if (found.family, found.driver) != (family, driver):
        raise FoundryError(f"{where} is the ledger of {found.family} {found.driver}, not of {family} {driver}",
                           reason=Reason.DOCUMENT_MALFORMED,
                           hint="does something else use this place?")
    return found


def _mark(foundry: Foundry, driver: str, target: Target, data: bytes) -> None:
    """Remember that a target has these bytes."""
    marks = {**_marks(foundry, driver), target.name: sha256_bytes(data)}
    write_atomic(ledger_file(foundry, driver).with_name(STORED), pretty_json(marks))


def _marks(foundry: Foundry, driver: str) -> Mapping[str, Any]:
    found = read_json(ledger_file(foundry, driver).with_name(STORED))
    return found if isinstance(found, dict) else {}
