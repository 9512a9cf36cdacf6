"""Publishing 60 cells of one driver, counted by a server in front of a real registry that wants a log-in.

Layers that all images share are sent once. With a warm state nothing is asked; a
fresh checkout asks at most 4 times for a driver, and twice for each row, to prove it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundry.base.files import canonical_json, pretty_json
from foundry.base.names import KEY_LABEL
from foundry.base.records import output_facts
from foundry.formats.images.oci import Image, write_archive
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import fill, synthetic_clone
from tests.harness.clone import Clone
from tests.harness.front import Front, front
from tests.harness.registry import LAYER, OCI_CONFIG, OCI_MANIFEST, real_registry, tar_of, token_issuer

DRIVER, CELLS = "2.22.2.0", 60
HOST, REPOSITORY = "registry.bench", "kmod"
FRESH_REQUESTS = 4 + 2 * CELLS
_SHARED = 2  # layers: base and licences


def measure(folder: Path) -> Iterator[Figure]:
    """Uploads of shared layers, connections of a warm run, requests of a fresh checkout."""
    shared = [_layer({"bin/busybox": os.urandom(1 << 20)}), _layer({"licenses/GPL-2.0.txt": b"text" * 4000})]
    with token_issuer(folder / "issuer", anonymous=(REPOSITORY,)) as issuer, \
            real_registry(folder / "registry", issuer.setting()) as address, front(address) as server:
        clone = _clone(folder / "clone", server)
        if fill(clone) != CELLS:
            raise RuntimeError("another number of cells")
        for record in sorted(clone.root.glob("build/local/cells/*/image.json")):
            _real_image(record, shared)
        _published(clone)
        common = {hashlib.sha256(layer).hexdigest() for layer in shared}
        uploads = sum(
            method == "PUT" and any(digest in path for digest in common) for method, path, _ in server.requests)
        yield at_most(f"uploads of {_SHARED} layers that {CELLS} images share", uploads, _SHARED, "")
        warm = _published(clone)
        yield at_most("connections of a warm run", len(warm), 0, "")
        fresh = _clone(folder / "fresh", server)
        before = len(server.requests) + len(issuer.asked)
        _published(fresh)
        requests = len(server.requests) + len(issuer.asked) - before
        yield at_most(f"requests of a fresh checkout, {CELLS} cells", requests, FRESH_REQUESTS, "")


def _published(clone: Clone) -> list[str]:
    """The connections of ``doit publish``, which must end with all cells published and compile nothing."""
    run = clone.doit("publish")
    states = json.loads(clone.doit("status", "--json").out)
    if run.code != 0 or run.compiled or {row["state"] for row in states} != {"published"}:
        raise RuntimeError(run.text[-2000:])
    return run.connections


def _clone(folder: Path, server: Front) -> Clone:
    clone = synthetic_clone(folder, [DRIVER], releases=CELLS, kernels=CELLS)
    clone.write("config/profiles/local.yaml", "\n".join([
        "image_repository: localhost/neuron-driver", "publish:", f"  - registry: {HOST}",
        f"    repository: {REPOSITORY}", "addresses:", f"  {HOST}: '{server.address}'", "",
    ]))
    return clone


def _layer(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar_of(files), 6, mtime=0)


def _real_image(path: Path, shared: list[bytes]) -> None:
    """Put a real image in place of the made-up one of a cell, with a layer of its own on top of the shared ones."""
    record: dict[str, Any] = json.loads(path.read_text())
    layers = [*shared, _layer({f"opt/lib/modules/{record['kernel']}/neuron.ko": record["key"].encode()})]
    blobs = {_digest(layer): layer for layer in layers}
    config = canonical_json({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {KEY_LABEL: record["key"]}},
        "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer)) for layer in layers]},
    })
    manifest = canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": f"{LAYER}+gzip", "digest": _digest(x), "size": len(x)} for x in layers],
    })
    blobs |= {_digest(config): config, _digest(manifest): manifest}
    made = Image(_digest(manifest), _digest(config), (), tuple(_digest(layer) for layer in layers), {}, "amd64", 0,
                 blobs, OCI_MANIFEST)
    write_archive(made, path.parent / "image.oci.tar", f"localhost/x:{record['tag']}", 0)
    record |= {"digest": made.digest, "config_digest": made.config_digest,
               "outputs": output_facts(path.parent, ["image.oci.tar"])}
    path.write_bytes(pretty_json(record))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
