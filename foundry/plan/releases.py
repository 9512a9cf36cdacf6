"""A driver's release on GitHub: in which repository, under which tag, with which source tarball; without asking it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

from foundry.config.settings import Settings


def release_repository(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """``owner/name`` of the repository that has the releases; in GitHub Actions the workflow's. Empty: no releases."""
    configured = settings.github_repository
    return environ.get("GITHUB_REPOSITORY", "") or configured if configured else ""


def release_tag(family: str, driver: str) -> str:
    """Tag and name of a driver's release: ``neuron-driver-2.22.2.0``."""
    return f"{family}-driver-{driver}"


def asset_name(package_name: str, driver: str) -> str:
    """The driver's source tarball in its release: ``aws-neuronx-dkms-2.22.2.0-modified-source.tar.gz``."""
    return f"{package_name}-{driver}-modified-source.tar.gz"


def asset_url(settings: Settings, family: str, driver: str, package_name: str) -> str:
    """Where the driver's release has its source tarball; empty in a profile that makes no releases.

    Images bear it in a label, which is in their keys: the profile alone decides, on every machine alike.
    """
    if not settings.github_repository:
        return ""
    tag, asset = release_tag(family, driver), asset_name(package_name, driver)
    return "https://github.com/" + quote(f"{settings.github_repository}/releases/download/{tag}/{asset}")
