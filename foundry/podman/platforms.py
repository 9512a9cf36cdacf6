"""Images for other architectures than the machine's own, by digests that podman's store does not confuse.

podman's store has one image under a digest. The digest of an index names an image
for each architecture: under it the store has that of the machine's own. For
another architecture it is the image behind the index, by its own digest, for which
the registry is asked once; a digest's content never changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.files import pretty_json, read_json, write_atomic
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.podman.emulation import host_arch
from foundry.registry.client import Registry


class Platforms:
    """What was found out, kept in `file`. Safe to use from several threads."""

    def __init__(self, file: Path, registry_of: Callable[[str], Registry]) -> None:
        self.file = file
        self.registry_of = registry_of
        self._found: dict[str, str] | None = None
        self._lock = threading.Lock()

    def image_of(self, reference: str, arch: str) -> str:
        """What to pull and start of an image by digest, for `arch` (``x86_64``, ``aarch64``).

        Raises FoundryError ``platform-missing``, and what reading from registries raises.
        """
        if arch == host_arch():
            return reference
        with self._lock:
            found, name = self._read(), f"{reference} {arch}"
            if name not in found:
                found[name] = self._ask(reference, arch)
                write_atomic(self.file, pretty_json(found))
            return found[name]

    def _ask(self, reference: str, arch: str) -> str:
        from foundry.registry.images import platform_reference

        image = parse_reference(reference)
        try:
            return str(platform_reference(self.registry_of(image.host), image, arch))
        except FoundryError as error:
            if error.reason != Reason.PLATFORM_MISSING:
                raise
            raise FoundryError(
                f"{reference} can't be used for {arch}: {error.message}", reason=error.reason,
                hint=f"take an image that is there for {arch}, or narrow the entry of the matrix with `arch`",
            ) from error

    def known(self, reference: str, arch: str) -> str:
        """The same as far as it is known; makes no network request."""
        with self._lock:
            return self._read().get(f"{reference} {arch}", reference)

    def _read(self) -> dict[str, str]:
        if self._found is None:
            kept = read_json(self.file)
            pairs: Mapping[object, object] = kept if isinstance(kept, dict) else {}
            self._found = {str(name): str(image) for name, image in pairs.items()}
        return self._found
