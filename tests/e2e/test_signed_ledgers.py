"""Ledgers are signed: who can write them can neither change rows nor leave some out."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry.formats.attestations.bundle import BUNDLE_TYPE, make_file_bundle
from foundry.signing.image_key import open_image_signer, read_public_keys
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.e2e.test_attestations import get, put_blob
from tests.e2e.test_image_signatures import DRIVER, put
from tests.harness import witness
from tests.harness.clone import Clone
from tests.harness.released import images, ledger

TAG = f"ledger-{DRIVER}"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
KEYS = "image_signing: {{key: {key}, public_keys: [{folder}/{public}]}}"


def layer(clone: Clone, kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": put_blob(clone, data), "size": len(data),
            "data": base64.b64encode(data).decode()}


def without_a_row(clone: Clone) -> bytes:
    """The ledger with its first row left out, as somebody would write it."""
    document = json.loads((clone.build / "release" / DRIVER / "images.json").read_bytes())
    del document["cells"][0]
    return json.dumps(document, indent=2).encode()


def unsigned(clone: Clone, data: bytes, folder: Path) -> list[bytes]:
    return [data]


def with_the_old_signature(clone: Clone, data: bytes, folder: Path) -> list[bytes]:
    manifest = json.loads(get(clone, f"manifests/{TAG}"))
    return [data, base64.b64decode(manifest["layers"][1]["data"])]


def by_another_key(clone: Clone, data: bytes, folder: Path) -> list[bytes]:
    write_image_pair(folder)
    [public] = read_public_keys([PUBLIC_FILE], folder)
    signer = open_image_signer(IMAGE_KEY_FILE, public, {}, folder)
    return [data, make_file_bundle(data, signer.sign, public.fingerprint)]


@pytest.mark.parametrize("forge", [unsigned, with_the_old_signature, by_another_key])
def test_a_changed_ledger_is_refused(
    copied: Clone, tmp_path: Path, forge: Callable[[Clone, bytes, Path], list[bytes]]
) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    manifest = json.loads(get(copied, f"manifests/{TAG}"))
    assert [one["mediaType"] for one in manifest["layers"]][1:] == [BUNDLE_TYPE]
    kinds = [manifest["layers"][0]["mediaType"], BUNDLE_TYPE]
    parts = forge(copied, without_a_row(copied), tmp_path / "other")
    manifest["layers"] = [layer(copied, kind, data) for kind, data in zip(kinds, parts, strict=False)]
    put(copied, TAG, json.dumps(manifest).encode(), MANIFEST)
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit(f"publish:{DRIVER}")
    assert run.code == 1 and f"{TAG} is not signed by a key of" in run.text and "Traceback" not in run.text, run.text
    assert run.compiled == []
    # nor is it merged into what is known, nor written over
    (copied.build / "release" / DRIVER / "stored.json").unlink()
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 1 and "is not signed by a key of" in run.text, run.text
    assert json.loads(get(copied, f"manifests/{TAG}")) == manifest


def test_cosign_reads_the_signature(copied: Clone, tmp_path: Path) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    manifest = json.loads(get(copied, f"manifests/{TAG}"))
    data, bundle = (base64.b64decode(one["data"]) for one in manifest["layers"])
    folder = copied.build / "release" / DRIVER
    assert (folder / "images.json").read_bytes() == data
    assert (folder / "images.json.sigstore.json").read_bytes() == bundle
    (tmp_path / "root.json").write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    (tmp_path / "bundle").write_bytes(bundle)
    for content, good in ((data, True), (data + b"\n", False)):
        (tmp_path / "ledger").write_bytes(content)
        done = witness.run("cosign", "verify-blob", "--new-bundle-format", "--insecure-ignore-tlog=true",
                           f"--trusted-root={tmp_path / 'root.json'}", "--key", copied.build / "keys" / PUBLIC_FILE,
                           "--bundle", tmp_path / "bundle", tmp_path / "ledger")
        assert (done.returncode == 0) == good, done.stderr


def test_beginning_to_sign(copied: Clone, tmp_path: Path) -> None:
    """The checkout that wrote an unsigned ledger goes on from it; another one refuses it until then."""
    folder = f"build/{copied.build.name}/keys"
    signs = KEYS.format(key=f"{folder}/{IMAGE_KEY_FILE}", folder=folder, public=PUBLIC_FILE)
    copied.edit("config/profiles/sandbox.yaml", signs, 'image_signing: {key: "", public_keys: []}')
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0 and not any("image_signer" in row for row in ledger(copied, DRIVER)["cells"]), run.text
    copied.edit("config/profiles/sandbox.yaml", 'image_signing: {key: "", public_keys: []}', signs)
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit(f"publish:{DRIVER}")
    assert run.code == 1 and "is not signed by a key of" in run.text and "Beginning to sign" in run.text, run.text
    before = images(copied)
    run = copied.doit(f"publish:{DRIVER}")
    assert (run.code, run.compiled, run.imaged) == (0, [], 0), run.text
    assert images(copied) == before
    rows = ledger(copied, DRIVER)["cells"]
    assert all(row["image_signer"] and {*row["attestations"]} == {"provenance", "sbom", "test-result"} for row in rows)
    assert fresh.doit(f"publish:{DRIVER}").code == 0
    assert copied.doit("verify", DRIVER).code == 0


def test_public_keys_alone_publish_nothing(copied: Clone) -> None:
    folder = f"build/{copied.build.name}/keys"
    copied.edit("config/profiles/sandbox.yaml",
                KEYS.format(key=f"{folder}/{IMAGE_KEY_FILE}", folder=folder, public=PUBLIC_FILE),
                KEYS.format(key='""', folder=folder, public=PUBLIC_FILE))
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code != 0 and "`image_signing.key` names no key" in run.text and "Traceback" not in run.text, run.text
    assert images(copied) == {} and run.compiled == []
