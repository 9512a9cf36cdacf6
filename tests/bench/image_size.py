"""Image: compressed size at most 1.2 x (base + stripped module + licences).

Compared is what a registry stores of the image (manifest, config, compressed
layers) with its necessary parts, each compressed alone: the base's layers as
tars, the module as the cell has it, every licence file; gzip level 6, which is
what podman compresses layers with.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from foundry.formats.images.oci import Image, read_archive
from foundry.podman.engine import Engine
from tests.bench.figure import Figure, at_most
from tests.bench.parts import DRIVER, base, clone_for, done, images_present, kernels, sandbox

LIMIT = 1.2
_GZIP_MAGIC = b"\x1f\x8b"


def measure(folder: Path) -> Iterator[Figure]:
    """Size of the image of one cell, in sizes of its parts."""
    with sandbox(folder) as services, images_present(folder, services) as engine:
        kernel, release = next(iter(kernels(services).items()))
        clone = clone_for(folder / "clone", services, [release])
        done(clone.doit(f"build:{DRIVER}"))
        made = read_archive(clone.cell(f"{DRIVER}-{kernel}") / "image.oci.tar")
        layers = _base_layers(made, engine, base(clone))
    module = _compressed([(clone.cell(f"{DRIVER}-{kernel}") / "neuron.ko").read_bytes()])
    licences = _compressed(path.read_bytes() for path in (clone.root / "container" / "licenses").iterdir())
    parts = _compressed(layers) + module + licences
    yield at_most(
        "image / (base + module + licences)", made.size / parts, LIMIT,
        detail=f"{made.size / 1e6:.3f} MB, {parts / 1e6:.3f} MB",
    )


def _base_layers(made: Image, engine: Engine, reference: str) -> list[bytes]:
    """The image's first layers, which must be those of the base, uncompressed."""
    shown = engine.call("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference).stdout
    diff_ids = tuple(json.loads(shown))
    if made.diff_ids[:len(diff_ids)] != diff_ids:
        raise RuntimeError(f"the image does not begin with the layers of {reference}")
    blobs = [made.blobs[layer] for layer in made.layers[:len(diff_ids)]]
    return [gzip.decompress(blob) if blob.startswith(_GZIP_MAGIC) else blob for blob in blobs]


def _compressed(contents: Iterable[bytes]) -> int:
    return sum(len(gzip.compress(content, 6, mtime=0)) for content in contents)
