"""A second toolkit on the same base: only its own layers are built and pushed; the sizes of all layers are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure, at_most, yes
from tests.bench.parts import clone_for, done, kernels, sandbox
from tests.harness.clone import Clone
from tests.harness.store import cold_store

_OWN = 2  # layers: the kernel, and the file that names it
_MORE = 1.01  # the configuration goes out, too


def measure(folder: Path) -> Iterator[Figure]:
    """Bytes pushed for the second toolkit by those of its own layers; its own layers; whether tools were made twice."""
    with sandbox(folder) as services, cold_store(folder / "store") as store:
        clone = clone_for(folder / "clone", services, ["4.16"])
        clone.extra = store
        first, second = list(kernels(services))[:2]
        before, after = _made(clone, first), _made(clone, second)
        shared = {layer["digest"] for layer in before["layers"]}
        own = [layer["size"] for layer in after["layers"] if layer["digest"] not in shared]
        whole = sum(layer["size"] for layer in after["layers"])
        yield at_most("2nd toolkit: bytes sent by own layers'", after["sent"] / sum(own), _MORE,
                      detail=f"{after['sent'] / 1e6:.1f} MB of {whole / 1e6:.1f} MB")
        yield at_most("2nd toolkit: layers of its own", len(own), _OWN, "", _sizes(after))
        log = (clone.build / "dtk" / second / "build.log").read_text(encoding="utf-8")
        tools = log.partition("--target=kernel")[0]
        yield yes("2nd toolkit: tools not built again", "apt-get" not in tools and "Using cache" in tools)


def _made(clone: Clone, kernel: str) -> dict[str, Any]:
    """Build and publish a toolkit; its record, with the bytes that went out as `sent`."""
    done(clone.doit(f"dtk:publish:{kernel}"))
    folder = clone.build / "dtk" / kernel
    record: dict[str, Any] = json.loads((folder / "dtk.json").read_text(encoding="utf-8"))
    sent = (folder / "push.log").read_text(encoding="utf-8").rpartition(" blobs, ")[2]
    return {**record, "sent": int(sent.partition(" ")[0])}


def _sizes(record: dict[str, Any]) -> str:
    return "layers, lowest first: " + ", ".join(f"{layer['size'] / 1e6:.2f}" for layer in record["layers"]) + " MB"
