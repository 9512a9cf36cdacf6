"""What every stage works with: the configuration, the states, podman, the addresses.

One `Foundry` a run. Roots come from the working directory.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, read_json
from foundry.base.names import OCI_ARCH
from foundry.base.references import LOOPBACK
from foundry.config import profile as profiles
from foundry.config.load import Config, load_config
from foundry.config.toolkit_recipes import take_secrets
from foundry.plan.cells import Cell
from foundry.plan.ledger import ledger_path
from foundry.plan.state import States, force_build
from foundry.podman.emulation import host_arch, not_here
from foundry.registry.targets import Target, mirror_of, targets_of
from foundry.run.journal import DONE, Journal
from foundry.run.schedule import Schedule

if TYPE_CHECKING:
    from foundry.net.transport import RetryPolicy
    from foundry.podman.engine import Engine
    from foundry.podman.platforms import Platforms
    from foundry.podman.store import LocalImages, Stored
    from foundry.registry.client import Registry
    from foundry.registry.credentials import Credentials
    from foundry.registry.push import Writer


PULLED, MIRRORED = "engine/pulled.json", "mirror.json"
SUMMARY = "GITHUB_STEP_SUMMARY"  # where bytes are told, and so are worth a question
PLATFORMS = "engine/platforms.json"  # what indexes have for other architectures than the machine's
DEFAULT_VERBOSITY = 1
_CLEANUP_SECONDS, _ASK_SECONDS = 15.0, 120.0  # the latter for how large an image is
_UNPACKED = 3  # a compressed layer takes about so many times its size; measured again when it is here


class LocalServices(Protocol):
    """Services on this machine that a profile's names stand for, as the sandbox's."""

    def ensure_running(self) -> None:
        """Start what is down."""

    def addresses(self) -> Mapping[str, str]:
        """``name → host:port``."""


@dataclass
class Foundry:
    """The one object that stages are given."""

    config: Config
    states: States
    schedule: Schedule = field(default_factory=Schedule)
    journal: Journal = field(default_factory=Journal)
    verbosity: int = DEFAULT_VERBOSITY
    exports: dict[tuple[str, str], bytes] = field(default_factory=dict)  # by toolkit and kernel
    exports_lock: threading.Lock = field(default_factory=threading.Lock)
    services: LocalServices | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # of recipes, by environment variable
    ending: threading.Event = field(default_factory=threading.Event)  # set when the process is about to exit
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _addresses: Mapping[str, str] | None = None
    _engine: Engine | None = None
    _images: LocalImages | None = None
    _platforms: Platforms | None = None
    _credentials: Credentials | None = None
    _targets: dict[str, tuple[Target, ...]] = field(default_factory=dict)
    _writers: dict[str, Writer] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.config.root

    @property
    def settings(self) -> Mapping[str, Any]:
        """The profile's settings on top of the defaults."""
        return self.config.settings

    def cell_folder(self, cell: Cell) -> Path:
        """The cell's folder, absolute."""
        return self.root / self.states.cell_folder(cell)

    def content_sha256(self, cell: Cell) -> str:
        """The hash of the content of the driver's package, as locked."""
        found: str = self.config.locks[cell.family.name]["packages"][cell.driver]["content_sha256"]
        return found

    def source_folder(self, driver: str) -> Path:
        """The driver's source folder, absolute."""
        return self.root / self.states.source_folder(driver)

    @property
    def addresses(self) -> Mapping[str, str]:
        """``name → host:port`` of services that have no name in DNS; starts them when they are down."""
        with self._lock:
            if self._addresses is None:
                services = self.services
                if services is not None:
                    services.ensure_running()
                served = services.addresses() if services is not None else {}
                self._addresses = {**served, **self.settings.get("addresses", {})}
            return self._addresses

    @property
    def engine(self) -> Engine:
        """podman, with the registry addresses of this profile."""
        from foundry.podman.engine import Engine

        with self._lock:
            if self._engine is None:
                state = self.root / self.config.build / "engine" / "engine.json"
                self._engine = Engine(state, self.addresses, self.credentials, self._mirrors())
                self._engine.remove_leftovers()
            return self._engine

    def _mirrors(self) -> dict[str, str]:
        """Of each toolkit that `doit sync` saw in the mirror: its digest, and the mirror's ``host/repository``."""
        found = read_json(self.root / self.config.build / MIRRORED) if mirror_of(self.settings) else None
        return found if isinstance(found, dict) else {}

    @property
    def images(self) -> LocalImages:
        """Toolkits and bases in podman's local store."""
        from foundry.podman.store import LocalImages

        with self._lock:
            if self._images is None:
                self._images = LocalImages(
                    self.engine, self.root / self.config.build / PULLED,
                    budget=int(self.settings["max_disk"] * (1 << 30)), expected=self._expected_size,
                    stored=self._stored if os.environ.get(SUMMARY) else None,
                )
            return self._images

    def _expected_size(self, reference: str) -> int:
        """Bytes that an image will take once it is pulled: what its registry stores, and what that unpacks to."""
        return _UNPACKED * sum(self._stored(reference).layers)

    def _stored(self, reference: str) -> Stored:
        """What an image's registry has of it; the mirror is asked first, as podman does."""
        from foundry.base.references import parse_reference
        from foundry.net.transport import RetryPolicy
        from foundry.podman.store import Stored
        from foundry.registry.images import image_manifest

        brief, host = RetryPolicy(total=_ASK_SECONDS), host_arch()
        arch = host if host in OCI_ARCH else self.settings["arch"][0]
        image = parse_reference(reference)
        mirror = self._mirrors().get(image.digest, "")
        for place in [parse_reference(f"{name}@{image.digest}") for name in (mirror, image.name) if name]:
            try:
                manifest = image_manifest(self.registry(place.host, policy=brief), place, arch)
                break
            except FoundryError:
                if place.name == image.name:
                    raise
        return Stored(tuple(layer.size for layer in manifest.layers), manifest.config.size)

    @property
    def platforms(self) -> Platforms:
        """Which image an index has for another architecture than the machine's."""
        from foundry.podman.platforms import Platforms

        with self._lock:
            if self._platforms is None:
                self._platforms = Platforms(self.root / self.config.build / PLATFORMS, self.registry)
            return self._platforms

    @property
    def credentials(self) -> Credentials:
        """The credentials that this run has for reading from registries."""
        from foundry.registry.credentials import Credentials
        from foundry.registry.ecr.tokens import providers

        with self._lock:
            if self._credentials is None:
                self._credentials = Credentials(providers=providers(push=False))
            return self._credentials

    def registry(
        self, host: str, log: Path | None = None, *, credentials: Credentials | None = None,
        policy: RetryPolicy | None = None,
    ) -> Registry:
        """The registry of that name, where this profile has it; attempts that fail are noted in `log`."""
        from foundry.registry.client import Registry

        note = append_to(log) if log is not None else lambda _: None
        return Registry(host, credentials or self.credentials, address=self.addresses.get(host, ""), note=note,
                        policy=policy)

    def targets(self, family: str) -> tuple[Target, ...]:
        """Where the family's images are published, all fields filled; asks AWS where only AWS knows."""
        with self._lock:
            if family not in self._targets:
                found = targets_of(self.settings, family)
                facts = aws_facts(fields) if (fields := {one for target in found for one in target.open_fields}) else {}
                self._targets[family] = tuple(target.filled(facts) for target in found)
            return self._targets[family]

    def writer(self, family: str, number: int) -> Writer:
        """The family's target of that number."""
        return self.writer_of(self.targets(family)[number])

    def writer_of(self, target: Target) -> Writer:
        """A target, one object a run: what was pushed once is known to be there."""
        from foundry.registry.credentials import Credentials
        from foundry.registry.ecr.tokens import providers
        from foundry.registry.push import Writer

        with self._lock:
            if target.name not in self._writers:
                log = self.root / self.config.build / "registry.log"
                credentials = Credentials(providers=providers(push=True))
                registry = self.registry(target.registry, log, credentials=credentials)
                self._writers[target.name] = Writer(registry, target.repository)
            return self._writers[target.name]

    def refresh_states(self) -> None:
        """Find the states out anew: what they rest on has changed."""
        self.states = States(self.config, force=self.states.force, not_here=self.states.not_here)

    def sweep(self) -> None:
        """Remove images that runs of ours pulled and no pending cell needs any more."""
        pulled = read_json(self.root / self.config.build / PULLED)
        sandbox = [name.startswith("sandbox:") for name in self.journal.entries]
        if not pulled or (sandbox and all(sandbox)) or self.settings["keep_toolkits"]:
            return  # looking into podman's store needs the services: `sandbox:down` must not start them
        needed = self.needed_toolkits()
        try:
            for reference in pulled:
                if reference not in needed:
                    self.images.drop(reference)
        except FoundryError as error:
            self.journal.warn(f"images that are no longer needed could not be removed: {error.message}")

    def needed_toolkits(self) -> set[str]:
        """The toolkits of the cells that are still to be compiled."""
        compiled = {name for name, entry in self.journal.entries.items() if entry.state == DONE}
        return {
            self.platforms.known(state.cell.toolkit, state.cell.arch) for state in self.states.cells.values()
            if not state.module_done and f"module:{state.cell.name}" not in compiled
        }

    def stop(self) -> None:
        """End every command and container of this run and let the stages clean up; for a process about to exit."""
        from foundry.base.process import stop_all

        self.ending.set()
        names = self._engine.containers() if self._engine is not None else []
        stop_all()
        if names and self._engine is not None:
            self._engine.remove_containers(names)
        deadline = time.monotonic() + _CLEANUP_SECONDS
        while self.journal.running() and time.monotonic() < deadline:
            time.sleep(0.02)

    def resolve(self, url: str) -> str:
        """The URL with the host that really serves it in this profile."""
        parts = urlsplit(url)
        address = self.addresses.get(parts.hostname or "")
        if not address:
            return url
        here = urlsplit(f"//{address}").hostname in LOOPBACK  # where nothing speaks TLS
        return urlunsplit(parts._replace(netloc=address, scheme="http" if here else parts.scheme))


def open_foundry(
    root: Path, services_of: Callable[[Config], LocalServices | None] = lambda _: None
) -> Foundry:
    """Read the configuration below `root`; raises ConfigError. Says which profile applies, on stderr.

    `services_of` knows the local services that a profile wants.
    """
    profile = profiles.resolve(root)
    print(f"profile {profile.name}: {profile.why}", file=sys.stderr)
    config = load_config(root, profile)
    return Foundry(config, States(config, force=force_build(), not_here=not_here(config.settings["arch"])),
                   services=services_of(config), secrets=take_secrets(config.toolkit_recipes))


def aws_facts(fields: Iterable[str]) -> dict[str, str]:
    """What of ``aws_region`` and ``aws_account`` the environment does not say."""
    from foundry.registry.ecr.session import account, region

    place = region()
    return {"aws_region": place, **({"aws_account": account(place)} if "aws_account" in fields else {})}


def has_ledger(foundry: Foundry, driver: str) -> bool:
    """Whether this checkout has a ledger of the driver, be it an empty one."""
    return (foundry.root / ledger_path(foundry.config.build, driver)).exists()
