"""podman as a run uses it: the engine, the images in its store, and what indexes have for other architectures."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import read_json
from foundry.base.names import OCI_ARCH
from foundry.base.process import stop_all
from foundry.podman.emulation import host_arch

if TYPE_CHECKING:
    from foundry.podman.engine import Engine
    from foundry.podman.platforms import Platforms
    from foundry.podman.store import LocalImages, Stored
    from foundry.registry.pool import Registries

PULLED, MIRRORED = "engine/pulled.json", "mirror.json"
SUMMARY = "GITHUB_STEP_SUMMARY"  # where bytes are told, and so are worth a question
_PLATFORMS = "engine/platforms.json"  # what indexes have for other architectures than the machine's
_ENGINE = "engine/engine.json"
_ASK_SECONDS = 120.0  # for how large an image is
_UNPACKED = 3  # a compressed layer takes about so many times its size; measured again when it is here


class Containers:
    """One object a run; what it needs is made when it is first asked for. Safe to use from several threads.

    `build` is the profile's output folder; `arch` the architecture that is asked about where the
    machine's own is none of ours; `max_disk` the GiB that pulled images may take, 0 for no limit;
    with `mirrored`, toolkits are pulled from where `doit sync` saw them.
    """

    def __init__(self, build: Path, registries: Registries, *, arch: str, max_disk: float, mirrored: bool) -> None:
        self.build = build
        self._registries = registries
        self._arch = arch
        self._budget = int(max_disk * (1 << 30))
        self._mirrored = mirrored
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._images: LocalImages | None = None
        self._platforms: Platforms | None = None

    @property
    def engine(self) -> Engine:
        """podman, with the registry addresses of this profile."""
        from foundry.podman.engine import Engine

        with self._lock:
            if self._engine is None:
                registries = self._registries
                self._engine = Engine(self.build / _ENGINE, registries.addresses.table(), registries.credentials,
                                      self._mirrors())
            return self._engine

    @property
    def images(self) -> LocalImages:
        """Toolkits and bases in podman's local store."""
        from foundry.podman.store import LocalImages

        with self._lock:
            if self._images is None:
                self._images = LocalImages(
                    self.engine, self.build / PULLED, budget=self._budget, expected=self._expected_size,
                    stored=self._stored if os.environ.get(SUMMARY) else None,
                )
            return self._images

    @property
    def platforms(self) -> Platforms:
        """Which image an index has for another architecture than the machine's."""
        from foundry.podman.platforms import Platforms

        with self._lock:
            if self._platforms is None:
                self._platforms = Platforms(self.build / _PLATFORMS, self._registries.reader)
            return self._platforms

    def pulled(self) -> list[str]:
        """What runs of this checkout pulled and did not remove; does not start podman."""
        found = read_json(self.build / PULLED)
        return found if isinstance(found, list) else []

    def remove_leftovers(self) -> None:
        """Remove what a killed run of this checkout left at podman; starts no service. Only under the run's lock."""
        from foundry.podman.engine import Engine
        from foundry.podman.leftovers import remove_leftovers

        if shutil.which("podman") is not None:
            remove_leftovers(Engine(self.build / _ENGINE))

    def stop(self) -> None:
        """End every command and container of this run; for a process about to exit."""
        started = self._engine.containers() if self._engine is not None else []
        stop_all()
        if started and self._engine is not None:
            self._engine.remove_containers(started)

    def _mirrors(self) -> dict[str, str]:
        """Of each toolkit that `doit sync` saw in the mirror: its digest, and the mirror's ``host/repository``."""
        found = read_json(self.build / MIRRORED) if self._mirrored else None
        return found if isinstance(found, dict) else {}

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
        arch = host if host in OCI_ARCH else self._arch
        image = parse_reference(reference)
        mirror = self._mirrors().get(image.digest, "")
        for place in [parse_reference(f"{name}@{image.digest}") for name in (mirror, image.name) if name]:
            try:
                manifest = image_manifest(self._registries.reader(place.host, policy=brief), place, arch)
                break
            except FoundryError:
                if place.name == image.name:
                    raise
        return Stored(tuple(layer.size for layer in manifest.layers), manifest.config.size)
