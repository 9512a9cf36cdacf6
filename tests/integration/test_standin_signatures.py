"""The stand-in's packages are signed as the vendor's are: read by our own code, with rpm and gpg as witnesses."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpm, rpmheader
from foundry.formats.packages.rpm import Package
from foundry.formats.packages.rpmheader import Tag
from foundry.packages import gpg
from foundry.packages.repository import verify_signature
from foundry.sandbox import oldrpm, openpgp3, standin
from foundry.sandbox.standin import StandinRepository
from tests.harness import rpmtools
from tests.harness.rpmtools import signing_key

SOURCE = Path("container/sandbox/standin").absolute()
VERSION = "2.22.2.0"
PAST = "--faked-system-time=20200101T000000"
HEADER_SIGNED, ALL_SIGNED = "Header V3 RSA/SHA256 Signature", "V3 RSA/SHA256 Signature"  # rpm's words


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> StandinRepository:
    folder = tmp_path_factory.mktemp("standin")
    return standin.build_repository(folder / "yum", [VERSION], source=SOURCE, log=folder / "log")


@pytest.fixture(scope="module")
def data(repository: StandinRepository) -> bytes:
    return (repository.folder / standin.package_file(VERSION)).read_bytes()


@pytest.fixture(scope="module")
def package(data: bytes) -> Package:
    return rpm.parse_package(data)


@pytest.fixture(scope="module")
def database(repository: StandinRepository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rpm's keys: the stand-in's alone."""
    folder = tmp_path_factory.mktemp("rpmdb")
    rpmtools.command("rpmkeys", "--dbpath", folder, "--import", repository.key_file)
    return folder


def rpm_says(database: Path, file: Path) -> tuple[bool, dict[str, str]]:
    """Whether rpm takes a package, and its word on each signature and digest that there is."""
    done = subprocess.run(
        ["rpmkeys", "--dbpath", str(database), "-Kv", str(file)],
        capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False,
    )
    lines = [line.strip().rpartition(": ") for line in done.stdout.splitlines()[1:]]
    return done.returncode == 0, {what.partition(",")[0]: word for what, _, word in lines if word != "NOTFOUND"}


def refused(data: bytes, repository: StandinRepository, package: Package | None = None) -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        verify_signature(data, package or rpm.parse_package(data), repository.key_file, repository.fingerprint)
    return caught.value


def with_signatures(data: bytes, start: int, *, without: int = 0) -> bytes:
    """The package with the unsigned digests made anew around what is behind `start`, one tag left out."""
    tags = oldrpm.values(rpmheader.parse(data, oldrpm.LEAD, "signature header"))
    signed = rpmheader.parse(data, start, "header")
    tags[Tag.SHA1_HEADER] = (6, 1, hashlib.sha1(data[start : signed.end]).hexdigest().encode() + b"\0")
    tags[Tag.MD5] = (7, 16, hashlib.md5(data[start:]).digest())
    tags[Tag.SIZE] = (4, 1, struct.pack(">I", len(data) - start))
    signatures = oldrpm.section(oldrpm.SIGNATURE_REGION, {tag: tags[tag] for tag in tags if tag != without})
    return data[: oldrpm.LEAD] + signatures + bytes(-len(signatures) % 8) + data[start:]


@pytest.mark.parametrize("arch", ["noarch", "src"])
def test_rpm_and_our_own_code_take_them(repository: StandinRepository, database: Path, arch: str) -> None:
    file = repository.folder / standin.package_file(VERSION, arch)
    good, said = rpm_says(database, file)
    assert good, said
    assert said == {HEADER_SIGNED: "OK", "Header SHA1 digest": "OK", ALL_SIGNED: "OK", "MD5 digest": "OK"}
    data = file.read_bytes()
    facts = verify_signature(data, rpm.parse_package(data), repository.key_file, repository.fingerprint)
    assert (facts.fingerprint, facts.created) == (repository.fingerprint, standin.build_time(VERSION))


def test_the_signature_header_has_the_vendors_tags(data: bytes) -> None:
    """No SHA-256 of the header, no room for other signatures."""
    kinds = {tag: kind for tag, (kind, *_) in rpmheader.parse(data, oldrpm.LEAD, "signature header").index.items()}
    assert kinds == {62: 7, 268: 7, 269: 6, 1000: 4, 1002: 7, 1004: 7, 1007: 4}


