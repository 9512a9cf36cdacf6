"""Signatures by throwaway keys, checked by the real gpgv."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.packages import gpg
from foundry.sandbox import openpgp3
from tests.harness import rpmtools
from tests.harness.rpmtools import Key, sign_bytes, signing_key

DATA = b"header and payload" * 1000
PAST = "--faked-system-time=20200101T000000"
OTHER = "0123456789ABCDEF0123456789ABCDEF01234567"


@pytest.fixture(scope="module")
def signature(key: Key) -> bytes:
    return sign_bytes(DATA, key)


def fault(data: bytes, signature: bytes, key_file: Path, fingerprint: str) -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        gpg.verify(data, signature, key_file, fingerprint)
    return caught.value


def test_a_good_signature(key: Key, signature: bytes, tmp_path: Path) -> None:
    log = tmp_path / "logs/gpg.log"
    facts = gpg.verify(DATA, signature, key.file, key.fingerprint, log=log)
    assert facts.fingerprint == key.fingerprint
    assert abs(facts.created - time.time()) < 600
    assert facts.uid == "Test Vendor <vendor@invalid>"
    text = log.read_text()
    assert text.startswith("$ gpgv ")
    assert "VALIDSIG" in text


def test_files_are_read_one_after_the_other(key: Key, signature: bytes, tmp_path: Path) -> None:
    for name, part in (("-a", DATA[:10]), ("b", DATA[10:]), ("whole", DATA)):
        (tmp_path / name).write_bytes(part)
    gpg.verify(tmp_path / "whole", signature, key.file, key.fingerprint)
    gpg.verify([tmp_path / "-a", tmp_path / "b"], signature, key.file, key.fingerprint)
    with pytest.raises(FoundryError):
        gpg.verify([tmp_path / "b", tmp_path / "-a"], signature, key.file, key.fingerprint)


def test_a_fingerprint_may_be_written_with_blanks(key: Key, signature: bytes) -> None:
    spaced = " ".join(key.fingerprint[at : at + 4].lower() for at in range(0, 40, 4))
    assert gpg.verify(DATA, signature, key.file, spaced).fingerprint == key.fingerprint


def test_binary_and_armoured_keys(key: Key, signature: bytes, tmp_path: Path) -> None:
    binary, crlf, two = tmp_path / "binary", tmp_path / "crlf", tmp_path / "two"
    binary.write_bytes(gpg.dearmor(key.file.read_bytes()))
    exported = rpmtools.command("gpg", "--batch", "--homedir", key.home, "--export", "--armor").encode()
    assert gpg.dearmor(exported) == binary.read_bytes()
    crlf.write_bytes(b"A comment\r\n" + key.file.read_bytes().replace(b"\n", b"\r\n"))
    with signing_key() as other:
        two.write_bytes(other.file.read_bytes() + key.file.read_bytes())
    for file in (binary, crlf, two):
        assert gpg.verify(DATA, signature, file, key.fingerprint).fingerprint == key.fingerprint


def test_changed_data(key: Key, signature: bytes) -> None:
    assert fault(DATA[:-1], signature, key.file, key.fingerprint).reason == "signature-bad"


def test_a_changed_signature_is_never_good(key: Key, signature: bytes) -> None:
    """Bytes of its unsigned part may change harmlessly; what is reported stays true."""
    facts = gpg.verify(DATA, signature, key.file, key.fingerprint)
    refused = 0
    for at in range(len(signature)):
        changed = bytearray(signature)
        changed[at] ^= 0x10
        try:
            assert gpg.verify(DATA, bytes(changed), key.file, key.fingerprint) == facts
        except FoundryError as error:
            assert error.reason in ("signature-bad", "signature-wrong-key")
            refused += 1
    assert refused > 256  # the number itself, at least


def test_another_key(key: Key, signature: bytes, tmp_path: Path) -> None:
    with signing_key() as other:
        error = fault(DATA, signature, other.file, other.fingerprint)
        assert error.reason == "signature-wrong-key"
        assert other.fingerprint in error.message
        both = tmp_path / "both"
        both.write_bytes(gpg.dearmor(key.file.read_bytes()) + gpg.dearmor(other.file.read_bytes()))
        assert fault(DATA, signature, both, other.fingerprint).reason == "signature-wrong-key"
    assert fault(DATA, signature, key.file, OTHER).reason == "signature-wrong-key"


@pytest.mark.parametrize("short", ["", "0x1234", "646D9185", OTHER + "0", "g" * 40])
def test_a_fingerprint_must_be_whole(key: Key, signature: bytes, short: str) -> None:
    assert fault(DATA, signature, key.file, short).reason == "key-fingerprint"
    assert fault(DATA, signature, key.file, key.fingerprint[-16:]).reason == "key-fingerprint"


def test_no_signature(key: Key, signature: bytes) -> None:
    assert fault(DATA, b"", key.file, key.fingerprint).reason == "signature-missing"
    assert fault(DATA, b"not a signature", key.file, key.fingerprint).reason == "signature-bad"
    assert fault(DATA, signature[:50], key.file, key.fingerprint).reason == "signature-bad"


def test_two_signatures_are_not_one(key: Key, signature: bytes) -> None:
    assert fault(DATA, signature * 2, key.file, key.fingerprint).reason == "signature-bad"


def test_what_an_expired_key_signed_while_it_was_good(tmp_path: Path) -> None:
    """An archive is proven for ever: asked for `later`, a signature counts that is older than its key's end."""
    with signing_key(PAST, expires="2020-02-01") as old:
        signature = sign_bytes(DATA, old, PAST)
        facts = gpg.verify(DATA, signature, old.file, old.fingerprint, later=True)
        assert (facts.fingerprint, facts.uid) == (old.fingerprint, "Test Vendor <vendor@invalid>")
        with pytest.raises(FoundryError) as caught:
            gpg.verify(DATA, signature, old.file, old.fingerprint)
        assert caught.value.reason == "signature-key-expired"
        with pytest.raises(FoundryError) as caught:
            gpg.verify(DATA + b"x", signature, old.file, old.fingerprint, later=True)
        assert caught.value.reason == "signature-bad"
    late = {"EXPKEYSIG": [["0", "Somebody"]], "VALIDSIG": [["F" * 40, "2020-03-01", "1583020800"]],
            "KEYEXPIRED": [["1580515200"]]}
    assert not gpg._made_before(late), "made after the key's end"


