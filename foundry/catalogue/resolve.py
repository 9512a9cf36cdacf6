"""From releases to whole entries of the catalogue: payload, toolkit, kernel, and the node image's kernel.

What a digest holds never changes: it is kept in ``toolkits/`` for ever, each piece as soon as it is
read, so that a run that ends early has lost nothing. What the catalogue says of a toolkit counts, too.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from foundry.base.documents import as_document
from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import append_to
from foundry.base.parallel import Pen
from foundry.base.reasons import Reason
from foundry.base.records import Record, read_record, write_record
from foundry.base.references import Reference, parse_reference
from foundry.catalogue.payload_signature import signatures_of
from foundry.config.catalogue import CatalogueEntry
from foundry.net.transport import RateLimiter, RetryPolicy
from foundry.plan.catalogue import Kernels, Release, log_path
from foundry.registry.client import Registry
from foundry.run.context import Foundry

_KERNELS = ("kernel", "rt_kernel", "rhel")
_PREFIX = {"toolkit": "", "payload": "payload-", "node": "node-"}


class CustomToolkits(Protocol):
    """Toolkits that are named in place of the releases' own, by the kernel of the nodes."""

    def entry(self, node_entry: CatalogueEntry) -> CatalogueEntry:
        """The entry with the toolkit of its nodes' kernel. FoundryError ``toolkit-not-published``."""

    def has(self, entries: Sequence[CatalogueEntry]) -> bool:
        """Whether the entries name the toolkits that are published for their kernels today."""


