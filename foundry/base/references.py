"""Names of images: ``host[:port]/repository[:tag][@sha256:…]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

DOCKER_HUB = "docker.io"
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # hosts that are this machine: plain HTTP, no proxy
_HOST = re.compile(r"(?:[a-z0-9]+(?:[.-]+[a-z0-9]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
# Grammar of the distribution specification (github.com/opencontainers/distribution-spec, "Pulling manifests").
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
SHA256_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """An image's name in parts; `tag` and `digest` are empty when they are not given."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """``host/repository``."""
        return f"{self.host}/{self.repository}"

    def at(self, digest: str) -> Reference:
        """The image of the same repository with that digest."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """The parts of an image's name; short names are Docker Hub's, as container engines read them.

    Raises FoundryError ``reference-malformed``.
    """
    rest, at, digest = text.partition("@")
    head, slash, tail = rest.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        head, tail = DOCKER_HUB, rest
    repository, colon, tag = tail.partition(":")
    if head == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    fits = (
        _HOST.fullmatch(head) and _REPOSITORY.fullmatch(repository) and len(repository) <= _LONGEST
        and (not colon or _TAG.fullmatch(tag)) and (not at or SHA256_DIGEST.fullmatch(digest))
    )
    if not fits:
        raise FoundryError(
            f"{text[:200]!r} is no image name", reason=Reason.REFERENCE_MALFORMED,
            hint="a name is host/repository:tag or host/repository@sha256:<64 hex digits>",
        )
    return Reference(head, repository, tag, digest)
