"""Modules are signed between compile and image: by whom is in the image; another key signs anew, compiles nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from foundry.formats.modules.signature import split
from tests.harness.clone import Clone
from tests.harness.images import Contents, image_of
from tests.harness.refusal import failures

DRIVER = "2.22.2.0"


def openssl_takes(module: bytes, certificate: Path, folder: Path) -> bool:
    """Whether OpenSSL finds the module signed by the certificate's key."""
    content, message = split(module)
    assert message is not None
    (folder / "content").write_bytes(content)
    (folder / "message").write_bytes(message)
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "message", "-content",
         folder / "content", "-certfile", certificate, "-noverify", "-out", "/dev/null"], check=False)
    return done.returncode == 0


def image(clone: Clone, cell: str) -> Contents:
    return image_of(clone.cell(cell) / "image.oci.tar")


def test_images_have_signed_modules(built: Clone, kernels: list[str], tmp_path: Path) -> None:
    certificate = built.build / "keys/signing.crt"
    der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], capture_output=True, check=True
                         ).stdout
    for kernel in kernels:
        cell = f"{DRIVER}-{kernel}"
        contents, record = image(built, cell), built.record(cell, "sign")
        module = contents.files[f"opt/lib/modules/{kernel}/neuron.ko"].content
        assert openssl_takes(module, certificate, tmp_path)
        assert split(module)[0] == (built.cell(cell) / "neuron.ko").read_bytes(), "nothing but the signature is new"
        assert contents.files["licenses/module-signing.der"].content == der
        fingerprint = hashlib.sha256(der).hexdigest()
        said = {name: contents.labels[f"kmod-foundry.{name}"] for name in ("signer", "certificate", "signature-hash")}
        assert said == {"signer": "kmod-foundry sandbox", "certificate": fingerprint, "signature-hash": "sha256"}
        assert (record["certificate"], record["hash"]) == (fingerprint, "sha256")


def test_another_key_signs_anew_and_compiles_nothing(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    before = {kernel: copied.record(f"{DRIVER}-{kernel}", "image")["digest"] for kernel in kernels}
    made = copied.doit("signing:new", "--name", "another", "--out", "elsewhere")
    assert made.code == 0, made.text
    copied.edit("config/profiles/sandbox.yaml", "build/sandbox/keys/signing.", "elsewhere/signing.")
    planned = copied.doit("plan", f"build:{DRIVER}")
    assert f"sign {len(kernels)}, image {len(kernels)}" in planned.out, planned.out
    assert "the signing certificate: " in planned.out
    run = copied.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled, run.imaged) == (0, [], len(kernels)), run.text
    for kernel in kernels:
        cell = f"{DRIVER}-{kernel}"
        assert copied.record(cell, "image")["digest"] != before[kernel]
        module = image(copied, cell).files[f"opt/lib/modules/{kernel}/neuron.ko"].content
        assert openssl_takes(module, copied.root / "elsewhere/signing.crt", tmp_path)
    assert copied.doit(f"build:{DRIVER}").processes == []
    # Back to the first: the same inputs give the same images.
    copied.edit("config/profiles/sandbox.yaml", "elsewhere/signing.", "build/sandbox/keys/signing.")
    assert copied.doit(f"build:{DRIVER}").compiled == []
    assert {kernel: copied.record(f"{DRIVER}-{kernel}", "image")["digest"] for kernel in kernels} == before


def test_the_private_key_shows_nowhere(copied: Clone, kernels: list[str]) -> None:
    """It comes from the environment, as a secret in CI does; no record, log, image or command has it."""
    key = (copied.build / "keys/signing.key").read_text()
    copied.edit("config/profiles/sandbox.yaml", "key: build/sandbox/keys/signing.key", "key: env:MODULE_KEY")
    cell = f"{DRIVER}-{kernels[0]}"
    (copied.cell(cell) / "neuron.ko").unlink()
    (copied.cell(cell) / "sign.json").unlink()
    lacking = copied.doit(f"build:{DRIVER}")
    assert lacking.code == 3, lacking.text
    assert "the variable MODULE_KEY, which holds the key to sign modules, is not set" in lacking.text
    (copied.build / "keys/signing.key").unlink()
    (copied.cell(cell) / "module.json").unlink()
    run = copied.doit(f"build:{DRIVER}", MODULE_KEY=key)
    assert (run.code, run.compiled) == (0, [kernels[0]]), run.text
    words = [line for line in key.splitlines() if line and "-----" not in line]
    told = run.text + str(run.processes)
    kept = b"".join(path.read_bytes() for path in copied.build.rglob("*") if path.is_file() and path.suffix != ".tar")
    assert words and not any(word in told or word.encode() in kept for word in words)


