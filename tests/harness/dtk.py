"""Custom toolkits for tests that build none: an image with today's key as `doit dtk:KERNEL` would have left it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from foundry.base.files import sha256_bytes
from foundry.base.names import KEY_LABEL, OCI_ARCH
from foundry.base.records import output_facts, write_record
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.keys import FileHashes
from foundry.plan.toolkits import ToolkitKey, toolkit_key, toolkit_of
from tests.harness.clone import Clone
from tests.harness.registry import LAYER, OCI_CONFIG, OCI_MANIFEST, release_file, tar_of

BASE = "ubi9/ubi"  # at registry.access.redhat.com
_SHARED = gzip.compress(tar_of({"usr/bin/gcc": b"x" * 4096}), mtime=0)


def key_of(clone: Clone, kernel: str) -> ToolkitKey:
    """The key that a toolkit has today."""
    config = load_config(clone.root, Profile(clone.profile, "a test"))
    toolkit = toolkit_of(config, kernel)
    return toolkit_key(toolkit, config.kernels.bases[toolkit.base_name]["digest"], FileHashes(clone.root))


def left_behind(clone: Clone, kernel: str, arch: str = "x86_64", *, salt: str = "") -> str:
    """Leave a built toolkit and its record in a checkout; the image's digest."""
    key = key_of(clone, kernel)
    folder = clone.build / "dtk" / kernel
    layers = [_SHARED, gzip.compress(tar_of({"etc/driver-toolkit-release.json": release_file(kernel, salt)}), mtime=0)]
    labels = {KEY_LABEL: key.key, "driver-toolkit.compiler": "gcc (GCC) 11.4.1"}
    config = json.dumps({
        "architecture": OCI_ARCH[arch], "os": "linux", "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256_bytes(gzip.decompress(one))}" for one in layers]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": _part(config, OCI_CONFIG),
        "layers": [_part(layer, f"{LAYER}+gzip") for layer in layers],
    }).encode()
    image = folder / "image"
    for blob in (config, manifest, *layers):
        path = image / "blobs/sha256" / sha256_bytes(blob)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    (image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [_part(manifest, OCI_MANIFEST)]}))
    names = [str(path.relative_to(folder)) for path in sorted(image.rglob("*")) if path.is_file()]
    digest = f"sha256:{sha256_bytes(manifest)}"
    inputs = ("Containerfile.rpm", "rpm.sh")
    write_record(folder / "dtk.json", "dtk", {
        "kernel": kernel, "arch": arch, "recipe": "ubi", "digest": digest,
        "key": key.key, "key_inputs": dict(key.parts),
        "inputs": {f"container/driver-toolkit/{name}": _sha(clone.root / "container/driver-toolkit" / name)
                   for name in inputs},
        "outputs": output_facts(folder, names),
    })
    return digest


def ledger(clone: Clone) -> dict[str, dict[str, Any]]:
    """The rows of a checkout's ledger of toolkits, by kernel."""
    document = json.loads((clone.build / "dtk" / "ledger.json").read_text())
    return {row["kernel"]: row for row in document["toolkits"]}


def _part(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}


def _sha(path: Path) -> str:
    return sha256_bytes(path.read_bytes())
