"""Debian's archive is where this machine's apt has it; no file of the project names a host of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from foundry.base.errors import OutsideError
from foundry.base.files import sha256_file
from foundry.packages import apt
from tests.harness.checkout import ROOT

_HOSTS = re.compile(r"(deb|ftp[.\w]*|security|snapshot|packages|archive)\.(debian\.org|ubuntu\.com)")


def test_no_file_names_a_host_of_the_archive() -> None:
    names = subprocess.run(["git", "ls-files", "config", "container", "foundry", "tasks", "schemas", "docs"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in names if _HOSTS.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))] == []


@pytest.mark.parametrize("listed, base", [
    ("Debian-Security|http://a.test/debian-security/\nDebian|http://b.test/mirror/debian/", "http://b.test/mirror/debian"),
    ("|https://cache.test:3142/debian/", "https://cache.test:3142/debian"), ("Ubuntu|http://c.test/ubuntu/", ""),
    ("Debian|cdrom:[x]/\nDebian|file:/srv/debian/", "file:/srv/debian"), ("", ""), ("Other|http://d.test/debian/", ""),
])
def test_the_first_archive_of_that_name(listed: str, base: str) -> None:
    assert apt.chosen(listed, "debian") == base


def test_the_archive_of_security_updates() -> None:
    listed = "Debian|http://b.test/debian/\nDebian-Security|http://a.test/security/\n"
    assert apt.chosen(listed, "debian-security") == "http://a.test/security"


def test_addresses() -> None:
    assert apt.address("https://x.test/a") == "https://x.test/a"
    assert apt.address("apt://debian/pool/a") == f"{apt.archive('debian')}/pool/a"
    with pytest.raises(OutsideError, match="no archive of nowhere") as caught:
        apt.address("apt://nowhere/pool/a")
    assert caught.value.reason == "tool-missing"


def test_a_file_comes_through_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By apt's own helper, which knows its proxies and log-ins; a mirror's bytes are compared."""
    mirror = tmp_path / "debian"
    (mirror / "pool").mkdir(parents=True)
    (mirror / "pool/a.deb").write_bytes(b"a package")
    monkeypatch.setattr(apt, "archive", lambda name: f"file:{mirror}")
    file, log = tmp_path / "a.deb", tmp_path / "log"
    assert apt.download("apt://debian/pool/a.deb", file, log) == f"file:{mirror}/pool/a.deb"
    assert file.read_bytes() == b"a package"
    with pytest.raises(OutsideError):
        apt.download("apt://debian/pool/a.deb", tmp_path / "b.deb", log, sha256="0" * 64)
    assert apt.download("apt://debian/pool/a.deb", tmp_path / "c.deb", log, sha256=sha256_file(file))


def test_security_updates_lie_beside_the_archive_or_nowhere(tmp_path: Path) -> None:
    """As on a machine with the line `deb …/debian trixie main` alone."""
    (tmp_path / "security/dists/a-security").mkdir(parents=True)
    (tmp_path / "security/dists/a-security/InRelease").write_bytes(b"a list")
    known, proof, log = f"file:{tmp_path}/debian", "dists/a-security/InRelease", tmp_path / "log"
    assert apt.beside(known, "security", proof, tmp_path / "file", log) == f"file:{tmp_path}/security"
    assert apt.beside(known, "updates", proof, tmp_path / "file", log) == ""
