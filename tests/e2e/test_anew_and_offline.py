"""Strangers' proofs: images built anew from their provenance, and images and statements verified without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry.formats.images.simple_signing import signature_tag
from foundry.signing.new import KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.e2e.test_attestations import referrers_tag
from tests.e2e.test_image_signatures import DRIVER
from tests.harness.clone import Clone, registry_login, registry_port
from tests.harness.released import ledger


def cell_of(row: dict[str, Any]) -> str:
    return f"{DRIVER}-{row['kernel']}"


def test_a_fresh_checkout_without_the_keys_builds_the_same(copied: Clone, tmp_path: Path) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    row = ledger(copied, DRIVER)["cells"][0]
    fresh = copied.checkout(tmp_path / "fresh")
    (fresh.build / "keys" / KEY_FILE).unlink(missing_ok=True)
    run = fresh.doit(f"fetch:{DRIVER}")  # the sandbox's locks are no tracked files
    assert run.code == 0, run.text
    run = fresh.doit(f"rebuild:{cell_of(row)}")
    assert run.code == 0 and f"{row['digest']}, as published, byte for byte" in run.text, run.text
    assert len(run.compiled) == 1
    assert not list((fresh.build / "rebuild").iterdir())
    assert not (fresh.build / "keys" / KEY_FILE).exists()


def test_a_checkout_that_would_build_another_image_says_so(copied: Clone) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    row = ledger(copied, DRIVER)["cells"][0]
    script = copied.root / "container/build-module.sh"
    script.write_text(script.read_text() + "# changed\n")
    run = copied.doit(f"rebuild:{cell_of(row)}")
    assert run.code == 1 and "build script" in run.text and "changed since" in run.text, run.text
    assert run.compiled == []


def layout_of(clone: Clone, digest: str, folder: Path, *, tags: bool = True) -> Path:
    """The image, its signatures and what refers to it, as skopeo copies them."""
    place = f"docker://127.0.0.1:{registry_port(clone.services)}/{clone.repository}"
    login = ":".join(registry_login(clone.services))
    names = [f"@{digest}", *((f":{signature_tag(digest)}", f":{referrers_tag(digest)}") if tags else ())]
    for number, name in enumerate(names):
        subprocess.run(["skopeo", "copy", "--quiet", "--all", "--src-tls-verify=false", f"--src-creds={login}",
                        f"{place}{name}", f"oci:{folder}:{number}"], check=True)
    return folder


def blob_with(folder: Path, word: bytes) -> Path:
    [found] = [path for path in (folder / "blobs/sha256").iterdir()
               if path.stat().st_size < 1 << 20 and word in path.read_bytes()]
    return found


def without_referrers(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    index["manifests"] = [one for one in index["manifests"] if "index" not in one["mediaType"]]
    (folder / "index.json").write_text(json.dumps(index))


def damaged(folder: Path) -> None:
    blob_with(folder, b"cosign container image signature").write_bytes(b"{}")


@pytest.mark.parametrize("how, said", [
    (Path.exists, ""),
    (without_referrers, "it has no provenance by one of the keys"),
    (damaged, "differs from its digest"),
])
def test_a_layout(copied: Clone, tmp_path: Path, how: Callable[[Path], object], said: str) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    digest = ledger(copied, DRIVER)["cells"][0]["digest"]
    folder = layout_of(copied, digest, tmp_path / "layout")
    how(folder)
    copied.doit("sandbox:down")
    run = copied.doit("verify", f"--offline={folder}")
    assert run.code == (1 if said else 0) and said in run.text, run.text
    write_image_pair(tmp_path / "other")
    run = copied.doit("verify", f"--offline={folder}", f"--key={tmp_path / 'other' / PUBLIC_FILE}")
    assert run.code == 1 and (said or "none of the keys signed it") in run.text, run.text


def test_the_files_of_a_release(copied: Clone, tmp_path: Path) -> None:
    assert copied.doit(f"release:{DRIVER}").code == 0
    place = tmp_path / "release"
    place.mkdir()
    source = copied.build / "release" / DRIVER
    for name in ("images.json", "images.json.sigstore.json", "verify.tar.gz"):
        shutil.copy(source / name, place)
    run = copied.doit("verify", f"--offline={place}")
    assert run.code == 2 and "verify.tar.gz: unpack" in run.text
    subprocess.run(["tar", "-xf", "verify.tar.gz"], cwd=place, check=True)
    run = copied.doit("verify", f"--offline={place}", f"--key={place}/verify/image.pub")
    assert run.code == 0 and "4 files: 4 ok" in run.text, run.text
    document = json.loads((place / "images.json").read_bytes())
    del document["cells"][0]
    (place / "images.json").write_text(json.dumps(document))
    run = copied.doit("verify", f"--offline={place}")
    assert run.code == 1 and "none of the keys signed it" in run.text and "1 bad" in run.text, run.text
    bundles = place / "verify/attestations.sigstore.jsonl"
    bundles.write_bytes(b"".join(bundles.read_bytes().splitlines(keepends=True)[:-1]))
    run = copied.doit("verify", f"--offline={place}")
    assert "2 bad" in run.text and "which the ledger names, is not beside it" in run.text, run.text
