"""Where images are published and toolkits mirrored (`publish`, `mirror`), as far as it is known without asking anybody.

A target's registry and repository may hold fields in braces that only the
environment, an AWS profile or AWS itself can fill. Until they are filled a name
in a ledger is compared with what is known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from foundry.config.settings import ImagePlace

AWS_FIELDS = ("aws_account", "aws_region")
DEFAULT_ECR_REPOSITORY = "{family}-operator/kmod"
DEFAULT_DTK_ECR_REPOSITORY = "neuron-operator/driver-toolkit"
_FIELD = re.compile(r"\{[a-z_]+\}")


@dataclass(frozen=True)
class Target:
    """One entry of the setting, for one family. `name` is ``registry/repository``, perhaps with open fields."""

    registry: str
    repository: str
    create_repository: bool

    @property
    def name(self) -> str:
        """``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def open_fields(self) -> tuple[str, ...]:
        """The AWS fields that are not known yet."""
        return tuple(field for field in AWS_FIELDS if f"{{{field}}}" in self.name)

    def is_in(self, names: Iterable[str]) -> bool:
        """Whether one of the names is this target, as far as it is known."""
        pattern = "".join(
            "[^./]+" if _FIELD.fullmatch(part) else re.escape(part) for part in re.split(r"(\{[a-z_]+\})", self.name)
        )
        return any(re.fullmatch(pattern, name) for name in names)

    def filled(self, facts: Mapping[str, str]) -> Target:
        """The target with AWS's facts in it."""
        return Target(_fill(self.registry, facts), _fill(self.repository, facts), self.create_repository)


def targets_of(
    publish: Iterable[ImagePlace], family: str, environ: Mapping[str, str] = os.environ
) -> tuple[Target, ...]:
    """The profile's targets for a family, filled with what the environment says."""
    known = _known(environ)
    known["ecr_repository"] = _fill(known["ecr_repository"], {"family": family})
    return tuple(_target(place).filled({**known, "family": family}) for place in publish)


def toolkits_at(place: ImagePlace, environ: Mapping[str, str] = os.environ) -> Target | None:
    """Where toolkits are mirrored, or published, filled likewise; None where the profile names no place."""
    return _target(place).filled(_known(environ)) if place.registry and place.repository else None


def _target(place: ImagePlace) -> Target:
    return Target(place.registry, place.repository, place.create_repository)


def _known(environ: Mapping[str, str]) -> dict[str, str]:
    facts = {
        "ecr_repository": environ.get("KMOD_ECR_REPOSITORY_NAME") or DEFAULT_ECR_REPOSITORY,
        "dtk_ecr_repository": environ.get("DTK_ECR_REPOSITORY_NAME") or DEFAULT_DTK_ECR_REPOSITORY,
        "aws_account": environ.get("AWS_ACCOUNT_ID", ""),
        "aws_region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
    }
    return {name: value for name, value in facts.items() if value}


def _fill(text: str, facts: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: facts.get(match.group()[1:-1], match.group()), text)
