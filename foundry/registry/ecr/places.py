"""Names of ECR's registries and repositories.

ECR Public's API is in us-east-1 alone (AWS General Reference, "Amazon ECR Public endpoints").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

PUBLIC = "public.ecr.aws"
PUBLIC_REGION = "us-east-1"
PRIVATE = re.compile(r"(\d{12})\.dkr\.ecr(-fips)?\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", re.ASCII)
_NAME = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")  # a little wider than the API's own
_LENGTHS = (2, 256)  # characters of a name


@dataclass(frozen=True)
class Place:
    """A repository as the API knows it: `owner` is an account, or an alias of a public registry."""

    host: str
    owner: str
    name: str
    region: str

    @property
    def public(self) -> bool:
        """Whether it is in ECR Public."""
        return self.host == PUBLIC

    @property
    def uri(self) -> str:
        """As the API's `repositoryUri`: host and path, no scheme, no tag."""
        return f"{PUBLIC}/{self.owner}/{self.name}" if self.public else f"{self.host}/{self.name}"

    @property
    def service(self) -> Literal["ecr", "ecr-public"]:
        """The API's name, and that of its IAM actions."""
        return "ecr-public" if self.public else "ecr"

    @property
    def registry(self) -> dict[str, str]:
        """Which registry is meant; ECR Public knows only the caller's own."""
        return {} if self.public else {"registryId": self.owner}


def place_of(host: str, repository: str) -> Place:
    """Take a repository's name apart; `host` is one of ECR's (ValueError else).

    Raises FoundryError ``repository-name`` for a name that ECR can't have, or one of ECR Public without alias.
    """
    match = PRIVATE.fullmatch(host)
    if match is None and host != PUBLIC:
        raise ValueError(f"{host} is no registry of ECR")
    owner, _, name = (match[1], "/", repository) if match else repository.partition("/")
    if not (owner and _LENGTHS[0] <= len(name) <= _LENGTHS[1] and _NAME.fullmatch(name)):
        form = f"{host}/NAME" if match else f"{PUBLIC}/ALIAS/NAME, where ALIAS is that of the account's registry"
        raise FoundryError(f"{host}/{repository} is no name of a repository in ECR", reason=Reason.REPOSITORY_NAME,
                           hint=f"it is {form}; in lower-case letters, digits and . _ - /")
    return Place(host, owner, name, match[3] if match else PUBLIC_REGION)


def is_ecr(host: str) -> bool:
    """Whether the registry is one of ECR's, private or public."""
    return host == PUBLIC or PRIVATE.fullmatch(host) is not None
