"""What every stage works with: the configuration, the states, the registries, podman.

One `Foundry` a run. Roots come from the working directory.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.environment import take_secrets
from foundry.base.errors import ConfigError, FoundryError
from foundry.base.reasons import Reason
from foundry.config import profile as profiles
from foundry.config.load import Config, load_config
from foundry.config.settings import Settings
from foundry.config.signing import IMAGES, MODULES, secret_names
from foundry.net.addresses import Addresses, LocalServices
from foundry.plan.cells import Cell
from foundry.plan.ledger import ledger_path
from foundry.plan.state import States, force_build
from foundry.podman.containers import Containers
from foundry.podman.emulation import not_here
from foundry.registry.pool import Registries
from foundry.registry.targets import targets_of, toolkits_at
from foundry.run.journal import BLOCKED, Journal
from foundry.run.schedule import Schedule

if TYPE_CHECKING:
    from foundry.signing.certificate import Certificate
    from foundry.signing.image_key import ImageSigner, PublicKey
    from foundry.signing.keys import Signer

DEFAULT_VERBOSITY = 1
_CLEANUP_SECONDS = 15.0


@dataclass
class Foundry:
    """The one object that stages are given: configuration, states, journal, schedule, and what they reach out with."""

    config: Config
    states: States
    addresses: Addresses
    registries: Registries
    containers: Containers
    schedule: Schedule = field(default_factory=Schedule)
    journal: Journal = field(default_factory=Journal)
    verbosity: int = DEFAULT_VERBOSITY
    kernel_files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)  # by toolkit, kernel and name
    kernel_files_lock: threading.Lock = field(default_factory=threading.Lock)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # by environment variable
    ending: threading.Event = field(default_factory=threading.Event)  # set when the process is about to exit
    _signer: Signer | None = None
    _image_signer: ImageSigner | None = None
    _public_keys: tuple[PublicKey, ...] | None = None
    _signer_lock: threading.Lock = field(default_factory=threading.Lock)
    _accounted: int = 0  # entries of the journal whose changes the states no longer lack

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.config.root

    @property
    def settings(self) -> Settings:
        """The profile's settings on top of the defaults."""
        return self.config.settings

    def cell_folder(self, cell: Cell) -> Path:
        """The cell's folder, absolute."""
        return self.root / self.states.cell_folder(cell)

    def certificate(self) -> Certificate:
        """That of the key which signs modules; FoundryError where it can't be read, or kernels would not take it."""
        from foundry.signing.certificate import read_certificate

        return read_certificate(self.root / self.settings.signing.certificate)

    def signer(self) -> Signer:
        """Who signs modules, opened once in a run. Raises as `certificate` does, and as `open_signer`."""
        from foundry.signing.keys import open_signer

        with self._signer_lock:
            if self._signer is None:
                signer = open_signer(self.settings.signing.key, self.certificate(), self.secrets, self.root)
                for warning in signer.warnings:
                    self.journal.warn(warning)
                self._signer = signer
            return self._signer

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Those by which signatures of images are believed, the current one first; none: nobody signs images.

        FoundryError ``signing-key-unreadable``.
        """
        if not self.settings.image_signing.public_keys:
            return ()
        from foundry.signing.image_key import read_public_keys

        with self._signer_lock:
            if self._public_keys is None:
                self._public_keys = read_public_keys(self.settings.image_signing.public_keys, self.root)
            return self._public_keys

    def image_signer(self) -> ImageSigner | None:
        """Who signs images, opened once in a run; None where nobody does. Raises as `open_image_signer` does."""
        if not self.settings.image_signing.key:
            return None
        from foundry.signing.image_key import open_image_signer

        [public, *_] = self.public_keys()
        with self._signer_lock:
            if self._image_signer is None:
                signer = open_image_signer(self.settings.image_signing.key, public, self.secrets, self.root)
                for warning in signer.warnings:
                    self.journal.warn(warning)
                self._image_signer = signer
            return self._image_signer

    def publishing_signer(self) -> ImageSigner | None:
        """As `image_signer`; but where public keys say what is believed, nothing is published that nobody would.

        FoundryError ``signing-key-missing`` where there are such and no key to sign with.
        """
        signer = self.image_signer()
        if signer is None and self.settings.image_signing.public_keys:
            raise FoundryError("images are believed by their signatures here, and `image_signing.key` names no key",
                               reason=Reason.SIGNING_KEY_MISSING,
                               hint="name the key, or publish where it is; this checkout can `doit verify`")
        return signer

    def content_sha256(self, cell: Cell) -> str:
        """The hash of the content of the driver's package, as locked."""
        return self.config.locks.of(cell.family.name).packages[cell.driver].content_sha256

    def source_folder(self, driver: str) -> Path:
        """The driver's source folder, absolute."""
        return self.root / self.states.source_folder(driver)

    def forget_what_stages_changed(self) -> None:
        """What the stages of this run changed is found out anew when it is next asked for."""
        drivers, cells = set[str](), set[str]()
        entries = list(self.journal.entries.items())
        for name, entry in entries[self._accounted:]:
            subject = name.rpartition(":")[2]
            if entry.state != BLOCKED and subject in self.states.plan.by_driver:
                drivers.add(subject)
            elif entry.state != BLOCKED:
                cells.add(subject)
        self.states.forget(drivers, cells)
        self._accounted = len(entries)

    def sweep(self) -> None:
        """Remove images that runs of ours pulled and no pending cell needs any more."""
        pulled = self.containers.pulled()
        sandbox = [name.startswith("sandbox:") for name in self.journal.entries]
        if not pulled or (sandbox and all(sandbox)) or self.settings.keep_toolkits:
            return  # looking into podman's store needs the services: `sandbox:down` must not start them
        try:
            for reference in pulled:
                if not self.toolkit_needed(reference):
                    self.containers.images.drop(reference)
        except FoundryError as error:
            self.journal.warn(f"images that are no longer needed could not be removed: {error.message}")

    def toolkit_needed(self, image: str) -> bool:
        """Whether a cell is still to be compiled in an image of podman's store, or may have to be."""
        known = self.containers.platforms.known
        try:
            return any(
                known(state.cell.toolkit, state.cell.arch) == image and not state.module_done
                for cell in self.states.plan.cells
                if image in [known(toolkit, cell.arch) for toolkit in cell.toolkits]
                and not self.schedule.is_compiled(cell.name)
                for state in [self.states.of(cell)]
            )
        except ConfigError:
            return True  # of a cell that this run is not about

    def stop(self) -> None:
        """End every command and container of this run and let the stages clean up; for a process about to exit."""
        self.ending.set()
        self.containers.stop()
        deadline = time.monotonic() + _CLEANUP_SECONDS
        while self.journal.running() and time.monotonic() < deadline:
            time.sleep(0.02)


