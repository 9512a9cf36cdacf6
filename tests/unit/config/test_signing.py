"""The setting `signing`: every fault with its file and path, before anything is done; which variables are secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import ConfigError
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.config.signing import IMAGES, MODULES, KeyPlace, Signing, TokenKey, key_place, secret_names
from foundry.run.context import make_foundry
from foundry.signing.certificate import read_certificate
from tests.harness.checkout import Checkout
from tests.harness.signing import pair_named

CERTIFICATE = "config/signing/signing.crt"
TOKEN = "pkcs11:token=A%20B;id=%01%ff?module-path=/usr/lib/x.so"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.write(CERTIFICATE, pair_named("one").file.read_text())
    return checkout


def faults(checkout: Checkout, signing: object, **settings: object) -> list[str]:
    checkout.write("config/profiles/local.yaml", json.dumps({"signing": signing, **settings}))
    try:
        load_config(checkout.root, Profile("local", ""))
    except ConfigError as error:
        return [fault.render().removeprefix("config/profiles/local.yaml: ") for fault in error.faults]
    return []


def test_modules_are_not_signed_unless_it_is_said(checkout: Checkout) -> None:
    assert load_config(checkout.root, Profile("local", "")).settings.signing == Signing("", "")
    assert faults(checkout, {"key": "", "certificate": CERTIFICATE}) == []


@pytest.mark.parametrize("key", ["config/signing/signing.key", "/nothing/here.key", "env:A_KEY", TOKEN])
def test_a_key_that_is_elsewhere_is_no_fault(key: str, checkout: Checkout) -> None:
    """Who has no key can look at everything; signing itself says what it lacks."""
    assert faults(checkout, {"key": key, "certificate": CERTIFICATE}) == []
    assert faults(checkout, {"key": key, "certificate": str(checkout.root / CERTIFICATE)}) == []


def test_faults_of_the_certificate(checkout: Checkout) -> None:
    one, two = pair_named("one"), pair_named("two")
    place = "$.signing.certificate: "
    assert faults(checkout, {"key": "a.key"}) == [f"{place}is missing: `signing.key` needs the key's certificate"]
    assert faults(checkout, {"key": "a.key", "certificate": "no.crt"}) == [f"{place}no.crt does not exist"]
    assert faults(checkout, {"certificate": "no.crt"}) == [f"{place}no.crt does not exist"]
    assert faults(checkout, {"certificate": "config"}) == [f"{place}config can't be read: Is a directory"]
    for text, words in ((one.key.read_text(), "holds a private key"), ("text", "is no certificate"),
                        (one.file.read_text() + two.file.read_text(), "holds 2 certificates")):
        checkout.write("a.crt", text)
        fault, = faults(checkout, {"key": "a.key", "certificate": "a.crt"})
        assert fault.startswith(f"{place}a.crt {words}")


def test_secure_boot_needs_a_key(checkout: Checkout) -> None:
    fault = "$.secure_boot: needs a key to sign modules with (`signing`): no other are loaded then"
    assert faults(checkout, {"key": "", "certificate": ""}, secure_boot=True) == [fault]
    assert faults(checkout, {"key": "env:A_KEY", "certificate": CERTIFICATE}, secure_boot=True) == []


def test_its_hash_needs_no_library(checkout: Checkout) -> None:
    """Every command looks at it."""
    assert faults(checkout, {"key": "a.key", "certificate": CERTIFICATE}) == []
    code = ("import sys; from pathlib import Path; import foundry.run.context, foundry.formats.modules.signature;"
            "from foundry.config.load import load_config; from foundry.config.profile import Profile;"
            f"print(load_config(Path({str(checkout.root)!r}), Profile('local', '')).certificate);"
            "sys.exit(any(name.partition('.')[0] in ('cryptography', 'pkcs11') for name in sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, read_certificate(pair_named("one").file).fingerprint)


def test_the_sandbox_makes_its_certificate_later(checkout: Checkout) -> None:
    sandbox = {"services": "sandbox", "sandbox": {"versions": ["2.22.2.0"], "kernels": 1, "releases": {"4.18.15": 0}}}
    signing = {"key": "build/a.key", "certificate": "build/a.crt"}
    assert faults(checkout, signing, **sandbox) == []
    checkout.write("build/a.crt", "text")
    fault, = faults(checkout, signing, **sandbox)
    assert fault == "$.signing.certificate: build/a.crt is no certificate in PEM or DER"


def test_the_file_at_fault_is_the_one_that_says_it(checkout: Checkout) -> None:
    checkout.edit("config/defaults.yaml", 'signing: {key: "", certificate: ""}', 'signing: {key: a, certificate: ""}')
    with pytest.raises(ConfigError) as caught:
        load_config(checkout.root, Profile("local", ""))
    assert [fault.file for fault in caught.value.faults] == ["config/defaults.yaml"]


@pytest.mark.parametrize("key, words", [
    ("env:", "name of an environment variable"), ("env:A B", "name of an environment variable"),
    ("env:1A", "name of an environment variable"),
    ("-----BEGIN " "PRIVATE KEY-----\nMIIE", "is a private key"),
    ("pkcs11:", "module-path"), ("pkcs11:object=a", "module-path"), ("pkcs11:object=a?module-path=x.so", "module-path"),
    ("pkcs11:token=a?module-path=/x.so", "must name the key"),
    ("pkcs11:object=a?module-path=/x.so&pin-value=1234", "holds a PIN"),
    ("pkcs11:object=a;pin-value=1234?module-path=/x.so", "holds a PIN"),
    ("pkcs11:object=a;slot-id=1?module-path=/x.so", "'slot-id'"),
    ("pkcs11:object=a;object=b?module-path=/x.so", "twice"), ("pkcs11:object=?module-path=/x.so", "no value"),
    ("pkcs11:object=a;type=cert?module-path=/x.so", "'type'"),
    ("pkcs11:object=a?module-path=/x.so&pin-source=1234", "pin-source"),
    ("pkcs11:object=a?module-path=/x.so&pin-source=env:", "name of an environment variable"),
    ("pkcs11:object=a?module-path=/x.so&module-name=x", "'module-name'"),
])
def test_faults_of_the_key(key: str, words: str, checkout: Checkout) -> None:
    fault, = faults(checkout, {"key": key, "certificate": CERTIFICATE})
    assert fault.startswith("$.signing.key: ") and words in fault
    assert "1234" not in fault and "MIIE" not in fault


def test_places_of_keys() -> None:
    assert key_place("a/b.key") == KeyPlace(file="a/b.key")
    assert key_place("env:A_1") == KeyPlace(variable="A_1")
    assert key_place(TOKEN) == KeyPlace(token=TokenKey("/usr/lib/x.so", token="A B", id=b"\x01\xff"))
    assert key_place("pkcs11:object=a;type=private?pin-source=file:/a%20b&module-path=%2Fx.so").token == TokenKey(
        "/x.so", "file:/a b", object="a")


@given(st.one_of(st.text(), st.text().map(lambda text: f"pkcs11:{text}"), st.from_regex(
    r"\Apkcs11:((token|object|id|type)=[%0-9a-f]{1,6};?){1,3}\?(module-path=/x|pin-source=[a-z:/]{1,9}|&){1,4}\Z")))
def test_any_key(text: str) -> None:
    try:
        assert isinstance(key_place(text), KeyPlace)
    except ValueError as error:
        assert "\n" not in str(error)


def test_secrets_are_taken_out_of_the_environment(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any command is started: those that the setting names, and ours in any case."""
    always = {"KMOD_SIGNING_KEY", "KMOD_SIGNING_PASSPHRASE"}
    assert secret_names("", MODULES) == secret_names("a.key", MODULES) == secret_names(TOKEN, MODULES) == always
    assert secret_names("", IMAGES) == {"KMOD_IMAGE_SIGNING_KEY", "KMOD_IMAGE_SIGNING_PASSPHRASE"}
    assert secret_names(f"{TOKEN}&pin-source=env:PIN_1", MODULES) == {*always, "PIN_1"}
    monkeypatch.setenv("A_KEY", "a key of the tests")
    monkeypatch.setenv("KMOD_SIGNING_PASSPHRASE", "a passphrase")
    assert faults(checkout, {"key": "env:A_KEY", "certificate": CERTIFICATE}) == []
    foundry = make_foundry(load_config(checkout.root, Profile("local", "")))
    assert foundry.secrets["A_KEY"] == "a key of the tests" and "A_KEY" not in os.environ
    assert foundry.secrets["KMOD_SIGNING_PASSPHRASE"] == "a passphrase"
    assert "KMOD_SIGNING_PASSPHRASE" not in os.environ
    assert "a key of the tests" not in repr(foundry)
