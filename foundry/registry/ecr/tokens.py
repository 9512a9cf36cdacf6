"""Credentials for ECR and ECR Public, made from the user's AWS credentials.

Sources: GetAuthorizationToken in the API references of Amazon ECR (2015-09-21) and ECR Public
(2020-10-30). A token is good for every registry of its service in its region that
the AWS credentials may use, for 12 hours.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from foundry.aws import session as aws
from foundry.aws.faults import asked
from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.registry.credentials import Credential, Provider
from foundry.registry.ecr.places import PRIVATE, PUBLIC, PUBLIC_REGION

_MARGIN = 300.0  # seconds before its end at which a token is no longer used
_IN_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
_NOTHING_FOR = 300.0  # seconds for which it is remembered that there are no credentials


@dataclass(frozen=True)
class _Kept:
    credential: Credential | None
    until: float  # of time.time()


class _Tokens:
    """Credentials of a service by region, kept until shortly before they end; safe in several threads."""

    def __init__(self, service: Literal["ecr", "ecr-public"]) -> None:
        self._service = service
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def find(self, region: str, fallback: Callable[[OutsideError], None] | None = None) -> Credential | None:
        """The region's credential; None without AWS credentials, or after `fallback` took an error."""
        with self._lock:
            kept = self._kept.get(region)
            if kept is None or time.time() >= kept.until:
                try:
                    kept = self._made(region)
                except OutsideError as error:
                    if fallback is None:
                        raise
                    fallback(error)
                    kept = _Kept(None, time.time() + _NOTHING_FOR)
                self._kept[region] = kept
            return kept.credential

    def forget(self, region: str) -> None:
        with self._lock:
            self._kept.pop(region, None)

    def _made(self, region: str) -> _Kept:
        session = aws.new_session()
        if not aws.has_credentials(session):
            return _Kept(None, time.time() + _NOTHING_FOR)
        client = aws.client(self._service, region, session)
        answer: Mapping[str, Any] = asked(self._service, client.get_authorization_token)
        try:
            given = answer["authorizationData"]
            data = given[0] if isinstance(given, list) else given  # private ECR answers with a list of one
            user, colon, password = base64.b64decode(data["authorizationToken"], validate=True).decode().partition(":")
            until = data["expiresAt"].timestamp() - _MARGIN
        except (LookupError, TypeError, ValueError, AttributeError):
            user = colon = password = ""
        if not (user and colon and password):
            raise OutsideError(f"AWS gives no usable token ({self._service}:GetAuthorizationToken)",
                               reason=Reason.AWS_FAILED, hint="try again later", retry=True)
        return _Kept(Credential(user, password, "AWS (ECR token)"), until)


class EcrProvider:
    """Makes credentials for the private registries of ECR, in each one's own region.

    Without AWS credentials `find` has none, so that an auth file can still serve
    (`aws ecr get-login-password | podman login`). Credentials that are there and don't
    work are an OutsideError, as of `faults.asked`. For a FIPS registry the API is asked
    at its usual endpoint, unless ``AWS_USE_FIPS_ENDPOINT`` is set.
    """

    name = "AWS credentials (ECR token)"

    def __init__(self) -> None:
        self._tokens = _Tokens("ecr")

    def serves(self, host: str) -> bool:
        """Whether the host is a private registry of ECR."""
        return PRIVATE.fullmatch(host) is not None

    def find(self, host: str) -> Credential | None:
        """A token for the host's region."""
        match = PRIVATE.fullmatch(host)
        return self._tokens.find(match[3]) if match else None

    def forget(self, host: str) -> None:
        """The registry says that the token of its region has ended."""
        if match := PRIVATE.fullmatch(host):
            self._tokens.forget(match[3])


class EcrPublicProvider:
    """Makes credentials for ECR Public.

    Everybody may read there; a token only raises the limits. So a reader gets none when
    AWS gives none, whatever the cause, and `note` gets the cause: a permission
    that only pushing needs must not stop a build. With `required` (for pushing)
    the cause is an OutsideError, as of `faults.asked`. Without any AWS
    credentials `find` has none in both cases, so that an auth file can still serve.
    """

    name = "AWS credentials (ECR Public token)"

    def __init__(self, *, required: bool = False, note: Callable[[str], None] = lambda _: None) -> None:
        self._tokens = _Tokens("ecr-public")
        self._required = required
        self._note = note

    def serves(self, host: str) -> bool:
        """Whether the host is ECR Public."""
        return host == PUBLIC

    def find(self, host: str) -> Credential | None:
        """A token, made in us-east-1."""
        return self._tokens.find(PUBLIC_REGION, None if self._required else self._go_without)

    def forget(self, host: str) -> None:
        """The registry says that the token has ended."""
        self._tokens.forget(PUBLIC_REGION)

    def _go_without(self, error: OutsideError) -> None:
        self._note(f"{PUBLIC} is read without credentials: {error.message}")


def providers(*, push: bool, environ: Mapping[str, str] = os.environ) -> list[Provider]:
    """The places of AWS to look for credentials in.

    For reading ECR Public, which everybody may, AWS is asked only where the environment holds
    its credentials: looking for an instance's role would keep everybody else waiting.
    """
    found: list[Provider] = [EcrProvider()]
    if push or any(environ.get(name) for name in _IN_ENVIRONMENT):
        found.append(EcrPublicProvider(required=push))
    return found
