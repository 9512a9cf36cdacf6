"""Signing and attesting 60 images, counted by a server in front of a real registry; and verifying them offline.

Each has what an image really has: a module of 500 kB, depmod's files, a base; statements of 4 to 12 kB.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from foundry.attest import provenance, sbom
from foundry.attest.statements import KINDS
from foundry.base.files import canonical_json, sha256_bytes, write_atomic
from foundry.base.names import KEY_LABEL
from foundry.base.schema import ValidationCache
from foundry.cell.published import files_of
from foundry.config.family import Family
from foundry.formats.attestations.bundle import Statement
from foundry.formats.images.layout import blob_file
from foundry.formats.images.simple_signing import signature_tag
from foundry.ledger.attest import attest
from foundry.ledger.offline import verify_folder
from foundry.plan.cells import Cell
from foundry.registry.push import Content, Writer
from foundry.registry.referrers import fallback_tag
from foundry.signing.image_key import open_image_signer, read_public_keys
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.bench.figure import Figure, at_most, yes
from tests.harness.front import front
from tests.harness.registry import OCI_CONFIG, OCI_MANIFEST, real_registry, tar_of
from tests.integration.pushing import writer

IMAGES, THREADS = 60, 4
SECONDS, REQUESTS, OFFLINE = 1.5, 24, 20.0  # docs/decisions/0026 says why not 8 requests


def measure(folder: Path) -> Iterator[Figure]:
    """Seconds and requests that signing and attesting add to an image, twice; seconds to verify all offline."""
    write_image_pair(folder / "keys")
    keys = read_public_keys([PUBLIC_FILE], folder / "keys")
    signer = open_image_signer(IMAGE_KEY_FILE, keys[0], {}, folder / "keys")
    with real_registry(folder / "registry", {}) as address, front(address) as server:
        ours = writer(server)
        made = [_image(number) for number in range(IMAGES)]
        for cell, content in made:
            ours.push(content, cell.tag)
        said = {cell.tag: _said(cell, content) for cell, content in made}

        def sign(job: tuple[Cell, Content]) -> None:
            cell, content = job
            attest(ours, cell, content, said[cell.tag], signer, folder / "cells" / cell.tag)

        for again in (False, True):
            server.requests.clear()
            started = time.monotonic()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(sign, made))
            seconds, asked = time.monotonic() - started, server.requests
            if again:
                written = [path for method, path, _ in asked if method in ("PUT", "POST")]
                yield yes("attesting again writes nothing", not written, f"{len(asked) / IMAGES:.1f} requests an image")
            else:
                yield at_most("signing and attesting, an image", seconds / IMAGES, SECONDS, "s")
                yield at_most("requests of it", len(asked) / IMAGES, REQUESTS, "")
        _layout(folder / "layout", ours, made)
    started = time.monotonic()
    verdicts = list(verify_folder(folder / "layout", keys, ValidationCache(folder, folder)))
    seconds = time.monotonic() - started
    good = len(verdicts) == IMAGES and not any(verdict.faults for verdict in verdicts)
    yield at_most(f"verifying {IMAGES} images offline", seconds, OFFLINE, "s") if good else yes(
        "all are verified", good, str([verdict for verdict in verdicts if verdict.faults][:1]))


def _image(number: int) -> tuple[Cell, Content]:
    kernel = f"5.14.0-{number}.el9.x86_64"
    cell = Cell("2.22.2.0", cast("Family", None), kernel, "x86_64", ("4.18.15",), f"a/b@sha256:{'0' * 64}")
    folder = f"opt/lib/modules/{kernel}"
    layers = [gzip.compress(tar_of(files), 6, mtime=0) for files in (
        {"bin/busybox": b"busybox" * 150_000},
        {f"{folder}/neuron.ko": os.urandom(500_000), **{f"{folder}/modules.{n}": os.urandom(500) for n in range(12)}})]
    config = canonical_json({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {KEY_LABEL: sha256_bytes(kernel.encode())}},
        "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer)) for layer in layers]}})
    manifest = canonical_json({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": _digest(layer),
                    "size": len(layer)} for layer in layers]})
    return cell, Content(manifest, OCI_MANIFEST, _digest(manifest), {_digest(data): data for data in (config, *layers)})


def _said(cell: Cell, content: Content) -> dict[str, bytes]:
    part = sbom.Part("neuron", cell.driver, "GPL-2.0-only", {"https://example.com/a.rpm": ""}, "rpm")
    image = sbom.Image("kmod", cell.tag, content.digest, "2026-01-02T03:04:05Z", files_of(content))
    key = sha256_bytes(cell.kernel.encode())
    predicates: Mapping[str, Mapping[str, object]] = {
        "provenance": {"buildDefinition": {"buildType": provenance.BUILD_TYPE, "internalParameters": {
            "key": key, "labels": {KEY_LABEL: key}, "more": "x" * 4000}}},
        "sbom": sbom.predicate(image, part, None),
        "test-result": {"result": "PASSED", "passedTests": [f"test {number}" for number in range(30)]},
    }
    return {name: Statement(content.digest, KINDS[name], one, cell.tag).to_bytes() for name, one in predicates.items()}


def _layout(place: Path, source: Writer, made: list[tuple[Cell, Content]]) -> None:
    """An OCI layout of the images and all that lies beside them."""
    entries: list[dict[str, object]] = []

    def take(reference: str) -> None:
        found = source.registry.manifest(source.repository, reference)
        keep(found.data)
        document = json.loads(found.data)
        for entry in document.get("manifests", ()):
            take(entry["digest"])
        for part in (*document.get("layers", ()), *([document["config"]] if "config" in document else [])):
            keep(source.registry.blob(source.repository, part["digest"], part["size"]))
        entries.append({"mediaType": found.media_type, "digest": found.digest, "size": len(found.data)})

    def keep(data: bytes) -> None:
        write_atomic(place / blob_file(_digest(data)), data)

    for _, content in made:
        for reference in (content.digest, signature_tag(content.digest), fallback_tag(content.digest)):
            take(reference)
    write_atomic(place / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    write_atomic(place / "index.json", canonical_json({"schemaVersion": 2, "manifests": entries}))


def _digest(data: bytes) -> str:
    return f"sha256:{sha256_bytes(data)}"
