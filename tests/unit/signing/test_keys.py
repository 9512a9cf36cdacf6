"""Private keys from files, the environment and a token: what they sign, what is refused; nothing shows them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from foundry.base import plain_text
from foundry.base.environment import take_secrets
from foundry.base.errors import EXIT_OUTSIDE, FoundryError
from foundry.base.reasons import Reason
from foundry.config.signing import MODULES, secret_names
from foundry.formats.modules.signature import check, signed
from foundry.signing.certificate import read_certificate
from foundry.signing.keys import Signer, open_signer
from foundry.signing.new import write_pair
from tests.harness.signing import Pair, make_pair, openssl, pair_named

CONTENT = b"\x7fELF a module"
LIBRARY = next(iter(Path("/usr/lib").glob("**/libsofthsm2.so")), Path("/usr/lib/softhsm/libsofthsm2.so"))
PIN = "4711-pin"


def opened(key: str, pair: Pair, environ: Mapping[str, str] | None = None, root: Path = Path("/")) -> Signer:
    secrets = take_secrets(secret_names(key, MODULES), dict(environ or {}))
    return open_signer(key, read_certificate(pair.file), secrets, root)


def refused(key: str, pair: Pair, environ: Mapping[str, str] | None = None) -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        opened(key, pair, environ)
    error = caught.value
    assert error.hint and "\n" not in error.message
    secret = pair.key.read_text().splitlines()[5]
    assert secret not in repr(error.__cause__) + error.render()
    return error


def is_signed_by(signer: Signer, pair: Pair) -> bool:
    return signed(CONTENT, signer, "sha384") == signed(CONTENT, pair, "sha384")


def test_a_file(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    signer = opened("signing.key", pair, root=tmp_path)
    assert is_signed_by(signer, pair) and is_signed_by(opened(str(pair.key), pair), pair)
    assert signer.warnings == ()
    pair.key.chmod(0o640)
    assert "chmod 600" in opened(str(pair.key), pair).warnings[0]


@pytest.mark.parametrize("form", [["pkcs8", "-topk8", "-v2", "aes-256-cbc"], ["rsa", "-traditional", "-aes256"]])
def test_an_encrypted_file(form: list[str], tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    locked = replace(pair, key=tmp_path / "locked")
    openssl(*form, "-in", pair.key, "-out", locked.key, "-passout", "pass:right one")
    variable = "KMOD_SIGNING_PASSPHRASE"
    assert is_signed_by(opened(str(locked.key), pair, {variable: "right one"}), pair)
    for environ in ({}, {variable: "wrong"}):
        error = refused(str(locked.key), pair, environ)
        assert (error.reason, error.exit_code) == (Reason.SIGNING_KEY_LOCKED, EXIT_OUTSIDE) and variable in error.hint
    assert is_signed_by(opened(str(pair.key), pair, {variable: "not needed"}), pair)


def test_the_environment() -> None:
    pair = pair_named("one")
    pem = pair.key.read_text()
    for text in (pem, f"\n {pem}\n", pem.replace("\n", "\\n"), pem.replace("\n", "\r\n")):
        environ = {"ANY_NAME": text, "OTHER": "1"}
        secrets = take_secrets(secret_names("env:ANY_NAME", MODULES), environ)
        assert environ == {"OTHER": "1"}
        signer = open_signer("env:ANY_NAME", read_certificate(pair.file), secrets, Path("/"))
        assert is_signed_by(signer, pair)
        assert pem.splitlines()[3] not in plain_text.plain(f"a log with {pem.splitlines()[3]} in it")
        assert pem.splitlines()[3] not in repr(signer)
    error = refused("env:ANY_NAME", pair)
    assert (error.reason, error.exit_code) == (Reason.SIGNING_KEY_MISSING, EXIT_OUTSIDE) and "ANY_NAME" in error.message
    assert refused("env:ANY_NAME", pair, {"ANY_NAME": "text"}).reason == Reason.SIGNING_KEY_UNREADABLE


def test_what_is_no_key(tmp_path: Path) -> None:
    pair = pair_named("one")
    other = make_pair(tmp_path / "ed", kind="ed25519")
    damaged = tmp_path / "damaged"
    damaged.write_text(pair.key.read_text()[:-300] + "\n-----END PRIVATE KEY-----\n")
    assert refused(str(pair.file), pair).reason == Reason.SIGNING_KEY_UNREADABLE
    assert refused(str(damaged), pair).reason == Reason.SIGNING_KEY_UNREADABLE
    assert "not RSA" in refused(str(other.key), pair).message
    assert refused(str(tmp_path / "nothing"), pair).reason == Reason.SIGNING_KEY_MISSING
    assert refused(str(tmp_path), pair).reason == Reason.SIGNING_KEY_MISSING
    error = refused(str(pair_named("two").key), pair)
    assert error.reason == Reason.SIGNING_KEY_MISMATCH and "'one'" in error.message


def test_a_certificate_out_of_its_time() -> None:
    pair = pair_named("one")
    found, day = read_certificate(pair.file), timedelta(days=1)
    for changes, reason in ((({"not_after": datetime.now(UTC) - day}), Reason.CERTIFICATE_EXPIRED),
                            (({"not_before": datetime.now(UTC) + day}), Reason.CERTIFICATE_NOT_YET_VALID)):
        with pytest.raises(FoundryError) as caught:
            open_signer(str(pair.key), replace(found, **changes), {}, Path("/"))  # type: ignore[arg-type]
        assert caught.value.reason == reason


def test_warnings_of_the_certificate_are_the_signer_s(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, extensions=("basicConstraints=critical,CA:FALSE",))
    assert any("CA:TRUE" in one for one in opened(str(pair.key), pair).warnings)


def test_what_is_made_is_taken(tmp_path: Path) -> None:
    write_pair(tmp_path, "A site", years=10, passphrase="words")
    pair = Pair(tmp_path / "signing.key", tmp_path / "signing.crt")
    signer = opened(str(pair.key), pair, {"KMOD_SIGNING_PASSPHRASE": "words"})
    assert check(signed(CONTENT, signer, "sha256"), read_certificate(tmp_path / "signing.der")).signer == "A site"
    assert signer.warnings == ()


@dataclass(frozen=True)
class Token:
    """A token with the key `one`, and two keys of the same label."""

    pair: Pair

    def uri(self, path: str = "token=a%20token;object=one", query: str = "") -> str:
        return f"pkcs11:{path}?module-path={LIBRARY}{query}"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    folder, pair = tmp_path_factory.mktemp("token"), pair_named("one")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")  # the library is loaded once by this process

    def softhsm(*words: str | Path) -> None:
        subprocess.run(["softhsm2-util", *words], check=True, stdout=subprocess.DEVNULL)

    softhsm("--init-token", "--free", "--label", "a token", "--so-pin", "so-pin-0", "--pin", PIN)
    keys = (("one", "01", pair), ("twice", "02", pair_named("two")), ("twice", "03", pair))
    for label, number, one in keys:
        softhsm("--import", one.key, "--token", "a token", "--label", label, "--id", number, "--pin", PIN)
    return Token(pair)


def test_a_token(token: Token, tmp_path: Path) -> None:
    pin = {"KMOD_SIGNING_PASSPHRASE": PIN}
    locked = refused(token.uri(), token.pair)  # before anyone has logged in: a login is the process's
    assert (locked.reason, locked.exit_code) == (Reason.SIGNING_KEY_MISSING, EXIT_OUTSIDE)
    assert "KMOD_SIGNING_PASSPHRASE" in locked.hint
    wrong = refused(token.uri(), token.pair, {"KMOD_SIGNING_PASSPHRASE": "0000"})
    assert (wrong.reason, wrong.exit_code) == (Reason.SIGNING_KEY_LOCKED, EXIT_OUTSIDE)
    signer = opened(token.uri(), token.pair, pin)
    for hash_name in ("sha256", "sha384", "sha512"):
        assert signed(CONTENT, signer, hash_name) == signed(CONTENT, token.pair, hash_name)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: signer.sign(b"%d" % number, "sha256"), range(64)))
    assert made == [token.pair.sign(b"%d" % number, "sha256") for number in range(64)]
    file = tmp_path / "pin"
    file.write_text(f"{PIN}\n")
    for query, environ in ((f"&pin-source=file:{file}", {}), ("&pin-source=env:THE_PIN", {"THE_PIN": PIN})):
        assert is_signed_by(opened(token.uri(query=query), token.pair, environ), token.pair)
    assert is_signed_by(opened(token.uri("id=%03;type=private"), token.pair, pin), token.pair)


def test_what_a_token_does_not_have(token: Token) -> None:
    pin = {"KMOD_SIGNING_PASSPHRASE": PIN}
    for path, words in (("token=other;object=one", "none"), ("object=nothing", "no such"), ("object=twice", "several"),
                        ("serial=ffff;object=one", "none")):
        error = refused(token.uri(path), token.pair, pin)
        assert error.reason == Reason.SIGNING_KEY_MISSING and words in error.message
    assert refused(token.uri("id=%02"), token.pair, pin).reason == Reason.SIGNING_KEY_MISMATCH
    missing = refused("pkcs11:object=one?module-path=/nothing/here.so", token.pair, pin)
    assert (missing.reason, missing.exit_code) == (Reason.TOOL_MISSING, EXIT_OUTSIDE)
    lost = refused(token.uri(query="&pin-source=file:/nothing/here"), token.pair)
    assert lost.reason == Reason.SIGNING_KEY_MISSING
