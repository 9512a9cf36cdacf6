"""The catalogue from nothing: 213 releases over 60 kernels, counted by servers in front of real ones.

Each release has a release image, a toolkit and a node image of its own; the files that are wanted
sit in the last layers, as in the real ones. Pulling would cost all layers of release images and toolkits.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figure import Figure, at_most
from tests.harness.clone import Clone
from tests.harness.openshift import (
    PAYLOADS,
    REFERENCES,
    TOOLKIT_FILE,
    OpenShift,
    filler,
    image_stream,
    openshift,
)
from tests.harness.registry import release_file, tar_of

RELEASES, KERNELS, MORE = 213, 60, 10
REQUESTS, KIB = 6, 64
MINORS = ("4.16", "4.17", "4.18", "4.19", "4.20")
_IMAGES = 190  # that a release is made of
_TOOLCHAIN, _KERNEL, _MANIFESTS = 8 << 20, 1 << 19, 1 << 18  # bytes of layers that nobody needs to read


def measure(folder: Path) -> Iterator[Figure]:
    """Requests and KiB a release, from nothing; requests of a second run, and of one with ten new releases."""
    with openshift(folder) as world:
        toolchain = gzip.compress(tar_of({"usr/bin/gcc": filler(_TOOLCHAIN)}), 1, mtime=0)
        made = [_release(world, number, toolchain) for number in range(RELEASES)]
        payloads, pulls = sum(layer for layer, _ in made), len(toolchain) + sum(sum(both) for both in made)
        clone = world.clone(folder, MINORS)
        world.registry.sent = 0
        _done(world, clone, RELEASES)
        requests, sent = len(world.registry.requests), world.registry.sent
        yield at_most(f"requests a release, {RELEASES} from nothing", requests / RELEASES, REQUESTS, "")
        yield at_most(f"KiB a release besides the layer that names the toolkit, {RELEASES} from nothing",
                      (sent - payloads) / RELEASES / (1 << 10), KIB, "KiB",
                      detail=f"{sent / 1e6:.1f} MB; pulls of release images and toolkits: {pulls / 1e6:.0f} MB")
        _done(world, clone, RELEASES)
        yield at_most("requests a channel, nothing new", len(world.lists.requests) / len(MINORS), 1, "")
        yield at_most("requests to registries, nothing new", len(world.registry.requests), 0, "")
        for number in range(RELEASES, RELEASES + MORE):
            _release(world, number, toolchain)
        _done(world, clone, RELEASES + MORE)
        yield at_most(f"requests for {MORE} new releases", len(world.registry.requests), MORE * REQUESTS, "")


def _done(world: OpenShift, clone: Clone, releases: int) -> None:
    world.registry.requests.clear()
    world.lists.requests.clear()
    run = clone.doit("toolkit")
    if run.code != 0 or len(clone.catalogue()) != releases:
        raise RuntimeError(run.text[-2000:])


def _release(world: OpenShift, number: int, toolchain: bytes) -> tuple[int, int]:
    """Put a release into the registry; bytes that only its release image and its toolkit have."""
    version = f"{MINORS[number % len(MINORS)]}.{number // len(MINORS)}"
    place = number * KERNELS // RELEASES if number < RELEASES else KERNELS - 1
    kernel = f"5.14.0-{400 + place}.{place}.1.el9_4.x86_64"
    headers = gzip.compress(tar_of({"usr/src/kernels/x": filler(_KERNEL, place)}), 1, mtime=0)
    last = gzip.compress(tar_of({TOOLKIT_FILE: release_file(kernel)}), mtime=0)
    tags = {f"component-{one}": f"quay.io/a/b@sha256:{_hex(number, one)}" for one in range(_IMAGES)}
    tags |= {
        "driver-toolkit": world.push([toolchain, headers, last], labels={"release": version}),
        "rhel-coreos": world.node({"ostree.linux": kernel}, salt=version),
    }
    content = {REFERENCES: image_stream(tags, version), "release-manifests/x": filler(_MANIFESTS, number)}
    layer = gzip.compress(tar_of(content), 6, mtime=0)
    world.payloads[version, "x86_64"] = world.push([layer], repository=PAYLOADS)
    first_of_kernel = number >= RELEASES or number == 0 or place != (number - 1) * KERNELS // RELEASES
    return len(layer), len(last) + (len(headers) if first_of_kernel else 0)


def _hex(*parts: int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
