"""Images to push and those who push them, for the tests of writing to a registry."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundry.net.transport import RetryPolicy
from foundry.registry.client import Registry
from foundry.registry.credentials import Credential, Credentials
from foundry.registry.push import Content, Writer
from tests.harness.front import Front
from tests.harness.registry import LAYER, OCI_CONFIG, OCI_MANIFEST
from tests.harness.secrets import PASSWORD, USER

PATIENCE = RetryPolicy(connect=5, read=5, total=60, retries=3)
Notes = list[str]


def writer(
    one: Front, repository: str = "library/kmod", *, environ: dict[str, str] | None = None, provider: Any = None,
    notes: Notes | None = None, policy: RetryPolicy = PATIENCE,
) -> Writer:
    credentials = Credentials({"HOME": "/nonexistent", **(environ or {})}, [provider] if provider else [])
    registry = Registry("registry.test", credentials, address=one.address, policy=policy,
                        note=([] if notes is None else notes).append)
    return Writer(registry, repository)


def auth_file(folder: Path, pair: str = f"{USER}:{PASSWORD}") -> dict[str, str]:
    file = folder / "auth.json"
    file.write_text(json.dumps({"auths": {"registry.test": {"auth": base64.b64encode(pair.encode()).decode()}}}))
    return {"REGISTRY_AUTH_FILE": str(file)}


class Provider:
    """A cloud's API that gives out passwords one after the other, each until `forget` is called."""

    name = "the test's cloud"

    def __init__(self, *passwords: str) -> None:
        self.passwords = list(passwords)
        self.forgotten = 0

    def serves(self, host: str) -> bool:
        return host == "registry.test"

    def find(self, host: str) -> Credential | None:
        return Credential(USER, self.passwords[0], self.name)

    def forget(self, host: str) -> None:
        self.forgotten += 1
        self.passwords = self.passwords[1:] or self.passwords


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image(layers: Sequence[bytes], name: str = "") -> Content:
    """An image of plain layers; the name makes it another one."""
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"name": name}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(one), "size": len(one)} for one in layers],
    }).encode()
    blobs = {digest_of(one): one for one in (config, *layers)}
    return Content(manifest, OCI_MANIFEST, digest_of(manifest), blobs)


def sample(size: int = 1 << 16) -> Content:
    """An image that no registry has yet."""
    return image([os.urandom(size)], os.urandom(8).hex())


def stored(folder: Path, kind: str) -> list[Path]:
    """Files of a registry's storage: what is under ``_uploads`` and the like."""
    return [file for file in folder.rglob("*") if f"/{kind}/" in str(file) and file.is_file()]
