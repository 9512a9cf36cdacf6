"""Signatures of release images: the good ones, and each way in which one is none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.parallel import Pen
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.catalogue.payload_signature import PayloadSignatures
from foundry.net.transport import RetryPolicy
from foundry.sandbox.openpgp3 import read_secret_key
from foundry.sandbox.signatures import signed_message
from tests.harness.openshift import filler, signed_text
from tests.harness.rpmtools import Key, secret_key, sign_bytes, sign_message

PAYLOAD = f"quay.io/openshift-release-dev/ocp-release@sha256:{'a' * 64}"
IMAGE = parse_reference(PAYLOAD)
PLAIN = ("--compress-algo", "none")


def signatures(folder: Path, key: Key, *messages: bytes) -> PayloadSignatures:
    """Those in a folder that is laid out as the server's."""
    place = folder / f"sha256={'a' * 64}"
    place.mkdir()
    for number, message in enumerate(messages, 1):
        (place / f"signature-{number}").write_bytes(message)
    return PayloadSignatures(folder.as_uri(), key.file.as_uri(), key.fingerprint, RetryPolicy(), Pen(), folder / "log")


def fault(found: PayloadSignatures) -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        found.require(IMAGE)
    return caught.value


@pytest.mark.parametrize("more", [{}, {"optional": {}}, {"optional": {"creator": "x", "timestamp": 1}}])
@pytest.mark.parametrize("options", [(), PLAIN, ("--compress-algo", "zlib"), ("--digest-algo", "SHA512")])
def test_good_signatures(tmp_path: Path, key: Key, options: tuple[str, ...], more: Mapping[str, Any]) -> None:
    signatures(tmp_path, key, sign_message(signed_text(PAYLOAD, more=more), key, *options)).require(IMAGE)


def test_one_in_the_form_of_the_sandbox(tmp_path: Path, key: Key) -> None:
    """Of version 3 in a compressed message, as OpenShift's were for years."""
    message = signed_message(signed_text(PAYLOAD), read_secret_key(secret_key(key)), int(time.time()))
    signatures(tmp_path, key, message).require(IMAGE)


def test_a_good_one_behind_others(tmp_path: Path, key: Key, other: Key) -> None:
    """As where a vendor signs with an old key and a new one; no more are looked at than clusters do."""
    good, bad = sign_message(signed_text(PAYLOAD), key), sign_message(signed_text(PAYLOAD), other)
    signatures(tmp_path, key, bad, b"garbage", good).require(IMAGE)
    (tmp_path / "many").mkdir()
    error = fault(signatures(tmp_path / "many", key, *[bad] * 9, good))
    signer = other.fingerprint[-16:]
    assert error.reason == Reason.SIGNATURE_WRONG_KEY
    assert error.message == f"{PAYLOAD}: the signature was made by the key {signer}, not by {key.fingerprint}"
    assert "`releases.signatures`" in error.hint


def changed(**changes: Any) -> Callable[[Key], bytes]:
    """A good signature of such a text."""
    return lambda key: sign_message(signed_text(PAYLOAD, **changes), key)


def form(*options: str, mode: str = "--sign") -> Callable[[Key], bytes]:
    """The right text in another form."""
    return lambda key: sign_message(signed_text(PAYLOAD), key, *options, mode=mode)


def content(data: bytes) -> Callable[[Key], bytes]:
    """A good signature of other data."""
    return lambda key: sign_message(data, key)


