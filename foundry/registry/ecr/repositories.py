"""Repositories of ECR and ECR Public, and what they hold.

Sources: the API references of Amazon ECR (2015-09-21) and ECR Public (2020-10-30).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from foundry.aws import session as aws
from foundry.aws.faults import asked
from foundry.base.errors import FoundryError, OutsideError
from foundry.base.reasons import Reason
from foundry.base.times import utc
from foundry.registry.ecr.places import PUBLIC, Place, place_of
from foundry.registry.targets import Target

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr_public import ECRPublicClient

    Client = ECRClient | ECRPublicClient

T = TypeVar("T")
Verdict = Literal["there", "created", "unknown"]


@dataclass(frozen=True)
class HeldImage:
    """A manifest that a repository holds; `size_bytes` is compressed, `pushed_at` like ``2025-01-02T03:04:05Z``."""

    digest: str
    tags: tuple[str, ...]
    size_bytes: int
    pushed_at: str


def ensure_repository(host: str, repository: str, *, create: bool) -> Verdict:
    """Make sure of a repository before something is pushed: ``there``, or ``created``.

    ``unknown`` when the credentials may not ask: a role that may only push is a fair one.

    Raises OutsideError ``repository-missing`` when it is not there and is not to be made,
    ``repository-foreign`` when a public alias is not one of the account's, ``aws-denied`` when
    it may not be made, else as `faults.asked`; FoundryError ``repository-name`` for a name that ECR can't have.
    """
    place = place_of(host, repository)
    client = aws.client(place.service, place.region)
    try:
        if _described(client, place) == place.uri or not place.public:
            return "there"
        return "there" if _aliases(client, place) else "unknown"
    except OutsideError as error:
        if error.reason == Reason.AWS_DENIED:
            return "unknown"
        if error.reason != Reason.REPOSITORY_MISSING:
            raise
    aliases = _aliases(client, place)
    if not create:
        raise _missing(place)
    made = _created(client, place)
    if made != place.uri and place.public and not aliases:
        raise _foreign(place, [made.removeprefix(f"{PUBLIC}/").partition("/")[0]])
    return "created"


def describe_images(host: str, repository: str) -> Iterator[HeldImage]:
    """What a repository holds, page after page, in the service's order; indexes and untagged manifests too.

    Raises as `ensure_repository` does, when the first is asked for; ``aws-denied``
    too, since an answer that could not be had is not an empty one.
    """
    place = place_of(host, repository)
    client = aws.client(place.service, place.region)
    _aliases(client, place)
    arguments: dict[str, Any] = {"repositoryName": place.name, **place.registry}
    pages: Iterator[Mapping[str, Any]] = iter(client.get_paginator("describe_images").paginate(**arguments))
    while (page := _asked(place, lambda: next(pages, None))) is not None:
        for image in page.get("imageDetails", []):
            yield _held(image)


def _asked(place: Place, work: Callable[[], T]) -> T:
    """As `faults.asked`; what is not there is ``repository-missing``."""
    try:
        return asked(place.service, work)
    except OutsideError as error:
        if error.reason != Reason.AWS_MISSING:
            raise
    raise _missing(place)


def _described(client: Client, place: Place) -> str:
    """The repository's URI."""
    arguments: dict[str, Any] = {"repositoryNames": [place.name], **place.registry}
    return _uri(_asked(place, lambda: client.describe_repositories(**arguments))["repositories"][:1])


def _created(client: Client, place: Place) -> str:
    """Make the repository; its URI, also when another process made it meanwhile."""
    arguments: dict[str, Any] = {"repositoryName": place.name, **place.registry}
    try:
        return _uri([_asked(place, lambda: client.create_repository(**arguments))["repository"]])
    except OutsideError as error:
        if error.reason == Reason.AWS_EXISTS:
            return _described(client, place)
        if error.reason == Reason.AWS_DENIED:
            error.hint = f"{error.hint}; or let somebody who may run `{_command(place)}`"
        raise


def _aliases(client: Client, place: Place) -> Sequence[str]:
    """The aliases of the account's public registry; none when the credentials may not ask, or it has none.

    Raises OutsideError ``repository-foreign`` when the repository's is not among them:
    the API would speak of the account's own repository of the same name.
    """
    if not place.public:
        return ()
    try:
        found = _asked(place, cast("ECRPublicClient", client).describe_registries)["registries"]
    except OutsideError as error:
        if error.reason == Reason.AWS_DENIED:
            return ()
        raise
    known = [alias["name"] for one in found for alias in one["aliases"] if alias["status"] == "ACTIVE"]
    if known and place.owner not in known:
        raise _foreign(place, known)
    return known


def _uri(repositories: Sequence[Mapping[str, Any]]) -> str:
    return str(repositories[0].get("repositoryUri", "")) if repositories else ""


def _held(image: Mapping[str, Any]) -> HeldImage:
    pushed = image.get("imagePushedAt")
    return HeldImage(
        digest=str(image["imageDigest"]), tags=tuple(image.get("imageTags", ())),
        size_bytes=int(image.get("imageSizeInBytes", 0)),
        pushed_at=utc(pushed) if isinstance(pushed, datetime) else "",
    )


def _command(place: Place) -> str:
    name = shlex.quote(place.name)
    return f"aws {place.service} create-repository --repository-name {name} --region {place.region}"


def _missing(place: Place) -> OutsideError:
    return OutsideError(f"there is no repository {place.uri}", reason=Reason.REPOSITORY_MISSING, hint=_command(place))


def _foreign(place: Place, known: Sequence[str]) -> OutsideError:
    return OutsideError(f"{PUBLIC}/{place.owner} is not a registry of this AWS account",
                        reason=Reason.REPOSITORY_FOREIGN,
                        hint=f"the account's is {PUBLIC}/{known[0]}; correct the repository, or AWS_PROFILE")


def require_repository(target: Target) -> None:
    """ECR makes no repository by itself. Without AWS credentials an auth file may still do: pushing tells."""
    try:
        ensure_repository(target.registry, target.repository, create=target.create_repository)
    except FoundryError as error:
        if error.reason != Reason.AWS_CREDENTIALS:
            raise