def test_an_expired_key_and_an_expired_signature(tmp_path: Path) -> None:
    with signing_key(PAST, expires="1y") as old:
        error = fault(DATA, sign_bytes(DATA, old, PAST), old.file, old.fingerprint)
        assert error.reason == "signature-key-expired"
        assert str(old.file) in error.hint
    with signing_key(PAST) as old:
        expired = sign_bytes(DATA, old, PAST, "--default-sig-expire", "1y")
        assert fault(DATA, expired, old.file, old.fingerprint).reason == "signature-expired"


def test_a_revoked_key(key: Key) -> None:
    with signing_key() as lost:
        made = sign_bytes(DATA, lost)
        certificate = (lost.home / f"openpgp-revocs.d/{lost.fingerprint}.rev").read_text().replace(":-----", "-----")
        (lost.home / "rev").write_text(certificate)
        rpmtools.command("gpg", "--batch", "--homedir", lost.home, "--import", lost.home / "rev")
        lost.file.unlink()
        rpmtools.command("gpg", "--batch", "--homedir", lost.home, "--output", lost.file, "--export")
        assert fault(DATA, made, lost.file, lost.fingerprint).reason == "signature-key-revoked"


def test_weak_digests(key: Key) -> None:
    weak = sign_bytes(DATA, key, "--digest-algo", "SHA1")
    assert fault(DATA, weak, key.file, key.fingerprint).reason in ("signature-weak", "signature-bad")
    strong = sign_bytes(DATA, key, "--digest-algo", "SHA512")
    assert gpg.verify(DATA, strong, key.file, key.fingerprint).fingerprint == key.fingerprint


