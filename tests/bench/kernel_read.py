"""Kernel of a toolkit: bytes that its registry sends, counted by a server in front of a real one.

With the release file in the last layer (a toolkit of the sandbox): under 64 KiB
for manifest, config and layer. In one big squashed layer: at most what lies
before the file's end in the stored layer, and 1 MiB.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from foundry.base.references import Reference, parse_reference
from foundry.catalogue.toolkit_reader import read_toolkit
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from tests.bench.figure import Figure, at_most
from tests.bench.parts import sandbox
from tests.harness.clone import registry_port
from tests.harness.front import front
from tests.harness.registry import Pusher, real_registry, release_file, tar_of

LAST_LAYER, SQUASHED = 64.0, 1.0
_FILE = "etc/driver-toolkit-release.json"
_BEFORE, _BEHIND = 24 << 20, 48 << 20  # bytes, incompressible


def measure(folder: Path) -> Iterator[Figure]:
    """KiB sent for a toolkit of the sandbox; MiB too much for a squashed one."""
    with sandbox(folder) as services:
        toolkit = _sandbox_toolkit(services.build)
        login = {toolkit.host: services.services / "auth.json"}
        sent = _sent(f"127.0.0.1:{registry_port(services.services)}", toolkit, login)
    yield at_most("kernel of a toolkit, file in last layer", sent / (1 << 10), LAST_LAYER, "KiB")
    head = tar_of({"usr/bin/cc": os.urandom(_BEFORE), _FILE: release_file("5.14.0-427.el9_4.x86_64")})
    whole = gzip.compress(tar_of({"usr/bin/cc": os.urandom(_BEFORE), _FILE: release_file("5.14.0-427.el9_4.x86_64"),
                                  "usr/lib/rest": os.urandom(_BEHIND)}), 1, mtime=0)
    needed = len(gzip.compress(head, 1, mtime=0))
    with real_registry(folder / "registry") as address:
        made = Pusher(address, "squashed").image([whole])
        sent = _sent(address, parse_reference(f"registry.test/squashed@{made['digest']}"))
    yield at_most("kernel of a squashed toolkit, beyond file", (sent - needed) / (1 << 20), SQUASHED, "MiB",
                  detail=f"{sent / 1e6:.1f} of {len(whole) / 1e6:.1f} MB sent")


def _sandbox_toolkit(build: Path) -> Reference:
    return parse_reference(json.loads((build / "driver-toolkit.json").read_text())[0]["dtk"])


def _sent(address: str, toolkit: Reference, login: Mapping[str, Path] | None = None) -> int:
    with front(address) as server:
        registry = Registry(toolkit.host, Credentials({"HOME": "/nonexistent"}, files=login), address=server.address)
        read_toolkit(registry, toolkit, "x86_64")
        return server.sent
