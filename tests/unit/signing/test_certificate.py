"""Certificates of signing keys: what is read, what is refused, and why kernels might not trust one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.signing.certificate import read_certificate, require_valid
from tests.harness.signing import GOOD, make_pair, openssl, pair_named


def reason_of(path: Path) -> tuple[Reason, str]:
    with pytest.raises(FoundryError) as caught:
        read_certificate(path)
    return caught.value.reason, caught.value.message


def test_pem_and_der_are_the_same(tmp_path: Path) -> None:
    pair = pair_named("one")
    der, text = tmp_path / "der", tmp_path / "text"
    der.write_bytes(pair.certificate.der)
    text.write_bytes(openssl("x509", "-in", pair.file, "-text"))  # with words before the block
    text.write_bytes(text.read_bytes().replace(b"\n", b"\r\n"))
    found = read_certificate(pair.file)
    assert found == read_certificate(der) == read_certificate(text)
    said = openssl("x509", "-in", pair.file, "-noout", "-fingerprint", "-sha256").decode().partition("=")[2]
    assert found.fingerprint == said.strip().replace(":", "").lower()
    assert (found.subject, found.warnings) == ("one", ())
    assert found.not_after - found.not_before == timedelta(days=36500)


@pytest.mark.parametrize("content, words", [
    (b"", "is no certificate"), (b"text", "is no certificate"), (b"\x30\x82\x01\x00", "is no certificate"),
    (b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "is no certificate"),
    (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "is no certificate"),
    (b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n", "certificate request"),
    (b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", "public key"),
    (b"\x30\x00", "is no certificate"), (b"\x30\x03\x02\x01\x00", "is no certificate"),
])
def test_no_certificate(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    reason, message = reason_of(file)
    assert reason == Reason.CERTIFICATE_UNREADABLE and words in message and "\n" not in message


def test_what_a_file_must_not_hold(tmp_path: Path) -> None:
    one, two = pair_named("one"), pair_named("two")
    both, private, der = tmp_path / "both", tmp_path / "private", tmp_path / "der"
    both.write_bytes(one.file.read_bytes() + two.file.read_bytes())
    private.write_bytes(one.file.read_bytes() + one.key.read_bytes())
    der.write_bytes(one.certificate.der + two.certificate.der)
    assert "2 certificates" in reason_of(both)[1]
    assert "private key" in reason_of(private)[1] and "private key" in reason_of(one.key)[1]
    assert reason_of(der)[0] == Reason.CERTIFICATE_UNREADABLE
    assert "does not exist" in reason_of(tmp_path / "nothing")[1]
    assert "can't be read" in reason_of(tmp_path)[1]


@pytest.mark.parametrize("kind, words", [("rsa:1024", "1024 bits"), ("rsa:4160", "4160 bits"), ("ed25519", "not RSA")])
def test_keys_that_modules_are_not_signed_with(kind: str, words: str, tmp_path: Path) -> None:
    reason, message = reason_of(make_pair(tmp_path, kind=kind).file)
    assert reason == Reason.CERTIFICATE_WEAK and words in message


@pytest.mark.parametrize("extensions, words", [
    (GOOD, []),
    (("basicConstraints=CA:TRUE", *GOOD[1:]), ["CA:TRUE"]),
    (("basicConstraints=critical,CA:FALSE", *GOOD[1:]), ["CA:TRUE"]),
    ((GOOD[0], "keyUsage=digitalSignature", GOOD[2]), ["lacks keyCertSign", "digitalSignature"]),
    ((GOOD[0], "keyUsage=digitalSignature,keyCertSign", GOOD[2]), ["digitalSignature"]),
    ((GOOD[0], GOOD[2]), ["keyCertSign"]),
    ((*GOOD[:2], "subjectKeyIdentifier=none"), ["subjectKeyIdentifier"]),
])
def test_what_rhel_would_not_trust(extensions: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    warnings = read_certificate(make_pair(tmp_path, extensions=extensions).file).warnings
    assert len(warnings) == len(words) and all(word in one for word, one in zip(words, warnings, strict=True))


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3))
def test_any_damage(damage: list[tuple[int, bytes]]) -> None:
    """A certificate or our own error."""
    der = bytearray(pair_named("one").certificate.der)
    for place, content in damage:
        start = place % len(der)
        der[start:start + len(content)] = content
    with NamedTemporaryFile() as file:
        Path(file.name).write_bytes(der)
        try:
            assert read_certificate(Path(file.name)).der == der
        except FoundryError as error:
            assert error.reason in (Reason.CERTIFICATE_UNREADABLE, Reason.CERTIFICATE_WEAK)


def test_a_certificate_s_time() -> None:
    found = read_certificate(pair_named("one").file)
    second = timedelta(seconds=1)
    for moment in (found.not_before, found.not_after, datetime.now(UTC)):
        require_valid(found, moment)
    for moment, reason in ((found.not_before - second, Reason.CERTIFICATE_NOT_YET_VALID),
                           (found.not_after + second, Reason.CERTIFICATE_EXPIRED)):
        with pytest.raises(FoundryError) as caught:
            require_valid(found, moment)
        assert caught.value.reason == reason
