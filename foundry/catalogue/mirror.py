"""Stage sync: the toolkits that the wanted cells need, in a registry of the user's, tagged by release.

The mirror says what the catalogue says: a tag of another digest is moved. Nobody
remembers what is there: each tag is asked for, by one HEAD.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import pretty_json, write_atomic
from foundry.base.names import tag_of
from foundry.base.parallel import in_parallel
from foundry.base.references import parse_reference
from foundry.catalogue.resolve import outside
from foundry.config.catalogue import CatalogueEntry
from foundry.formats.openshift.image_references import TOOLKIT
from foundry.podman.containers import MIRRORED
from foundry.registry.ecr.places import is_ecr
from foundry.registry.ecr.repositories import require_repository
from foundry.registry.pool import aws_facts
from foundry.registry.targets import Target, toolkits_at
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.registry.client import Registry
    from foundry.registry.mirror import Copied
    from foundry.registry.push import Writer

LOG = "sync.log"
_AT_ONCE = 2
_RETRIES = 4
_MEGABYTE = 1e6
_HINT = "what was copied stays, and no tag was set for what is incomplete: run `doit sync` again"


@dataclass(frozen=True)
class Toolkit:
    """One toolkit by its digest, and the tags that the catalogue's releases give it."""

    reference: str
    tags: tuple[str, ...]


def sync(foundry: Foundry) -> None:
    """Have all toolkits in the mirror. Raises ConfigError without a mirror or a catalogue, OutsideError at the end."""
    target = toolkits_at(foundry.settings.mirror)
    if target is None:
        file = f"config/profiles/{foundry.config.profile.name}.yaml"
        raise ConfigError([Fault(file, "$.mirror", "names no registry and repository to mirror toolkits into")],
                          hint="name them, or choose another profile: `doit profile ecr`")
    toolkits = toolkits_of(foundry)
    if not toolkits:
        fault = Fault(foundry.settings.catalogue, "", "has no toolkit that the matrix needs")
        raise ConfigError([fault], hint="run `doit toolkit`")
    log = foundry.root / foundry.config.build / LOG
    log.unlink(missing_ok=True)
    _Run(foundry, target.filled(aws_facts(target.open_fields)) if target.open_fields else target, log).sync(toolkits)


def toolkits_of(foundry: Foundry) -> list[Toolkit]:
    """The toolkits of the wanted cells, by digest; all releases of the catalogue that name one are its tags."""
    wanted = {state.cell.toolkit_digest: state.cell.toolkit for state in foundry.states.cells.values()}
    tags: dict[str, list[str]] = defaultdict(list)
    owners: dict[str, str] = {}
    for entry in foundry.config.catalogue:
        digest = entry.dtk.rpartition("@")[2]
        if digest not in wanted:
            continue
        tag = _tag(entry)
        if owners.setdefault(tag, digest) != digest:
            raise ConfigError([Fault(foundry.settings.catalogue, "", f"{tag} would be the tag of two toolkits")])
        tags[digest].append(tag)
    return [Toolkit(wanted[digest], tuple(dict.fromkeys(names))) for digest, names in tags.items()]


def _tag(entry: CatalogueEntry) -> str:
    """``<release>-<arch>``; the further toolkits of a payload have the name of their stream at the end."""
    return tag_of("-".join([*entry.place, *([entry.stream] if entry.stream not in ("", TOOLKIT) else [])]))


@dataclass
class _Run:
    foundry: Foundry
    target: Target
    log: Path
    sources: dict[str, Registry] = field(default_factory=dict)
    made: bool = False
    moved: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sync(self, toolkits: list[Toolkit]) -> None:
        writer = self._writer()
        for toolkit in toolkits:
            host = parse_reference(toolkit.reference).host
            if host not in self.sources:
                self.sources[host] = self._registry(host)
        errors: list[FoundryError] = []
        there, seen = 0, {}
        for outcome in in_parallel(toolkits, lambda one: self._one(writer, one), threads=_AT_ONCE,
                                   stopping=self.foundry.ending):
            if outcome.error is not None:
                errors.append(outside(outcome.error, f"{outcome.job.reference}: ", self.log))
                self._say(f"failed {errors[-1].message}")
            else:
                seen[outcome.job.reference.rpartition("@")[2]] = writer.name
            there += outcome.error is None and outcome.value is None
        write_atomic(self.foundry.root / self.foundry.config.build / MIRRORED, pretty_json(seen))
        copied = len(toolkits) - there - len(errors)
        self._say(f"{writer.name}: {copied} toolkits copied, {there} there already, {len(errors)} failed;"
                  f" {len(self.moved)} tags moved; {_amount(writer.sent.blobs, writer.sent.bytes)} sent")
        if errors:
            error = max(errors, key=lambda one: one.exit_code)
            error.message += f" (and {len(errors) - 1} more, see above)" if errors[1:] else ""
            error.hint = "; ".join(dict.fromkeys([error.hint, _HINT]))
            raise error

    def _one(self, writer: Writer, toolkit: Toolkit) -> Copied | None:
        """None when all tags are what they should be."""
        from foundry.registry.mirror import mirror, tag_digest

        reference = parse_reference(toolkit.reference)
        found = {tag: tag_digest(writer.registry, writer.repository, tag) for tag in toolkit.tags}
        tags = [tag for tag, digest in found.items() if digest != reference.digest]
        if not tags:
            return None
        self._require_repository()
        copied = mirror(self.sources[reference.host], reference, writer, tags)
        moved = [f"{tag} was {found[tag]}" for tag in tags if found[tag]]
        with self.lock:
            self.moved += moved
        sent = f"{_amount(copied.blobs, copied.bytes)}, {copied.there} were there"
        self._say("; ".join([f"copied {reference} as {', '.join(tags)}: {sent}", *moved]))
        return copied

    def _require_repository(self) -> None:
        """ECR makes none by itself; asked for when something has to be written."""
        with self.lock:
            if not self.made and is_ecr(self.target.registry):
                require_repository(self.target)
            self.made = True

    def _registry(self, host: str, **more: Any) -> Registry:
        from foundry.net.transport import RetryPolicy

        policy = RetryPolicy(retries=_RETRIES, total=self.foundry.settings.network_timeout)
        return self.foundry.registries.reader(host, self.log, policy=policy, **more)

    def _writer(self) -> Writer:
        from foundry.registry.credentials import Credentials
        from foundry.registry.ecr.tokens import providers
        from foundry.registry.push import Writer

        credentials = Credentials(providers=providers(push=True), files=self.foundry.addresses.auth_files())
        return Writer(self._registry(self.target.registry, credentials=credentials), self.target.repository)

    def _say(self, text: str) -> None:
        if self.foundry.verbosity:
            print(f"  {text}", flush=True)


def _amount(blobs: int, size: int) -> str:
    return f"{blobs} {'blob' if blobs == 1 else 'blobs'}, {size} bytes ({size / _MEGABYTE:.1f} MB)"
