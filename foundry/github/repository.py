"""The GitHub repository that a profile's releases are in: its name, the token, and the ledgers that it has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from foundry.base.files import append_to, sha256_bytes
from foundry.base.names import LEDGER_BUNDLE, LEDGER_FILE
from foundry.plan.ledger import ledger_path
from foundry.plan.releases import release_repository, release_tag
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.github.client import GitHub
    from foundry.registry.document import Document

LOG = "github.log"
_MAX_LEDGER = 64 << 20  # bytes
_MAX_BUNDLE = 1 << 20
_TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")


def repository(foundry: Foundry) -> str:
    """``owner/name`` of the repository that has the profile's releases; empty: it makes none."""
    return release_repository(foundry.settings)


def require_token(what: str = "GitHub releases") -> None:
    """OutsideError ``github-credentials`` where no token is set: said before anything is built."""
    from foundry.github.client import missing_token

    if not _token():
        raise missing_token(what)


def released_ledger(foundry: Foundry, driver: str, *, unless: bytes | None = None) -> Document | None:
    """The ledger that the driver's release has, with its signature; None where there is none, or it is `unless`."""
    if not repository(foundry):
        return None
    from foundry.github.releases import read_asset
    from foundry.registry.document import Document

    tag = release_tag(foundry.states.plan.families[driver].name, driver)
    known = sha256_bytes(unless) if unless is not None else ""
    data = read_asset(driver_client(foundry, driver), tag, LEDGER_FILE, _MAX_LEDGER, unless=known)
    return Document(data, released_signature(foundry, driver)) if data is not None else None


def released_signature(foundry: Foundry, driver: str) -> bytes:
    """The signature of the ledger that the driver's release has; empty where there is none, or nobody wants it."""
    if not foundry.settings.image_signing.public_keys:
        return b""
    from foundry.github.releases import read_asset

    tag = release_tag(foundry.states.plan.families[driver].name, driver)
    return read_asset(driver_client(foundry, driver), tag, LEDGER_BUNDLE, _MAX_BUNDLE) or b""


def driver_client(foundry: Foundry, driver: str) -> GitHub:
    """A client that notes attempts that failed in the log of the driver's release."""
    return client(foundry, foundry.root / ledger_path(foundry.config.build, driver).with_name(LOG))


def client(foundry: Foundry, log: Path, permissions: str = "the permission `contents: write`") -> GitHub:
    """A client of the repository; ``GITHUB_API_URL`` is another server's address, as GitHub Actions sets it.

    `permissions` are those that a token needs, for the hint when they are missing.
    """
    from foundry.github.client import API, GitHub

    return GitHub(
        repository(foundry), token=_token(), api=os.environ.get("GITHUB_API_URL") or API,
        seconds=foundry.settings.network_timeout, note=append_to(log), permissions=permissions,
    )


def _token() -> str:
    return next((os.environ[name] for name in _TOKENS if os.environ.get(name)), "")
