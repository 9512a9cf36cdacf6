"""One repository of one registry, for reading: what its tags name now."""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.net.transport import Attempt, with_retries
from foundry.registry.client import Fetched, Registry

NOT_THERE = (Reason.IMAGE_MISSING, Reason.REPOSITORY_MISSING)


class Repository:
    """A repository of which nothing more is asked than `actions` of the token specification (``pull``)."""

    def __init__(self, registry: Registry, repository: str, actions: str = "pull") -> None:
        self.registry = registry
        self.repository = repository
        self.scope = f"repository:{repository}:{actions}"

    @property
    def name(self) -> str:
        """``host/repository``."""
        return f"{self.registry.host}/{self.repository}"

    def tagged(self, tag: str) -> Fetched | None:
        """The manifest that a tag has now; None only when the registry says that there is none."""
        url = f"{self.registry.base}{self.repository}/manifests/{tag}"
        return with_retries(url, self.registry.policy, lambda attempt: self.look(attempt, tag), self.registry.note)

    def look(self, attempt: Attempt, tag: str) -> Fetched | None:
        """`tagged` in one attempt."""
        try:
            return self.registry.manifest_once(attempt, self.repository, tag, self.scope)
        except FoundryError as error:
            if error.reason in NOT_THERE:
                return None
            raise
