"""Names that DNS does not know, and where on this machine or elsewhere they are served."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from foundry.base.references import LOOPBACK


class LocalServices(Protocol):
    """Services on this machine that a profile's names stand for, as the sandbox's."""

    def ensure_running(self) -> None:
        """Start what is down."""

    def addresses(self) -> Mapping[str, str]:
        """``name → host:port``."""

    def auth_files(self) -> Mapping[str, Path]:
        """Where the credentials for a service are, by its name (containers-auth.json(5)); starts nothing."""


class Addresses:
    """A profile's `addresses` on top of those of its local services. Safe to use from several threads."""

    def __init__(self, fixed: Mapping[str, str], services: LocalServices | None = None) -> None:
        self._fixed = fixed
        self._services = services
        self._known: Mapping[str, str] | None = None
        self._lock = threading.Lock()

    def table(self) -> Mapping[str, str]:
        """``name → host:port``; the first call starts services that are down."""
        with self._lock:
            if self._known is None:
                served: Mapping[str, str] = {}
                if self._services is not None:
                    self._services.ensure_running()
                    served = self._services.addresses()
                self._known = {**served, **self._fixed}
            return self._known

    def auth_files(self) -> Mapping[str, Path]:
        """Where the credentials for local services are, by name."""
        return self._services.auth_files() if self._services is not None else {}

    def of(self, name: str) -> str:
        """``host:port`` of a name; empty where DNS knows it."""
        return self.table().get(name, "")

    def resolve(self, url: str) -> str:
        """The URL with the host that really serves it in this profile."""
        parts = urlsplit(url)
        address = self.of(parts.hostname or "")
        if not address:
            return url
        here = urlsplit(f"//{address}").hostname in LOOPBACK  # where nothing speaks TLS
        return urlunsplit(parts._replace(netloc=address, scheme="http" if here else parts.scheme))
