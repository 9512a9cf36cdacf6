"""`doit signing:new`: what it leaves and says, and that nothing is overwritten or half-done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry.base.errors import EXIT_CONFIG
from foundry.signing import new
from foundry.signing.certificate import read_certificate
from tests.harness.signing import openssl
from tests.lint.test_lint import ROOT

FILES = {"signing.key", "signing.crt", "signing.der"}


def run(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "doit", "signing:new", *words], cwd=ROOT, text=True,
                          capture_output=True, check=False, env={**os.environ, **environ})


def test_what_it_makes_and_says(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = run("--name", "A site: modules", f"--out={folder}", "--years=20")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "signing.key").stat().st_mode & 0o777 == 0o600
    text = openssl("x509", "-in", folder / "signing.crt", "-noout", "-text").decode()
    for words in ("Public-Key: (2048 bit)", "CA:TRUE", "Certificate Sign", "Subject Key Identifier",
                  "CN = A site: modules", "sha256WithRSAEncryption"):
        assert words in text
    assert text.count("critical") == 2 and "Digital Signature" not in text
    found = read_certificate(folder / "signing.crt")
    assert found == read_certificate(folder / "signing.der") and found.warnings == ()
    assert 19 < (found.not_after - found.not_before).days / 365 < 21
    openssl("pkey", "-in", folder / "signing.key", "-check", "-noout")
    for words in ("mokutil --import", "MachineConfig", "gh secret set", "firmware's db", found.fingerprint,
                  f'signing: {{key: "{folder}/signing.key", certificate: "{folder}/signing.crt"}}'):
        assert words in done.stdout
    assert (folder / "signing.key").read_text().splitlines()[4] not in done.stdout + done.stderr


def test_it_is_encrypted_where_a_passphrase_is_set(tmp_path: Path) -> None:
    assert run(f"--out={tmp_path}", KMOD_SIGNING_PASSPHRASE="words of mine").returncode == 0
    assert "ENCRYPTED" in (tmp_path / "signing.key").read_text()
    openssl("pkey", "-in", tmp_path / "signing.key", "-passin", "pass:words of mine", "-noout")


@pytest.mark.parametrize("there", sorted(FILES))
def test_nothing_is_overwritten(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    done = run(f"--out={tmp_path}")
    assert done.returncode == EXIT_CONFIG and f"{there} is there already" in done.stderr and "hint:" in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_nothing_is_left_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "DER_FILE", "no/such/folder")
    with pytest.raises(OSError):
        new.write_pair(tmp_path, "A site", years=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--years=0"], ["--years=x"], [f"--name={'x' * 65}"], ["--name="], ["a-name"]])
def test_what_can_t_be_meant(words: list[str], tmp_path: Path) -> None:
    done = run(*words[:1], f"--out={tmp_path}", *words[1:])
    assert done.returncode == EXIT_CONFIG and "Traceback" not in done.stderr and "hint:" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_git_ignores_keys() -> None:
    """Those that it makes by default, and any elsewhere in the checkout; never the certificates."""
    for path, ignored in (("config/signing/signing.key", True), ("signing.key", True), ("a/b/other.key", True),
                          ("config/signing/signing.crt", False), ("config/signing/signing.der", False)):
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert (done.returncode == 0) is ignored, path