def test_signatures_are_of_version_3(repository: StandinRepository, package: Package, tmp_path: Path) -> None:
    for signature in (package.signature, package.header_signature):
        assert signature
        (tmp_path / "signature").write_bytes(signature)
        said = rpmtools.command("gpg", "--homedir", tmp_path, "--list-packets", tmp_path / "signature")
        assert f"algo 1, keyid {repository.fingerprint[-16:]}" in said
        assert f"version 3, created {standin.build_time(VERSION)}," in said
        assert "digest algo 8," in said


def test_the_signature_over_header_and_payload_is_what_counts(
    repository: StandinRepository, data: bytes, package: Package
) -> None:
    start, end = package.header_range
    assert package.signature and package.header_signature
    pairs = {package.signature: data[start:], package.header_signature: data[start:end]}
    for signature, covered in pairs.items():
        gpg.verify(covered, signature, repository.key_file, repository.fingerprint)
        for other in pairs.values():
            if other != covered:
                with pytest.raises(FoundryError, match="the signature is bad"):
                    gpg.verify(other, signature, repository.key_file, repository.fingerprint)
    # the header names no digest of the payload: its own signature is never enough, and is not asked
    error = refused(with_signatures(data, start, without=Tag.PGP), repository)
    assert (error.reason, "only its header is signed" in error.message) == ("signature-missing", True)
    alone = with_signatures(data, start, without=Tag.RSA_HEADER)
    verify_signature(alone, rpm.parse_package(alone), repository.key_file, repository.fingerprint)


@pytest.mark.parametrize("place", ["header", "payload", "the payload's end"])
def test_a_flipped_byte_is_refused(
    repository: StandinRepository, data: bytes, package: Package, database: Path, tmp_path: Path, place: str
) -> None:
    start, end = package.header_range
    text = data.index(b"It drives no hardware", start, end)
    at = {"header": text, "payload": (end + len(data)) // 2, "the payload's end": len(data) - 3}[place]
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(FoundryError) as caught:
        rpm.parse_package(changed)
    assert caught.value.reason == "rpm-damaged"
    assert refused(changed, repository, package).reason == "signature-bad"
    mended = with_signatures(changed, start)
    assert refused(mended, repository).reason == "signature-bad"
    (tmp_path / "p.rpm").write_bytes(mended)
    good, said = rpm_says(database, tmp_path / "p.rpm")
    assert not good
    in_header = "BAD" if place == "header" else "OK"
    assert said == {HEADER_SIGNED: in_header, "Header SHA1 digest": "OK", ALL_SIGNED: "BAD", "MD5 digest": "OK"}


def test_another_key_is_refused(repository: StandinRepository, data: bytes, database: Path, tmp_path: Path) -> None:
    with signing_key(PAST) as other:
        secret = openpgp3.read_secret_key(rpmtools.secret_key(other))
        theirs = oldrpm.signed(data, secret, standin.build_time(VERSION))
        verify_signature(theirs, rpm.parse_package(theirs), other.file, other.fingerprint)
    assert refused(theirs, repository).reason == "signature-wrong-key"
    (tmp_path / "p.rpm").write_bytes(theirs)
    good, said = rpm_says(database, tmp_path / "p.rpm")
    assert (good, said[HEADER_SIGNED], said[ALL_SIGNED]) == (False, "NOKEY", "NOKEY")
    mine = openpgp3.SecretKey(bytes.fromhex(repository.fingerprint), secret.modulus, secret.exponent)
    assert refused(oldrpm.signed(data, mine, standin.build_time(VERSION)), repository).reason == "signature-bad"


def test_nothing_but_the_form_is_changed(tmp_path: Path) -> None:
    """Sections are written as rpm writes them, and what a reader gets of a package stays the same."""
    built = rpmtools.build_rpm(tmp_path).read_bytes()
    before = rpm.parse_package(built)
    start, end = before.header_range
    header = rpmheader.parse(built, start, "header")
    assert oldrpm.section(oldrpm.HEADER_REGION, oldrpm.values(header)) == built[start:end]
    with signing_key(PAST) as key:
        secret = openpgp3.read_secret_key(rpmtools.secret_key(key))
    signed = oldrpm.signed(built, secret, standin.build_time(VERSION))
    assert oldrpm.signed(signed, secret, standin.build_time(VERSION)) == signed
    after = rpm.parse_package(signed)
    assert signed[after.header_range[1] :] == built[end:]
    assert before.payload_sha256 and after.payload_sha256 == ""
    form = ("header_range", "content_sha256", "signature", "header_signature", "payload_sha256", "files")
    assert replace(after, **{name: getattr(before, name) for name in form}) == before
    assert [replace(file, size=0) for file in after.files] == [replace(file, size=0) for file in before.files]
    assert {file.size for file in after.files if file.mode >> 12 == 4} == {4096}