def open_foundry(
    root: Path, services_of: Callable[[Config], LocalServices | None] = lambda _: None, *, keep: bool = True
) -> Foundry:
    """Read the configuration below `root`; raises ConfigError. Says which profile applies, on stderr.

    `services_of` knows the local services that a profile wants. With `keep`, what was found out is kept for the next.
    """
    profile = profiles.resolve(root)
    print(f"profile {profile.name}: {profile.why}", file=sys.stderr)
    config = load_config(root, profile, keep=keep)
    return make_foundry(config, services_of(config))


def make_foundry(config: Config, services: LocalServices | None = None) -> Foundry:
    """A Foundry of a configuration; opens no connection and starts nothing."""
    settings, build = config.settings, config.root / config.build
    addresses = Addresses(settings.addresses, services)
    registries = Registries(addresses, lambda family: targets_of(settings.publish, family), build / "registry.log")
    containers = Containers(build, registries, arch=settings.arch[0], max_disk=settings.max_disk,
                            mirrored=toolkits_at(settings.mirror) is not None)
    states = States(config, force=force_build(), not_here=not_here(settings.arch), no_boot=_no_boot(settings))
    names = [*secret_names(settings.signing.key, MODULES), *secret_names(settings.image_signing.key, IMAGES),
             *(name for recipe in config.toolkit_recipes for name in recipe.secrets.values())]
    return Foundry(config, states, addresses, registries, containers, secrets=take_secrets(names))


def _no_boot(settings: Settings) -> dict[str, str]:
    """The architectures whose kernels this machine can't boot, each with what it lacks."""
    if settings.proof == "off":
        return {}
    from foundry.boot.machine import lacking

    signed = bool(settings.signing.key)
    found = {arch: lacking(arch, firmware=signed, secure_boot=settings.secure_boot) for arch in settings.arch}
    return {arch: why for arch, why in found.items() if why}


def has_ledger(foundry: Foundry, driver: str) -> bool:
    """Whether this checkout has a ledger of the driver, be it an empty one."""
    return (foundry.root / ledger_path(foundry.config.build, driver)).exists()