def shimmed(folder: Path, names: Iterable[str], before: str) -> str:
    """A PATH on which programs are found that do something before the real ones."""
    place = folder / "bin"
    place.mkdir()
    for name in names:
        if (real := shutil.which(name)) is not None:
            (place / name).write_text(f'#!/bin/sh\n{before}\nexec {real} "$@"\n')
            (place / name).chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def test_no_command_gets_the_secrets(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """What a compile, an image and a boot start is looked at from inside: the environment that it really has."""
    key = (copied.build / "keys/signing.key").read_text()
    (copied.build / "keys/signing.key").unlink()
    copied.edit("config/profiles/sandbox.yaml", "key: build/sandbox/keys/signing.key", "key: env:MODULE_KEY")
    copied.prove("required")
    cell = f"{DRIVER}-{kernels[0]}"
    (copied.cell(cell) / "module.json").unlink()
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    names = ("podman", "qemu-system-x86_64", "git", "gpgv", "gpg", "modinfo", "unshare")
    run = copied.doit(f"boot:{cell}", MODULE_KEY=key, KMOD_SIGNING_PASSPHRASE="a-passphrase", CANARY="canary",
                      PATH=shimmed(tmp_path, names, f"env > {dumps}/$(basename $0).$$"))
    assert (run.code, run.compiled, run.imaged, run.booted) == (0, [kernels[0]], 1, 1), run.text
    assert {argv[0] for argv in run.processes} <= {*names, sys.executable}, "whatever is started is looked at"
    seen = {path: path.read_text() for path in dumps.iterdir()}
    assert {path.name.partition(".")[0] for path in seen} >= {"podman", "qemu-system-x86_64"}
    words = [line for line in key.splitlines() if line and "-----" not in line]
    for text in seen.values():
        assert "CANARY=canary" in text, "else this would prove nothing"
        assert not [word for word in ("MODULE_KEY", "KMOD_SIGNING", "a-passphrase", *words) if word in text]


def test_a_certificate_that_vanishes_meanwhile(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """What is to be signed is not made without a signature instead."""
    cell = f"{DRIVER}-{kernels[0]}"
    for path in ("module.json", "sign.json", "image.json", "image.oci.tar"):
        (copied.cell(cell) / path).unlink()
    path = shimmed(tmp_path, ["podman"], f"rm -f {copied.build}/keys/signing.crt")
    run = copied.doit(f"image:{cell}", PATH=path)
    assert run.code == 1 and not (copied.cell(cell) / "image.json").exists(), run.text
    sentence = failures(run)[f"module:{cell}"].sentence
    assert sentence == f"{cell} can't be built: the certificate that modules are signed for is not there yet"
    refused = copied.doit(f"image:{cell}")
    assert refused.code == 2 and "keys/signing.crt is not there yet" in refused.text, refused.text


def test_a_certificate_that_is_replaced_meanwhile(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """No module is signed with the one and said to be signed with the other; another run mends it."""
    copied.doit("signing:new", "--name", "another", "--out", "elsewhere")
    cells = [f"{DRIVER}-{kernel}" for kernel in kernels[:2]]
    for cell in cells:
        for path in ("sign.json", "image.json"):
            (copied.cell(cell) / path).unlink()
    replace = f'[ "$1" != build ] || cp {copied.root}/elsewhere/signing.??? {copied.build}/keys'
    tasks = [f"image:{cell}" for cell in cells]
    run = copied.doit("run", "-n", "1", *tasks, PATH=shimmed(tmp_path, ["podman"], replace))
    assert run.code == 1, run.text
    sentence = failures(run)[f"sign:{cells[1]}"].sentence
    assert sentence == "the certificate 'kmod-foundry sandbox' was replaced while this run was at work"
    assert not (copied.cell(cells[1]) / "sign.json").exists()
    assert copied.doit(*tasks).code == 0
    for cell in cells:
        said = copied.record(cell, "sign")
        assert said["certificate"] == image(copied, cell).labels["kmod-foundry.certificate"]
        assert said["key_inputs"]["certificate"] == said["certificate"]


def test_a_key_of_another_certificate(copied: Clone, kernels: list[str]) -> None:
    copied.doit("signing:new", "--name", "another", "--out", "elsewhere")
    copied.edit("config/profiles/sandbox.yaml", "key: build/sandbox/keys/signing.key", "key: elsewhere/signing.key")
    (copied.cell(f"{DRIVER}-{kernels[0]}") / "sign.json").unlink()
    run = copied.doit(f"build:{DRIVER}")
    assert run.code == 1, run.text
    assert "error: the key elsewhere/signing.key" in run.err and "certificate" in run.err
    assert run.processes == [], "nothing is begun"


@pytest.mark.parametrize("left", ["key", "nothing"])
def test_profiles_without_a_key(copied: Clone, kernels: list[str], left: str) -> None:
    """Their modules are as they were compiled; nothing says that they are signed."""
    line = "signing: {key: build/sandbox/keys/signing.key, certificate: build/sandbox/keys/signing.crt}\n"
    copied.edit("config/profiles/sandbox.yaml", line, "" if left == "nothing" else (
        'signing: {key: "", certificate: build/sandbox/keys/signing.crt}\n'))
    run = copied.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (0, []), run.text
    contents = image(copied, f"{DRIVER}-{kernels[0]}")
    module = contents.files[f"opt/lib/modules/{kernels[0]}/neuron.ko"].content
    assert split(module)[1] is None
    assert not [name for name in contents.labels if "sign" in name]
    assert "licenses/module-signing.der" not in contents.files
    refused = copied.doit("sign")
    assert refused.code == 2 and "$.signing.key: names no key to sign modules with" in refused.text
