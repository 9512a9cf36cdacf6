"""The kernel's appended signature: made as sign-file makes it, read by openssl and modinfo, refused by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.modules import pkcs7
from foundry.formats.modules.signature import HASHES, MARK, Signature, added, check, signed, split
from tests.harness.debian_packages import sign_file
from tests.harness.signing import Pair, make_pair, openssl, pair_named
from tests.unit.formats.test_elf import module

MODULE = module()
TRAILER = 12 + len(MARK)


@cache
def good_one() -> bytes:
    return signed(MODULE, pair_named("one"), "sha256")


def by_sign_file(pair: Pair, hash_name: str, folder: Path, *options: str, content: bytes = MODULE) -> bytes:
    file = folder / "by-sign-file.ko"
    file.write_bytes(content)
    subprocess.run([sign_file(), *options, hash_name, pair.key, pair.file, file], check=True)
    return file.read_bytes()


def verified(content: bytes, pair: Pair, folder: Path) -> bool:
    """What openssl says of the last signature, cut out here without code of ours."""
    end = len(content) - TRAILER
    size = int.from_bytes(content[end + 8:end + 12], "big")
    (folder / "content").write_bytes(content[:end - size])
    (folder / "message").write_bytes(content[end - size:end])
    return subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "message", "-content",
         folder / "content", "-certfile", pair.file, "-CAfile", pair.file, "-purpose", "any", "-out", os.devnull],
        capture_output=True, check=False).returncode == 0


def refused(content: bytes, pair: Pair) -> tuple[Reason, str]:
    with pytest.raises(FoundryError) as caught:
        check(content, pair.certificate)
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize("hash_name", HASHES)
def test_as_sign_file_makes_it(hash_name: str, tmp_path: Path) -> None:
    pair = pair_named("one")
    made = signed(MODULE, pair, hash_name)
    assert made == by_sign_file(pair, hash_name, tmp_path)
    assert check(made, pair.certificate) == Signature(
        "one", fingerprint(pair), hash_name)
    assert verified(made, pair, tmp_path) and not verified(made, pair_named("two"), tmp_path)


def fingerprint(pair: Pair) -> str:
    text = openssl("x509", "-in", pair.file, "-noout", "-fingerprint", "-sha256").decode()
    return text.partition("=")[2].strip().replace(":", "").lower()


@pytest.mark.parametrize("subject", [
    "/CN=Schlüssel für Module", "/O=No common name", "/C=DE/O=A + B/CN=first/CN=second", "/CN=" + "x" * 64,
    "/emailAddress=modules@example.org/CN=with mail/UID=7",
])
def test_names_as_sign_file_and_modinfo_have_them(subject: str, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair", subject)
    made = signed(MODULE, pair, "sha256")
    assert made == by_sign_file(pair, "sha256", tmp_path)
    file = tmp_path / "module.ko"
    file.write_bytes(made)
    modinfo = shutil.which("modinfo", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert modinfo
    told = dict(line.split(":", 1) for line in subprocess.run(
        [modinfo, file], capture_output=True, text=True, check=True).stdout.splitlines() if line.startswith("sig"))
    found = check(made, pair.certificate)
    assert (told.get("signer", "").strip(), told["sig_hashalgo"].strip()) == (found.signer, "sha256")


def test_another_signature_is_taken_off_first() -> None:
    one, two = pair_named("one"), pair_named("two")
    alone = signed(MODULE, one, "sha256")
    assert signed(signed(MODULE, two, "sha512"), one, "sha256") == alone
    message = split(alone)[1]
    assert message
    twice = alone + message + alone[-TRAILER:]  # one behind the other
    assert split(twice) == (alone, message)
    assert signed(twice, one, "sha256") == alone
    assert split(MODULE) == (MODULE, None) and split(alone) == (MODULE, message)


@pytest.mark.parametrize("content, reason, words", [
    (MARK, Reason.MODULE_SIGNATURE_TRUNCATED, "too short"),
    (MODULE + bytes(2) + b"\2" + bytes(9) + MARK, Reason.MODULE_SIGNATURE_MALFORMED, "0 bytes"),
    (b"\x7fELF" + bytes(2) + b"\2" + bytes(5) + b"\0\0\0\4" + MARK, Reason.MODULE_SIGNATURE_TRUNCATED, "and 4 are"),
    (b"\x7fELF" + bytes(2) + b"\2" + bytes(5) + b"\xff\xff\xff\xff" + MARK, Reason.MODULE_SIGNATURE_TRUNCATED, "4294"),
    (MODULE + bytes(2) + b"\1" + bytes(5) + b"\0\0\0\4" + MARK, Reason.MODULE_SIGNATURE_MALFORMED, "trailer"),
    *((MODULE + bytes(at) + b"\7" + bytes(7 - at) + b"\0\0\0\4" + MARK, Reason.MODULE_SIGNATURE_MALFORMED, "trailer")
      for at in range(8)),
])
def test_a_trailer_that_lies(content: bytes, reason: Reason, words: str) -> None:
    with pytest.raises(FoundryError, match=words) as caught:
        split(content)
    assert caught.value.reason == reason
    with pytest.raises(FoundryError) as again:
        signed(content, pair_named("one"), "sha256")
    assert again.value.reason == reason
    assert refused(content, pair_named("one"))[0] == reason


def with_message(message: bytes) -> bytes:
    return MODULE + message + bytes(2) + b"\2" + bytes(5) + len(message).to_bytes(4, "big") + MARK


def test_what_is_refused() -> None:
    one, two = pair_named("one"), pair_named("two")
    good = signed(MODULE, one, "sha256")
    message = good[len(MODULE):-TRAILER]
    named = {
        Reason.MODULE_SIGNATURE_MISSING: [MODULE, MODULE + b"\0" * 700],
        Reason.MODULE_SIGNATURE_TRUNCATED: [good[:-1], good + b"\0", good[:-TRAILER], good[:-TRAILER - 100]],
        Reason.MODULE_SIGNATURE_MALFORMED: [
            with_message(message[:-1]), with_message(message + b"\0"), with_message(b"\0"), with_message(b"text"),
            with_message(message.replace(bytes.fromhex("2a864886f70d010702"), bytes.fromhex("2a864886f70d010703"))),
            with_message(_attached(one)),
        ],
        Reason.MODULE_SIGNATURE_WRONG_KEY: [
            signed(MODULE, two, "sha256"),
            good[:-TRAILER - 1] + bytes([good[-TRAILER - 1] ^ 1]) + good[-TRAILER:],  # the signature's last byte
            signed(MODULE, _Stranger(one, two), "sha256"),  # names our certificate
        ],
        Reason.MODULE_SIGNATURE_BAD: [
            bytes([good[0] ^ 1]) + good[1:], b"\0" + good, good[1:], good[-len(message) - TRAILER:].rjust(1000, b"\0"),
        ],
        Reason.MODULE_SIGNATURE_HASH: [with_message(message.replace(
            bytes.fromhex("0609608648016503040201"), bytes.fromhex("0609608648016503040204")))],  # SHA-224
    }
    for reason, contents in named.items():
        for number, content in enumerate(contents):
            assert refused(content, one)[0] == reason, f"{reason} {number}: {refused(content, one)}"


def _attached(pair: Pair) -> bytes:
    return openssl("cms", "-sign", "-binary", "-nodetach", "-noattr", "-nocerts", "-outform", "DER", "-signer",
                   pair.file, "-inkey", pair.key, stdin=MODULE)


class _Stranger:
    """Another key's signature under our certificate's name."""

    def __init__(self, named: Pair, signing: Pair) -> None:
        self.certificate = named.certificate
        self.sign = signing.sign


def test_sentences_name_both_sides() -> None:
    _, message = refused(signed(MODULE, pair_named("two"), "sha256"), pair_named("one"))
    assert "'two'" in message and "'one'" in message


@pytest.mark.parametrize("name", ["sha1", "md5", "sha224", "", "sha3-256", "SHA256"])
def test_other_hashes(name: str) -> None:
    for make in (signed, added):
        with pytest.raises(FoundryError) as caught:
            make(MODULE, pair_named("one"), name)
        assert caught.value.reason == Reason.MODULE_SIGNATURE_HASH


def test_two_signers_beside_each_other(tmp_path: Path) -> None:
    one, two = pair_named("one"), pair_named("two")
    both = added(by_sign_file(one, "sha256", tmp_path), two, "sha512")
    assert split(both)[0] == MODULE
    assert [check(both, pair.certificate).signer for pair in (one, two)] == ["one", "two"]
    ring = Pair(one.key, tmp_path / "both.crt")
    ring.file.write_bytes(one.file.read_bytes() + two.file.read_bytes())
    assert verified(both, ring, tmp_path)  # openssl wants all of them to be good
    assert not verified(both[:10] + b"\1" + both[11:], ring, tmp_path)
    assert added(both, two, "sha512") == both
    assert check(added(both, two, "sha256"), two.certificate).hash_name == "sha256"
    assert added(MODULE, one, "sha256") == signed(MODULE, one, "sha256")
    assert refused(both, pair_named("three"))[0] == Reason.MODULE_SIGNATURE_WRONG_KEY


def test_beside_a_signer_by_key_id(tmp_path: Path) -> None:
    """Then all of them are (pkcs7_note_signerinfo_version)."""
    one, two = pair_named("one"), pair_named("two")
    by_key = with_message(openssl(
        "cms", "-sign", "-binary", "-noattr", "-nocerts", "-keyid", "-outform", "DER", "-signer", one.file, "-inkey",
        one.key, stdin=MODULE))
    both = added(by_key, two, "sha256")
    message = split(both)[1]
    assert message and [one.version for one in pkcs7.read(message).signers.as_list()] == [3, 3]
    assert [check(both, pair.certificate).signer for pair in (one, two)] == ["one", "two"]
    without = make_pair(tmp_path / "without", extensions=("subjectKeyIdentifier=none",))
    with pytest.raises(FoundryError, match="no subject key identifier") as caught:
        added(by_key, without, "sha256")
    assert caught.value.reason == Reason.MODULE_SIGNATURE_BESIDE


def test_not_beside_attributes() -> None:
    one = pair_named("one")
    content = with_message(openssl("cms", "-sign", "-binary", "-nocerts", "-outform", "DER", "-signer", one.file,
                                   "-inkey", one.key, stdin=MODULE))
    with pytest.raises(FoundryError) as caught:
        added(content, pair_named("two"), "sha256")
    assert caught.value.reason == Reason.MODULE_SIGNATURE_BESIDE
    assert refused(content, one)[0] == Reason.MODULE_SIGNATURE_MALFORMED


@given(st.integers(0, 1 << 30), st.integers(1, 255))
def test_any_byte_that_changes_is_seen(place: int, change: int) -> None:
    good = bytearray(good_one())
    good[place % len(good)] ^= change
    try:
        check(bytes(good), pair_named("one").certificate)
    except FoundryError as error:
        assert error.reason.startswith("module-signature-")
    else:
        pytest.fail(f"byte {place % len(good)} of {len(good)}")


@given(st.binary(max_size=600))
def test_any_message(message: bytes) -> None:
    assert refused(with_message(message), pair_named("one"))[0] == Reason.MODULE_SIGNATURE_MALFORMED
