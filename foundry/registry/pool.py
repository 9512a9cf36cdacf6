"""The registries of a run: where each is served, who reads and writes there, and where a family is published."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.files import append_to
from foundry.net.addresses import Addresses
from foundry.registry.targets import Target

if TYPE_CHECKING:
    from foundry.net.transport import RetryPolicy
    from foundry.registry.client import Registry
    from foundry.registry.credentials import Credentials
    from foundry.registry.push import Writer
    from foundry.registry.repository import Repository


class Registries:
    """One object a run. Safe to use from several threads.

    `targets_of` has a family's targets as far as configuration and environment say; `log` takes
    what is tried again while writing.
    """

    def __init__(self, addresses: Addresses, targets_of: Callable[[str], tuple[Target, ...]], log: Path) -> None:
        self.addresses = addresses
        self._targets_of = targets_of
        self._log = log
        self._lock = threading.RLock()
        self._credentials: Credentials | None = None
        self._targets: dict[str, tuple[Target, ...]] = {}
        self._writers: dict[str, Writer] = {}
        self._places: dict[str, Repository] = {}

    @property
    def credentials(self) -> Credentials:
        """The credentials that this run has for reading."""
        from foundry.registry.credentials import Credentials
        from foundry.registry.ecr.tokens import providers

        with self._lock:
            if self._credentials is None:
                self._credentials = Credentials(providers=providers(push=False), files=self.addresses.auth_files())
            return self._credentials

    def reader(
        self, host: str, log: Path | None = None, *, credentials: Credentials | None = None,
        policy: RetryPolicy | None = None,
    ) -> Registry:
        """The registry of that name, where this profile has it; attempts that fail are noted in `log`."""
        from foundry.registry.client import Registry

        note = append_to(log) if log is not None else lambda _: None
        return Registry(host, credentials or self.credentials, address=self.addresses.of(host), note=note,
                        policy=policy)

    def targets(self, family: str) -> tuple[Target, ...]:
        """Where the family's images are published, all fields filled; asks AWS where only AWS knows."""
        with self._lock:
            if family not in self._targets:
                found = self._targets_of(family)
                fields = {field for target in found for field in target.open_fields}
                facts = aws_facts(fields) if fields else {}
                self._targets[family] = tuple(target.filled(facts) for target in found)
            return self._targets[family]

    def repository(self, target: Target) -> Repository:
        """A target to read from, with no more rights than that takes; one object a run."""
        from foundry.registry.repository import Repository

        with self._lock:
            if target.name not in self._places:
                self._places[target.name] = Repository(self.reader(target.registry, self._log), target.repository)
            return self._places[target.name]

    def writer(self, target: Target) -> Writer:
        """A target to push to, one object a run: what was pushed once is known to be there."""
        from foundry.registry.credentials import Credentials
        from foundry.registry.ecr.tokens import providers
        from foundry.registry.push import Writer

        with self._lock:
            if target.name not in self._writers:
                credentials = Credentials(providers=providers(push=True), files=self.addresses.auth_files())
                registry = self.reader(target.registry, self._log, credentials=credentials)
                self._writers[target.name] = Writer(registry, target.repository)
            return self._writers[target.name]


def aws_facts(fields: Iterable[str]) -> dict[str, str]:
    """What of ``aws_region`` and ``aws_account`` the environment does not say."""
    from foundry.aws.session import account, region

    place = region()
    return {"aws_region": place, **({"aws_account": account(place)} if "aws_account" in fields else {})}