def test_a_signature_over_a_text(key: Key) -> None:
    """It stays good when ends of lines change, so the sender of the data could change them."""
    text = sign_bytes(b"one\r\ntwo\r\n", key, "--textmode")
    error = fault(b"one\ntwo\n", text, key.file, key.fingerprint)
    assert error.reason == "signature-wrong-kind"


def test_a_signature_from_the_future(key: Key) -> None:
    tomorrow = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() + 86400))
    made = sign_bytes(DATA, key, f"--faked-system-time={tomorrow}")
    assert fault(DATA, made, key.file, key.fingerprint).reason in ("signature-from-the-future", "signature-bad")


@pytest.mark.parametrize("algorithm, weak", [("rsa1024", True), ("rsa2048", False), ("ed25519", False)])
def test_short_keys(algorithm: str, weak: bool) -> None:
    with signing_key(kind=algorithm) as short:
        made = sign_bytes(DATA, short)
        if weak:
            error = fault(DATA, made, short.file, short.fingerprint)
            assert error.reason == "key-weak"
            assert "1024 bits" in error.message
        else:
            assert gpg.verify(DATA, made, short.file, short.fingerprint).fingerprint == short.fingerprint


def test_a_subkey_counts_as_its_primary_key(tmp_path: Path) -> None:
    with signing_key() as main:
        env = {"GNUPGHOME": str(main.home)}
        rpmtools.command("gpg", "--batch", "--passphrase", "", "--pinentry-mode", "loopback",
                         "--quick-add-key", main.fingerprint, "rsa2048", "sign", "never", env=env)
        main.file.unlink()
        rpmtools.command("gpg", "--batch", "--armor", "--output", main.file, "--export", env=env)
        facts = gpg.verify(DATA, sign_bytes(DATA, main), main.file, main.fingerprint)
        assert facts.fingerprint != main.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"",
        lambda text: b"<html></html>",
        lambda text: text.replace(b"-----END", b"-----STOP"),
        lambda text: text[:200] + (b"A" if text[200:201] != b"A" else b"B") + text[201:],
        lambda text: text[:200] + b"!" + text[201:],
        lambda text: text[:200] + text[203:],
        lambda text: b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n",
        lambda text: text.replace(b"BLOCK-----\n\n", b"BLOCK-----\nComment: x\n"),
    ],
)
def test_damaged_armour(key: Key, signature: bytes, tmp_path: Path, change: object) -> None:
    assert callable(change)
    file = tmp_path / "key"
    file.write_bytes(change(key.file.read_bytes()))
    assert fault(DATA, signature, file, key.fingerprint).reason == "key-damaged"
    assert fault(DATA, signature, tmp_path / "none", key.fingerprint).reason == "key-unreadable"


def test_the_armour_checksum() -> None:
    """The check value of CRC-24/OPENPGP."""
    assert gpg.crc24(b"123456789") == 0x21CF02


