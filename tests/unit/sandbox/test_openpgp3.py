"""Signatures of version 3, which gpgv and gpg witness: made with a key's own numbers, out of gpg's export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.packages import gpg
from foundry.sandbox import openpgp3
from tests.harness import rpmtools
from tests.harness.rpmtools import Key, signing_key

DATA = b"header and payload" * 1000
CREATED = 1_600_000_000
PROTECTION = 3 + 6 + 2 + 256 + 2 + 3  # where a key of 2048 bits says how its secret part is protected
PAST = "--faked-system-time=20200101T000000"


@pytest.fixture(scope="module")
def key() -> Iterator[Key]:
    with signing_key(PAST) as made:
        yield made


@pytest.fixture(scope="module")
def secret(key: Key) -> openpgp3.SecretKey:
    return openpgp3.read_secret_key(rpmtools.secret_key(key))


def refused(data: bytes, signature: bytes, key: Key) -> str:
    with pytest.raises(FoundryError) as caught:
        gpg.verify(data, signature, key.file, key.fingerprint)
    return caught.value.reason


def test_gpgv_takes_them(key: Key, secret: openpgp3.SecretKey) -> None:
    for data in (DATA, b"", bytes(range(256))):
        facts = gpg.verify(data, openpgp3.sign(data, secret, CREATED), key.file, key.fingerprint)
        assert (facts.fingerprint, facts.created) == (key.fingerprint, CREATED)


def test_what_gpg_says_of_them(key: Key, secret: openpgp3.SecretKey, tmp_path: Path) -> None:
    file = tmp_path / "signature"
    file.write_bytes(openpgp3.sign(DATA, secret, CREATED))
    said = rpmtools.command("gpg", "--homedir", tmp_path, "--list-packets", file)
    assert said.count(":signature packet:") == 1
    assert f"algo 1, keyid {key.fingerprint[-16:]}" in said
    assert f"version 3, created {CREATED}, md5len 5, sigclass 0x00" in said
    assert "digest algo 8," in said


def test_the_key_is_the_one_that_gpg_exported(key: Key, secret: openpgp3.SecretKey) -> None:
    assert secret.fingerprint.hex().upper() == key.fingerprint
    assert secret.modulus.bit_length() == 2048
    assert str(secret.exponent) not in repr(secret)


def test_the_same_inputs_give_the_same_bytes(secret: openpgp3.SecretKey) -> None:
    signature = openpgp3.sign(DATA, secret, CREATED)
    assert openpgp3.sign(DATA, secret, CREATED) == signature
    assert openpgp3.sign(DATA, secret, CREATED + 1) != signature


def test_other_data_another_time_another_key(key: Key, secret: openpgp3.SecretKey) -> None:
    signature = openpgp3.sign(DATA, secret, CREATED)
    assert refused(DATA + b"x", signature, key) == "signature-bad"
    time = signature.index(CREATED.to_bytes(4, "big"))
    assert refused(DATA, signature[: time + 3] + b"\1" + signature[time + 4 :], key) == "signature-bad"
    with signing_key(PAST) as other:
        assert refused(DATA, signature, other) == "signature-wrong-key"
        theirs = openpgp3.sign(DATA, openpgp3.read_secret_key(rpmtools.secret_key(other)), CREATED)
    assert refused(DATA, theirs, key) == "signature-wrong-key"
    named = theirs.replace(bytes.fromhex(other.fingerprint[-16:]), secret.fingerprint[-8:])
    assert refused(DATA, named, key) == "signature-bad", "the key id says who, the number proves it"


def test_a_number_that_is_shorter_than_the_modulus() -> None:
    """One of 256 signatures begins with a zero octet, which its packet leaves out."""
    with signing_key(PAST, kind="rsa2048") as key:
        secret = openpgp3.read_secret_key(rpmtools.secret_key(key))
        whole = 3 + 19 + 2 + 256
        made = (openpgp3.sign(DATA, secret, created) for created in range(CREATED, CREATED + 5000))
        short = next(signature for signature in made if len(signature) < whole)
        assert gpg.verify(DATA, short, key.file, key.fingerprint).created >= CREATED


@pytest.mark.parametrize("change", [
    lambda data: b"", lambda data: data[:100], lambda data: data[:400], lambda data: b"\x99" + data[1:],
    lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:],
    lambda data: data[:PROTECTION] + b"\xfe" + data[PROTECTION + 1 :],
])
def test_damaged_and_protected_keys(key: Key, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FoundryError) as caught:
        openpgp3.read_secret_key(change(rpmtools.secret_key(key)))
    assert caught.value.reason == "standin-key"


def test_a_key_of_another_algorithm() -> None:
    with signing_key(PAST, kind="ed25519") as other, pytest.raises(FoundryError) as caught:
        openpgp3.read_secret_key(rpmtools.secret_key(other))
    assert caught.value.reason == "standin-key"
    assert "RSA key without passphrase" in caught.value.message