BAD: dict[str, tuple[Callable[[Key], bytes], Reason]] = {
    "another digest": (changed(image={"docker-manifest-digest": f"sha256:{'b' * 64}"}), Reason.SIGNATURE_OTHER_IMAGE),
    "no digest": (changed(image={"docker-manifest-digest": None}), Reason.SIGNATURE_OTHER_IMAGE),
    "another repository": (changed(identity={"docker-reference": "quay.io/evil/ocp-release:4.18.15-x86_64"}),
                           Reason.SIGNATURE_OTHER_IMAGE),
    "another registry": (changed(identity={"docker-reference": "evil.io/openshift-release-dev/ocp-release:4.18.15"}),
                         Reason.SIGNATURE_OTHER_IMAGE),
    "no name": (changed(identity={"docker-reference": "../.."}), Reason.SIGNATURE_MALFORMED),
    "a name that is none": (changed(identity={"docker-reference": 7}), Reason.SIGNATURE_MALFORMED),
    "another type": (changed(type="cosign container image signature"), Reason.SIGNATURE_MALFORMED),
    "another field": (changed(evil=True), Reason.SIGNATURE_MALFORMED),
    "another field of the image": (changed(image={"docker-manifest-digest": IMAGE.digest, "x": 1}),
                                   Reason.SIGNATURE_MALFORMED),
    "another field beside": (changed(more={"x": 1}), Reason.SIGNATURE_MALFORMED),
    "nothing in it": (content(json.dumps({"critical": {}}).encode()), Reason.SIGNATURE_MALFORMED),
    "no JSON": (content(b"\0\xff" * 99), Reason.SIGNATURE_MALFORMED),
    "a list": (content(b"[]"), Reason.SIGNATURE_MALFORMED),
    "nested": (content(b"[" * 9000), Reason.SIGNATURE_MALFORMED),
    "truncated": (lambda key: form()(key)[:-9], Reason.SIGNATURE_BAD),
    "truncated, not compressed": (lambda key: form(*PLAIN)(key)[:-9], Reason.SIGNATURE_BAD),
    "changed": (lambda key: form(*PLAIN)(key).replace(b'"a test"', b'"A test"'), Reason.SIGNATURE_BAD),
    "garbage": (lambda key: filler(500), Reason.SIGNATURE_BAD),
    "empty": (lambda key: b"", Reason.SIGNATURE_BAD),
    "the text alone": (lambda key: signed_text(PAYLOAD), Reason.SIGNATURE_BAD),
    "detached": (lambda key: sign_bytes(signed_text(PAYLOAD), key), Reason.SIGNATURE_BAD),
    "two messages": (lambda key: form(*PLAIN)(key) * 2, Reason.SIGNATURE_BAD),
    "something behind it": (lambda key: form()(key) + b"x", Reason.SIGNATURE_BAD),
    "a text with a signature": (form(mode="--clearsign"), Reason.SIGNATURE_BAD),
    "armoured": (form("--armor"), Reason.SIGNATURE_BAD),
    "over a text": (form("--textmode"), Reason.SIGNATURE_WRONG_KIND),
    "unsigned": (form(mode="--store"), Reason.SIGNATURE_BAD),
    "bzip2": (form("--compress-algo", "bzip2"), Reason.SIGNATURE_BAD),
    "weak": (form("--digest-algo", "SHA1"), Reason.SIGNATURE_WEAK),
    "unpacks to more than it may": (content(b" " * (40 << 20)), Reason.SIGNATURE_BAD),
    "a long text": (lambda key: sign_message(b" " * (17 << 10), key, *PLAIN), Reason.SIGNATURE_BAD),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_signatures(tmp_path: Path, key: Key, case: str) -> None:
    make, reason = BAD[case]
    assert fault(signatures(tmp_path, key, make(key))).reason == reason


def test_no_signature(tmp_path: Path, key: Key) -> None:
    error = fault(signatures(tmp_path, key))
    assert (error.reason, error.message) == (Reason.SIGNATURE_MISSING, f"{PAYLOAD}: it has no signature")


def test_a_huge_one_is_not_read(tmp_path: Path, key: Key) -> None:
    error = fault(signatures(tmp_path, key, filler(1 << 20)))
    assert error.reason == Reason.HTTP_TOO_LARGE


def test_a_key_that_is_not_there_is_no_bad_signature(tmp_path: Path, key: Key) -> None:
    found = signatures(tmp_path, key, sign_message(signed_text(PAYLOAD), key))
    found.key_url = (tmp_path / "no-key").as_uri()
    error = fault(found)
    assert isinstance(error, OutsideError) and error.reason == Reason.FILE_MISSING
