"""Keys that images are signed with: what they sign, what is refused; and what a registry's signatures are worth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.simple_signing import (
    Signature,
    digest_in,
    is_attached,
    payload,
    signature_tag,
    signatures_manifest,
)
from foundry.signing.image_key import PublicKey, open_image_signer, read_public_keys
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.harness.signing import make_pair, openssl
from tests.unit.signing.test_keys import LIBRARY, PIN

DIGEST = f"sha256:{'ab' * 32}"


def public_in(folder: Path) -> PublicKey:
    [public] = read_public_keys([PUBLIC_FILE], folder)
    return public


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write_image_pair(tmp_path / "pair")
    return tmp_path / "pair"


def test_openssl_takes_what_is_signed_and_it_is_the_same_each_time(pair: Path) -> None:
    signer = open_image_signer(IMAGE_KEY_FILE, public_in(pair), {}, pair)
    content = payload(DIGEST, "registry.example.com/a:b")
    assert signer.sign(content) == signer.sign(content) and signer.warnings == ()
    (pair / "content").write_bytes(content)
    (pair / "signature").write_bytes(signer.sign(content))
    openssl("dgst", "-sha256", "-verify", pair / PUBLIC_FILE, "-signature", pair / "signature", pair / "content")
    assert signer.public.verifies(signer.sign(content), content)
    assert not signer.public.verifies(signer.sign(content), content + b" ")
    assert not signer.public.verifies(b"", content) and not signer.public.verifies(b"0" * 70, content)
    (pair / IMAGE_KEY_FILE).chmod(0o644)
    assert "chmod 600" in open_image_signer(IMAGE_KEY_FILE, public_in(pair), {}, pair).warnings[0]


def test_keys_that_are_none(pair: Path, tmp_path: Path) -> None:
    public = public_in(pair)

    def reason(key: str, **environ: str) -> Reason:
        with pytest.raises(FoundryError) as caught:
            open_image_signer(key, public, environ, pair)
        assert caught.value.hint and "image" in caught.value.hint + caught.value.message
        return caught.value.reason

    rsa = make_pair(tmp_path / "rsa")
    write_image_pair(tmp_path / "other")
    openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", tmp_path / "p384")
    write_image_pair(tmp_path / "locked", "a passphrase")
    assert reason(str(rsa.key)) == reason(str(tmp_path / "p384")) == Reason.SIGNING_KEY_UNREADABLE
    assert reason(str(pair / PUBLIC_FILE)) == Reason.SIGNING_KEY_UNREADABLE
    assert reason(str(tmp_path / "other" / IMAGE_KEY_FILE)) == Reason.SIGNING_KEY_MISMATCH
    assert reason("nothing") == reason("env:NOTHING") == Reason.SIGNING_KEY_MISSING
    locked = str(tmp_path / "locked" / IMAGE_KEY_FILE)
    assert reason(locked) == reason(locked, KMOD_IMAGE_SIGNING_PASSPHRASE="no") == Reason.SIGNING_KEY_LOCKED
    opened = public_in(tmp_path / "locked")
    secrets = {"KMOD_IMAGE_SIGNING_PASSPHRASE": "a passphrase"}
    assert open_image_signer(locked, opened, secrets, pair).public == opened
    pem = (pair / IMAGE_KEY_FILE).read_text()
    assert open_image_signer("env:A", public, {"A": pem.replace("\n", "\\n")}, pair).public == public


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n",
                                     b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_public_keys_that_are_none(content: bytes, pair: Path) -> None:
    (pair / PUBLIC_FILE).write_bytes(content)
    with pytest.raises(FoundryError) as caught:
        public_in(pair)
    assert caught.value.reason == Reason.SIGNING_KEY_UNREADABLE and PUBLIC_FILE in caught.value.message


def test_a_token(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    program = f"""
import sys
from pathlib import Path
from foundry.signing.image_key import open_image_signer, read_public_keys
folder = Path({str(pair)!r})
[public] = read_public_keys([{PUBLIC_FILE!r}], folder)
signer = open_image_signer("pkcs11:token=images;object=one?module-path={LIBRARY}", public,
                           {{"KMOD_IMAGE_SIGNING_PASSPHRASE": {PIN!r}}}, folder)
assert public.verifies(signer.sign(b"content"), b"content")
"""
    environment = {**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm2.conf")}  # the library is loaded once a process
    for words in (("--init-token", "--free", "--label", "images", "--so-pin", "so-pin-0"),
                  ("--import", pair / IMAGE_KEY_FILE, "--token", "images", "--label", "one", "--id", "01")):
        subprocess.run(["softhsm2-util", *words, "--pin", PIN], check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_payloads_and_tags() -> None:
    assert digest_in(payload(DIGEST, "a/b:c")) == DIGEST
    for other in (b"", b"[]", b"{}", b'{"critical": 1}', b'{"critical": {"type": "x", "image": {}}}', b"\xff"):
        assert digest_in(other) == ""
    assert is_attached(signature_tag(DIGEST))
    assert not is_attached("sha256-1.sig") and not is_attached(f"{signature_tag(DIGEST)}.sig")
    one = [Signature(b"a", b"b", {"other": "c"})]
    assert signatures_manifest(one) == signatures_manifest(one)
