"""What the registries really hold, beside what the ledgers say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference
from foundry.ledger import ledgers
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Row
from foundry.registry.ecr.places import is_ecr
from foundry.registry.targets import targets_of
from foundry.run.context import Foundry

OK, NOT_THERE, UNKNOWN, OTHER = "ok", "not in registry", "not in ledger", "other digest"


@dataclass(frozen=True)
class Exported:
    """One tag of one registry. `size` is in bytes, compressed; `pushed` in UTC; `state` compares with the ledger.

    `flavour` is empty where no release of the matrix has the kernel any more; of a tag that no ledger knows all that a
    ledger says is empty.
    """

    driver: str
    family: str
    kernel: str
    arch: str
    flavour: str
    releases: str
    tag: str
    image: str
    digest: str
    size: int | None
    pushed: str
    state: str

    def to_json(self) -> dict[str, Any]:
        """The fields; releases as a list."""
        return {**asdict(self), "releases": self.releases.split()}


FIELDS = tuple(Exported.__dataclass_fields__)


@dataclass(frozen=True)
class Held:
    """A tag that a registry has; size and time where it tells them."""

    digest: str
    size: int | None = None
    pushed: str = ""


def exported(foundry: Foundry, drivers: Sequence[str]) -> list[Exported]:
    """All images of the profile's registries and ledgers, or of these drivers, by registry, driver and kernel.

    Raises UsageError for a driver without a ledger.
    """
    known = ledgers.ledgers_of(foundry, drivers)
    rows: list[Exported] = []
    flavours = {(cell.driver, cell.kernel, cell.arch): cell.flavour for cell in foundry.states.plan.cells}
    for repository in _repositories(foundry, known):
        rows += _compared(repository, _held(foundry, repository), known, flavours)
    return [row for row in rows if not drivers or row.driver in drivers]


def _repositories(foundry: Foundry, known: Mapping[str, Ledger]) -> list[Reference]:
    """The targets of all families, and what the ledgers name besides."""
    names = [target.name for family in foundry.config.families for target in foundry.registries.targets(family)]
    names += [name for ledger in known.values() for row in ledger.rows.values() for name in row.registries]
    return [parse_reference(name) for name in dict.fromkeys(names)]


def _held(foundry: Foundry, repository: Reference) -> Mapping[str, Held]:
    """By tag. ECR's API tells sizes and times besides; where it may not be asked, the list of tags does."""
    if is_ecr(repository.host):
        from foundry.registry.ecr.repositories import describe_images

        try:
            found = list(describe_images(repository.host, repository.repository))
            return {tag: Held(one.digest, one.size_bytes, one.pushed_at) for one in found for tag in one.tags
                    if ledgers.is_of_image(tag)}
        except FoundryError as error:
            if error.reason != Reason.AWS_DENIED:
                raise
    from foundry.registry.tags import list_tags

    registry = foundry.registries.reader(repository.host)
    tags = [tag for tag in list_tags(registry, repository.repository) if ledgers.is_of_image(tag)]
    return {tag: Held(registry.manifest(repository.repository, tag).digest) for tag in tags}


def _compared(
    repository: Reference, held: Mapping[str, Held], known: Mapping[str, Ledger],
    flavours: Mapping[tuple[str, str, str], str],
) -> list[Exported]:
    rows, left = [], dict(held)
    for driver, ledger in known.items():
        for row in ledger.sorted_rows():
            for tag in row.tags if repository.name in row.registries else ():
                there = left.pop(tag, None)
                flavour = flavours.get((driver, row.kernel, row.arch), "")
                rows.append(_row(repository, ledger, row, flavour, tag, there))
    for tag, there in sorted(left.items()):
        image = f"{repository.name}@{there.digest}"
        rows.append(Exported("", "", "", "", "", "", tag, image, there.digest, there.size, there.pushed, UNKNOWN))
    return rows


def _row(repository: Reference, ledger: Ledger, row: Row, flavour: str, tag: str, there: Held | None) -> Exported:
    state = NOT_THERE if there is None else OK if there.digest == row.digest else OTHER
    digest = there.digest if there is not None else row.digest
    same = state != OTHER
    return Exported(
        ledger.driver, ledger.family, row.kernel, row.arch, flavour, " ".join(row.releases), tag,
        f"{repository.name}@{digest}", digest,
        (there.size if there is not None else None) or ((row.size or None) if same else None),
        (there.pushed if there is not None else "") or (row.published if same else ""), state,
    )


def has_targets(foundry: Foundry) -> bool:
    """Whether any family is published anywhere in this profile."""
    return any(targets_of(foundry.settings.publish, family) for family in foundry.config.families)
