"""Images signed by a key in AWS KMS, which moto plays; the signatures are OpenSSL's to judge."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.signing.image_key import ImageSigner, open_image_signer, read_public_keys
from tests.harness.aws import kms_that_signs_digests, moto_server

REGION, ALIAS = "eu-west-1", "alias/images"


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """AWS as the environment has it; a client of KMS."""
    with moto_server() as url, kms_that_signs_digests():
        for name, value in {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret",
                            "AWS_REGION": REGION}.items():
            monkeypatch.setenv(name, value)
        yield boto3.client("kms", region_name=REGION, endpoint_url=url)


def made(kms: Any, folder: Path, spec: str = "ECC_NIST_P256", alias: str = ALIAS) -> str:
    """A key of KMS, its public half in the folder; its ARN."""
    key = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    der = kms.get_public_key(KeyId=key["KeyId"])["PublicKey"]
    subprocess.run(["openssl", "pkey", "-pubin", "-inform", "DER", "-out", folder / "image.pub"], input=der, check=True)
    return str(key["Arn"])


def opened(folder: Path, key: str) -> ImageSigner:
    return open_image_signer(f"awskms:///{key}", read_public_keys(["image.pub"], folder)[0], {}, folder)


def test_a_signature(kms: Any, tmp_path: Path) -> None:
    arn = made(kms, tmp_path)
    for name in (ALIAS, arn, arn.rpartition("/")[2]):
        signature = opened(tmp_path, name).sign(b"what is signed")
        (tmp_path / "signature").write_bytes(signature)
        verify = ["openssl", "dgst", "-sha256", "-verify", str(tmp_path / "image.pub"), "-signature",
                  str(tmp_path / "signature")]
        assert subprocess.run(verify, input=b"what is signed", check=False).returncode == 0
        assert subprocess.run(verify, input=b"something else", check=False).returncode == 1


def test_an_arn_names_its_region(kms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = made(kms, tmp_path)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert opened(tmp_path, arn).sign(b"x")
    with pytest.raises(OutsideError) as raised:
        opened(tmp_path, ALIAS)
    assert raised.value.reason == "aws-missing" and "region" in raised.value.hint


@pytest.mark.parametrize("spec, kind", [("ECC_NIST_P384", "secp384r1"), ("RSA_2048", "RSA")])
def test_a_key_of_another_kind(kms: Any, tmp_path: Path, spec: str, kind: str) -> None:
    made(kms, tmp_path, spec, "alias/other")
    made(kms, tmp_path)
    with pytest.raises(OutsideError) as raised:
        opened(tmp_path, "alias/other")
    assert kind in raised.value.message and "ECC_NIST_P256" in raised.value.hint


def test_a_key_whose_public_half_is_another(kms: Any, tmp_path: Path) -> None:
    made(kms, tmp_path)
    made(kms, tmp_path, alias="alias/other")
    with pytest.raises(FoundryError) as raised:
        opened(tmp_path, ALIAS)
    assert raised.value.reason == "signing-key-mismatch" and ALIAS in raised.value.message


def test_kms_is_away(kms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(kms, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(OutsideError) as raised:
        opened(tmp_path, ALIAS)
    assert raised.value.reason == "aws-unreachable"
