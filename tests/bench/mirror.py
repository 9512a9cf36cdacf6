"""Mirroring one more toolkit that shares its base with one that is there: only the new blobs are sent.

Counted by a server in front of a real registry; the toolkits have the base's layer in common.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.bench.figure import Figure, at_most
from tests.harness.clone import Clone
from tests.harness.front import Front, front
from tests.harness.registry import OCI_MANIFEST, Pusher, real_registry

SOURCE, MIRROR, REPOSITORY = "source.bench", "mirror.bench", "driver-toolkit"
RELEASES = ("4.16.30", "4.16.31")
_BASE, _OWN = 24 << 20, 3 << 20  # bytes of layers
_KERNEL = "5.14.0-427.{}.1.el9_4.x86_64"


def measure(folder: Path) -> Iterator[Figure]:
    """Bytes of blobs sent for one more toolkit, by those of its new blobs; requests of a run with nothing new."""
    with real_registry(folder / "source") as source, real_registry(folder / "mirror") as mine, \
            front(mine) as server:
        pusher, base = Pusher(source, REPOSITORY), os.urandom(_BASE)
        images = [pusher.image([base, os.urandom(_OWN)])["digest"] for _ in RELEASES]
        clone = _clone(folder / "clone", source, server)
        _synced(clone, images[:1])
        server.requests.clear()
        before = server.taken
        _synced(clone, images)
        manifest = requests.get(f"http://{source}/v2/{REPOSITORY}/manifests/{images[1]}", timeout=30,
                                headers={"Accept": OCI_MANIFEST})
        document: dict[str, Any] = manifest.json()
        new = document["config"]["size"] + document["layers"][1]["size"]
        sent = server.taken - before - len(manifest.content)
        yield at_most("bytes sent by those of new blobs", sent / new, 1,
                      detail=f"{sent / 1e6:.1f} MB of {(new + _BASE) / 1e6:.1f} MB")
        server.requests.clear()
        _synced(clone, images)
        yield at_most("requests a tag, nothing to mirror", len(server.requests) / len(RELEASES), 1, "")


def _clone(folder: Path, source: str, server: Front) -> Clone:
    clone = Clone(folder, folder / "no-services")
    clone.profile = "local"
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    clone.write("config/profiles/local.yaml", "\n".join([
        "image_repository: localhost/neuron-driver", "mirror:", f"  registry: {MIRROR}", "  repository: mine/toolkit",
        "addresses:", f"  {SOURCE}: '{source}'", f"  {MIRROR}: '{server.address}'", "",
    ]))
    return clone


def _synced(clone: Clone, images: list[str]) -> None:
    clone.write("driver-toolkit/driver-toolkit.json", [
        {"version": version, "arch": "x86_64", "dtk": f"{SOURCE}/{REPOSITORY}@{digest}",
         "kernel": _KERNEL.format(number)}
        for number, (version, digest) in enumerate(zip(RELEASES, images, strict=False))
    ])
    run = clone.doit("sync")
    if run.code != 0:
        raise RuntimeError(run.text[-2000:])