def test_without_gpgv(key: Key, signature: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(fault(DATA, signature, key.file, key.fingerprint), OutsideError)


def test_nothing_stays_in_the_temporary_folder(
    key: Key, signature: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gpg.verify(DATA, signature, key.file, key.fingerprint)
    fault(b"", signature, key.file, key.fingerprint)
    assert os.listdir(tmp_path) == []


def test_version_3_signatures(key: Key) -> None:
    """Some vendors still make them; no current tool does."""
    now = int(time.time())
    made = openpgp3.sign(DATA, openpgp3.read_secret_key(rpmtools.secret_key(key)), now)
    facts = gpg.verify(DATA, made, key.file, key.fingerprint)
    assert (facts.fingerprint, facts.created) == (key.fingerprint, now)
    assert fault(DATA + b"x", made, key.file, key.fingerprint).reason == "signature-bad"


FINGERPRINT = "A" * 40
GOOD = f"GOODSIG {FINGERPRINT[-16:]} Test%20Vendor"


def valid(
    digest: str = "8", signer: str = FINGERPRINT, primary: str = FINGERPRINT, made: int = 1700000000, kind: str = "00"
) -> str:
    return f"VALIDSIG {signer} 2023-11-14 {made} 0 4 0 1 {digest} {kind} {primary}"


def said(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, *lines: str, later: bool = False) -> str:
    """The reason of the error where gpgv says this and ends so; empty where the signature counts."""
    program, key = folder / "bin/gpgv", folder / "key"
    program.parent.mkdir(exist_ok=True)
    text = "".join(f"echo '[GNUPG:] {line}'\n" for line in lines)
    program.write_text(f"#!/bin/sh\ncat > {folder / 'read'}\n{text}exit {code}\n")
    program.chmod(0o755)
    key.write_bytes(b"\x99binary")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    try:
        facts = gpg.verify(DATA, b"signature", key, FINGERPRINT, later=later)
    except FoundryError as error:
        return error.reason
    assert (folder / "read").read_bytes() == DATA
    assert facts == gpg.SignatureFacts(FINGERPRINT, 1700000000, "Test Vendor")
    return ""


@pytest.mark.parametrize("code, lines, reason", [
    (0, [GOOD, valid()], ""),
    (2, [GOOD, valid()], "signature-bad"),
    (0, [GOOD, valid(), "ERRSIG 1 1 8 00 0 9"], "signature-bad"),
    (0, [GOOD, valid(), "BADSIG x y"], "signature-bad"),
    (0, [GOOD, valid(), "NO_PUBKEY B"], "signature-wrong-key"),
    (0, [GOOD, valid(), "REVKEYSIG x y"], "signature-key-revoked"),
    (0, [GOOD, valid(), "EXPKEYSIG x y"], "signature-key-expired"),
    (0, [GOOD, valid(), "EXPSIG x y"], "signature-expired"),
    (0, [GOOD, GOOD, valid()], "signature-bad"),
    (0, [GOOD, valid(), valid()], "signature-bad"),
    (0, [GOOD], "signature-bad"),
    (0, [valid()], "signature-bad"),
    (0, [], "signature-bad"),
    (0, [GOOD, f"VALIDSIG {FINGERPRINT} 2023-11-14 1700000000"], "signature-bad"),
    (0, [GOOD, valid(digest="1")], "signature-weak"),
    (0, [GOOD, valid(digest="2")], "signature-weak"),
    (0, [GOOD, valid(digest="3")], "signature-weak"),
    (0, [GOOD, valid(digest="10")], ""),
    (0, [GOOD, valid(kind="01")], "signature-wrong-kind"),
    (0, [GOOD, valid(kind="10")], "signature-wrong-kind"),
    (0, [GOOD, valid(made=4000000000)], "signature-from-the-future"),
    (0, [GOOD, valid(signer="B" * 40, primary="B" * 40)], "signature-wrong-key"),
])
def test_each_thing_that_gpgv_may_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, lines: list[str], reason: str
) -> None:
    """By a program that says what the real one says in cases that no key of a test makes (GnuPG, doc/DETAILS)."""
    assert said(tmp_path, monkeypatch, code, *lines) == reason


@pytest.mark.parametrize("made, ends, later, reason", [
    (1700000000, 1700000001, True, ""), (1700000000, 1700000001, False, "signature-key-expired"),
    (1700000000, 1700000000, True, "signature-key-expired"), (1700000000, 1699999999, True, "signature-key-expired"),
])
def test_an_expired_key_counts_where_it_was_good_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int, ends: int, later: bool, reason: str
) -> None:
    lines = [GOOD.replace("GOODSIG", "EXPKEYSIG"), valid(made=made), f"KEYEXPIRED {ends}"]
    assert said(tmp_path, monkeypatch, 0, *lines, later=later) == reason
    assert said(tmp_path, monkeypatch, 0, *lines[:2], later=True) == "signature-key-expired", "nobody says when"


def test_a_key_of_beginnings_alone() -> None:
    """Each of them would be followed to the end of the file."""
    with pytest.raises(ValueError, match="no public key block"):
        gpg.dearmor(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 27_000)
