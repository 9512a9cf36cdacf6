"""A row of a driver's ledger: one published cell (schemas/ledger.schema.json)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey


@dataclass(frozen=True)
class Replaced:
    """The image that a tag had before: manifest digest, key (empty: none), and why it was replaced."""

    digest: str
    key: str
    reason: str


@dataclass(frozen=True)
class Content:
    """What a revision of a ledger has of a row."""

    digest: str
    releases: tuple[str, ...]


@dataclass(frozen=True)
class Revision:
    """Since which revision of the ledger a row is as it is, and what it was in the one before; None: not there."""

    number: int
    now: Content
    was: Content | None = None


@dataclass(frozen=True)
class Row:
    """An image and what it was made from. `toolkit` is named by digest, `content_sha256` is that of the package.

    `published` (``2025-01-02T03:04:05Z``), `config_digest` and `size` (bytes of manifest, config and layers as
    stored) are empty where they are not known. `registries` are ``host/repository``; none where a profile publishes
    nowhere. `depends` are the kernel's own modules that it needs, `devices` the PCI devices (``1d0f:7164``) that its
    modules bind, `loads` those of its modules that no other of them needs. `signature` says who signed its modules,
    `proof` what a boot showed; `image_signer` is the SHA-256 of the public key (DER) whose signature lies beside the
    image, and `attestations` are those of the statements that lie there, by their kind.
    """

    kernel: str
    arch: str
    key: str
    key_inputs: Mapping[str, str]
    digest: str
    tags: tuple[str, ...]
    registries: tuple[str, ...]
    releases: tuple[str, ...]
    toolkit: str
    content_sha256: str
    published: str = ""
    config_digest: str = ""
    size: int = 0
    depends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    signature: Mapping[str, str] | None = None
    proof: Mapping[str, Any] | None = None
    image_signer: str = ""
    attestations: Mapping[str, str] = field(default_factory=dict, hash=False)
    replaces: Replaced | None = None
    revision: Revision | None = None

    @property
    def content(self) -> Content:
        """What a revision keeps of it."""
        return Content(self.digest, self.releases)

    def as_data(self) -> dict[str, Any]:
        """As it stands in a file."""
        data: dict[str, Any] = {
            "kernel": self.kernel, "arch": self.arch, "key": self.key, "key_inputs": dict(self.key_inputs),
            "digest": self.digest, "tags": list(self.tags), "registries": list(self.registries),
            "releases": list(self.releases), "toolkit": self.toolkit, "content_sha256": self.content_sha256,
        }
        data |= {name: value for name in ("published", "config_digest", "size", "image_signer")
                 if (value := getattr(self, name))}
        if self.attestations:
            data["attestations"] = dict(self.attestations)
        data |= {name: list(value) for name in ("depends", "devices", "loads") if (value := getattr(self, name))}
        data |= {name: dict(value) for name in ("signature", "proof") if (value := getattr(self, name)) is not None}
        if self.replaces is not None:
            data["replaces"] = {
                "digest": self.replaces.digest, "key": self.replaces.key, "reason": self.replaces.reason,
            }
        if self.revision is not None:
            was = {"was": _content_data(self.revision.was)} if self.revision.was is not None else {}
            data["revision"] = {"number": self.revision.number, **_content_data(self.revision.now), **was}
        return data


def row_from(data: Mapping[str, Any]) -> Row:
    """The row in a document that fits its schema."""
    said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    replaces, revision = said.pop("replaces", None), said.pop("revision", None)
    return Row(
        **said,
        replaces=Replaced(**replaces) if replaces is not None else None,
        revision=_revision_from(revision) if revision is not None else None,
    )


def row_of(
    cell: Cell, key: CellKey, *, content_sha256: str, digest: str, tags: Iterable[str], registries: Iterable[str],
    config_digest: str = "", size: int = 0, depends: Iterable[str] = (), devices: Iterable[str] = (),
    loads: Iterable[str] = (), published: str = "", signature: Mapping[str, str] | None = None,
    proof: Mapping[str, Any] | None = None, image_signer: str = "", attestations: Mapping[str, str] | None = None,
    replaces: Replaced | None = None,
) -> Row:
    """The row of a cell as it is today."""
    return Row(
        cell.kernel, cell.arch, key.key, dict(key.parts), digest, tuple(tags), tuple(registries), cell.releases,
        cell.toolkit, content_sha256, published, config_digest, size, tuple(depends), tuple(devices), tuple(loads),
        signature, proof, image_signer, attestations or {}, replaces,
    )


def _content_data(content: Content) -> dict[str, Any]:
    return {"digest": content.digest, "releases": list(content.releases)}


def _content_from(data: Mapping[str, Any]) -> Content:
    return Content(data["digest"], tuple(data["releases"]))


def _revision_from(data: Mapping[str, Any]) -> Revision:
    was = data.get("was")
    return Revision(data["number"], _content_from(data), _content_from(was) if was is not None else None)