@dataclass
class Resolver:
    """Reads each digest once. Safe to use from several threads; `entries` are what the catalogue has."""

    foundry: Foundry
    policy: RetryPolicy
    pen: Pen
    entries: Iterable[CatalogueEntry]
    custom: CustomToolkits | None = None
    _registries: dict[str, Registry] = field(default_factory=dict)
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # What was written by hand, without the payload that it is from, is read once more.
        known = [entry for entry in self.entries if entry.kernel and entry.payload]
        self._known = {(_digest(entry.dtk), entry.arch): as_document(entry) for entry in known}
        self._signatures = signatures_of(self.foundry, self.policy, self.pen, self.log)
        self._names = {(*entry.place, _digest(entry.dtk)): entry.dtk for entry in self.entries}

    @property
    def folder(self) -> Path:
        """Where records are, absolute."""
        return self.log.parent

    @property
    def log(self) -> Path:
        """What was asked in vain."""
        return self.foundry.root / log_path(self.foundry.config)

    def release(self, release: Release) -> list[CatalogueEntry]:
        """The entries of a release, one for each of its toolkits. Raises OutsideError that begins with its name."""
        try:
            streams = self._payload(release)
            return [self._entry(release, name, streams[name], several=len(streams) > 1) for name in sorted(streams)]
        except FoundryError as error:
            raise outside(error, f"{release}: ", self.log) from error

    def kernels(self, release: Release) -> list[CatalogueEntry]:
        """The kernels of a release's nodes, as the kernel list has them. Raises OutsideError that begins with its name.

        A node image that does not tell its kernel is an error: nobody could say what is missing.
        """
        try:
            streams = self._payload(release)
            several = len(streams) > 1
            return [self._node_entry(release, name, streams[name], several=several) for name in sorted(streams)]
        except FoundryError as error:
            raise outside(error, f"{release}: ", self.log) from error

    def toolkit(self, place: tuple[str, str]) -> Kernels:
        """The kernels of a toolkit by reference and architecture; errors as of `release`."""
        reference, arch = place
        try:
            return self._kernels(reference, arch, with_config=True)
        except FoundryError as error:
            raise outside(error, "", self.log) from error

    def registry(self, host: str) -> Registry:
        """One registry object a host, so that tokens are shared."""
        with self._lock:
            if host not in self._registries:
                self._registries[host] = self.foundry.registries.reader(
                    host, self.log, policy=replace(self.policy, pace=RateLimiter()))
            return self._registries[host]

    def _node_entry(self, release: Release, name: str, stream: Record, *, several: bool) -> CatalogueEntry:
        kernel = self._node(stream["node"], release.arch) if stream["node"] else ""
        if not kernel:
            raise FoundryError("no node image tells its kernel", reason=Reason.NODE_KERNEL_UNKNOWN,
                               hint="`releases.exclude` leaves a release out")
        return CatalogueEntry(*release.place, kernel=kernel, payload=release.payload, stream=name if several else "")

    def _entry(self, release: Release, name: str, stream: Record, *, several: bool) -> CatalogueEntry:
        if self.custom is not None:
            return self.custom.entry(self._node_entry(release, name, stream, several=several))
        toolkit, node = stream["toolkit"], stream["node"]
        kernels = self._kernels(toolkit, release.arch, with_config=False)
        node_kernel = self._node(node, release.arch) if node else ""
        return CatalogueEntry(
            *release.place, self._names.get((*release.place, _digest(toolkit)), str(toolkit)), **kernels,
            payload=release.payload, stream=name if several else "", node_kernel=node_kernel,
            mismatch=node_kernel not in ("", kernels["kernel"]),
        )

    def _payload(self, release: Release) -> dict[str, Any]:
        """The streams of a release image that is vouched for, and that names none but the images of a release."""
        settings, payload = self.foundry.settings.releases, parse_reference(release.payload)
        _require_place(payload, (settings.repository,), "the release image", "releases.repository")
        if self._signatures is not None:
            self._signatures.require(payload)

        def read(registry: Registry, reference: Reference) -> dict[str, Any]:
            from foundry.catalogue.payload_reader import read_payload

            found = read_payload(registry, reference, release.arch)
            return {"release": found.release, "streams": {
                stream.name: {"toolkit": str(stream.toolkit), "node": str(stream.node) if stream.node else None}
                for stream in found.streams
            }}

        record = self._record("payload", release.payload, release.arch, read)
        if record["release"] != release.version:
            raise FoundryError(f"{payload} says that it is {record['release']!a}",
                               reason=Reason.PAYLOAD_OTHER_RELEASE,
                               hint="the list of releases is wrong: tell who runs it")
        streams: dict[str, Any] = record["streams"]
        for name, stream in streams.items():
            for image in filter(None, (stream["toolkit"], stream["node"])):
                _require_place(parse_reference(image), settings.images, f"an image of {name}", "releases.images")
        return streams

    def _kernels(self, toolkit: str, arch: str, *, with_config: bool) -> Kernels:
        known: Record | None = self._known.get((_digest(toolkit), arch))
        if known is None:
            def read(registry: Registry, reference: Reference) -> dict[str, Any]:
                from foundry.catalogue.toolkit_reader import read_toolkit

                facts = read_toolkit(registry, reference, arch, with_config=with_config)
                if facts.label_kernel:
                    self.foundry.journal.warn(
                        f"{toolkit}: its label kernel-version is {facts.label_kernel},"
                        f" its release file says {facts.release.kernel}; the file is believed"
                    )
                return {"kernel": facts.release.kernel, "rt_kernel": facts.release.rt_kernel,
                        "rhel": facts.release.rhel, "label_kernel": facts.label_kernel}

            known = self._record("toolkit", toolkit, arch, read)
        return {name: known[name] for name in _KERNELS if known.get(name)}

    def _node(self, node: str, arch: str) -> str:
        def read(registry: Registry, reference: Reference) -> dict[str, Any]:
            from foundry.catalogue.payload_reader import read_node_kernel

            return {"kernel": read_node_kernel(registry, reference, arch)}

        return str(self._record("node", node, arch, read)["kernel"])

    def _record(
        self, stage: str, image: str, arch: str, read: Callable[[Registry, Reference], dict[str, Any]]
    ) -> Record:
        """What is known of a digest: its record, else what `read` finds, which is kept."""
        path = self.folder / f"{_PREFIX[stage]}{_digest(image).rpartition(':')[2]}-{arch}.json"
        with self._lock:
            lock = self._locks[stage, path.name]
        with lock:
            record = _of_image(read_record(path, stage), image, arch)
            if record is None:
                reference = parse_reference(image)
                facts = read(self.registry(reference.host), reference)
                with self.pen.writing():
                    write_record(
                        path, stage, {"inputs": {}, "outputs": {}, "reference": image, "arch": arch, **facts})
                record = read_record(path, stage)
            if record is None:
                raise FoundryError(f"{path} can't be read back", reason=Reason.RECORD_UNREADABLE)
            return record


def outside(error: FoundryError, before: str, log: Path) -> OutsideError:
    """An error of what others gave us: exit code 3, its sentence with what it is about before it."""
    noted = error.log or (log if log.exists() else None)
    append_to(log)(f"{before}{error.message}")
    return OutsideError(f"{before}{error.message}", reason=error.reason, hint=error.hint or _HINT,
                        log=noted or log, retry=error.retry)


def _require_place(image: Reference, places: Sequence[str], what: str, setting: str) -> None:
    """FoundryError where an image is none of these repositories: who names it decides what compiles every module."""
    if image.name not in places:
        raise FoundryError(f"{what} is {image}, which is not in {' or '.join(places)}", reason=Reason.PAYLOAD_FOREIGN,
                           hint=f"`{setting}` names the repositories that are believed")


_HINT = "try again, and tell the image's maker if it stays so"


def _of_image(record: Record | None, image: str, arch: str) -> Record | None:
    """The record, unless it is that of another image: files can be renamed."""
    known = record is not None and (_digest(record["reference"]), record["arch"]) == (_digest(image), arch)
    return record if known else None


def _digest(reference: str) -> str:
    return reference.rpartition("@")[2]
