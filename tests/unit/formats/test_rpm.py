"""Packages: what headers say, in real ones from rpmbuild and in broken ones written byte by byte."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpm, rpmpayload
from tests.harness import rpmtools
from tests.harness.rpmwriter import GOOD, LEAD, build, refused, save


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rpmtools.build_rpm(tmp_path_factory.mktemp("rpm"))


def test_what_the_header_says(built: Path) -> None:
    package = rpm.read_package(built)
    said = rpmtools.command(
        "rpm", "-qp", "--nosignature", "--qf",
        "%{NAME}|%{EPOCH}|%{VERSION}|%{RELEASE}|%{ARCH}|%{LICENSE}|%{SUMMARY}|%{DESCRIPTION}|%{BUILDTIME}|%{BUILDHOST}",
        built,
    )
    assert said == "|".join(
        str(part) for part in (
            package.name, "(none)", package.version, package.release, package.arch, package.license,
            package.summary, package.description, package.build_time, package.build_host,
        )
    )
    assert package.epoch is None
    assert package.nevra == "thing-dkms-1.2.3-1.noarch"
    assert package.scripts == {"postin": "echo postin"}
    dump = [line.split() for line in rpmtools.command("rpm", "-qp", "--nosignature", "--dump", built).splitlines()]
    for entry, (path, size, mtime, digest, mode, *_) in zip(package.files, dump, strict=True):
        assert (entry.path, entry.size, entry.mtime, f"0{entry.mode:o}") == (path, int(size), int(mtime), mode)
        assert entry.digest == digest.strip("0") or entry.digest == digest
    assert [entry.path for entry in package.files if entry.ghost] == ["/var/log/thing.log"]


@pytest.mark.parametrize(
    ("payload", "compressor"),
    [("w2.xzdio", "xz"), ("w6.gzdio", "gzip"), ("w3.zstdio", "zstd"), ("w0.ufdio", "none"),
     ("w9.bzdio", "bzip2"), ("w2.lzdio", "lzma")],
)
def test_every_compression_unpacks_to_the_same_tree(tmp_path: Path, payload: str, compressor: str) -> None:
    path = rpmtools.build_rpm(tmp_path, payload=payload)
    package = rpm.read_package(path)
    assert package.payload_compressor == compressor
    out = tmp_path / "out"
    written = rpmpayload.unpack(path, package, out)
    root = out / "usr/src/thing-1.2.3"
    assert sorted(p for p in out.rglob("*") if root in (p, *p.parents)) == sorted(written)
    assert (root / "main.c").read_text() == "version 1.2.3 \n"
    assert (root / "sub/link").readlink() == Path("../main.c")
    assert list((root / "empty").iterdir()) == []
    assert (root / "nothing").read_bytes() == b""
    assert {(root / name).read_text() for name in ("one", "sub/two", "sub/three")} == {"shared\n"}
    assert (root / "one").stat().st_ino == (root / "sub/two").stat().st_ino
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "main.c").stat().st_mode) == 0o644
    mtimes = {entry.path: entry.mtime for entry in package.files}
    assert (root / "main.c").stat().st_mtime == mtimes["/usr/src/thing-1.2.3/main.c"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_hang_on_the_umask(tmp_path: Path, umask: int) -> None:
    path = save(tmp_path, build(GOOD))
    before = os.umask(umask)
    try:
        rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out")
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): stat.S_IMODE(p.lstat().st_mode) for p in (tmp_path / "out").rglob("*")}
    assert modes == {
        "out/usr": 0o755, "out/usr/src": 0o755, "out/usr/src/t": 0o755, "out/usr/src/t/a.c": 0o644,
        "out/usr/src/t/run": 0o755, "out/usr/src/t/l": 0o777,
    }
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


def test_resigning_keeps_the_content_hash(tmp_path: Path) -> None:
    path = rpmtools.build_rpm(tmp_path)
    plain, whole = rpm.read_package(path), rpmtools.sha256(path)
    with rpmtools.signing_key() as key:
        rpmtools.sign_rpm(path, key)
    signed = rpm.read_package(path)
    assert rpmtools.sha256(path) != whole
    assert signed.content_sha256 == plain.content_sha256
    assert (plain.signature, plain.header_signature) == (None, None)
    assert signed.signature
    assert signed.header_signature


def regions(built: Path) -> list[tuple[str, int]]:
    start, end = rpm.read_package(built).header_range
    size = built.stat().st_size
    return [("header", start + 8), ("header", (start + end) // 2), ("payload", end + 20), ("payload", size - 5)]


def flips(built: Path) -> Iterator[tuple[str, bytes]]:
    for region, at in regions(built):
        data = bytearray(built.read_bytes())
        data[at] ^= 0x40
        yield region, bytes(data)


def test_a_flipped_byte_in_header_or_payload_is_damage(built: Path, tmp_path: Path) -> None:
    for region, data in flips(built):
        with pytest.raises(FoundryError) as caught:
            rpm.read_package(save(tmp_path, data))
        assert caught.value.reason == "rpm-damaged", region


def test_a_flipped_byte_in_the_lead_changes_nothing(built: Path, tmp_path: Path) -> None:
    """The lead's content decides nothing in rpm either; only its magic must be there."""
    data = bytearray(built.read_bytes())
    data[20] ^= 0x40
    assert rpm.read_package(save(tmp_path, bytes(data))) == rpm.read_package(built)
    data[0] ^= 0x40
    assert refused(tmp_path, bytes(data)) == "rpm-damaged"


def test_every_cut_is_damage(built: Path, tmp_path: Path) -> None:
    data = built.read_bytes()
    for size in (*range(0, 400, 7), *range(400, len(data), 97), len(data) - 1):
        with pytest.raises(FoundryError) as caught:
            rpm.read_package(save(tmp_path, data[:size]))
        assert caught.value.reason == "rpm-damaged", size


def test_an_index_that_is_cut_off_before_an_empty_store(tmp_path: Path) -> None:
    data = LEAD + b"\x8e\xad\xe8\x01" + bytes(4) + b"\0\0\0\x05" + bytes(4) + bytes(20)
    assert refused(tmp_path, data) == "rpm-damaged"


@pytest.mark.parametrize(
    "tags",
    [
        {1000: None}, {1000: (6, "a/b")}, {1001: (6, "..")}, {1001: (6, "")}, {1022: (4, 1)}, {5011: (4, 99)},
        {1028: (4, [1])}, {1116: (4, [0, 0, 0, 9])}, {1116: (4, [0])}, {1117: (8, ["a", "b"])}, {1030: (4, [1])},
        {5092: (8, ["0" * 64]), 5093: (4, 8)}, {1037: None}, {1000: (6, ".")}, {1001: (6, "1 2")},
    ],
)
def test_headers_that_contradict_themselves(tmp_path: Path, tags: dict[int, tuple[int, int] | None]) -> None:
    assert refused(tmp_path, build(GOOD, tags=tags)) == "rpm-damaged"


def test_unsigned_digests_are_compared(tmp_path: Path) -> None:
    for signatures in ({1000: (4, 5)}, {1004: (7, bytes(16))}, {269: (6, "0" * 40)}, {273: (6, "0" * 64)}):
        assert refused(tmp_path, build(GOOD, signatures=signatures)) == "rpm-damaged"


def test_a_signature_of_the_old_kind_is_found() -> None:
    package = rpm.parse_package(build(signatures={1005: (7, b"gpg"), 267: (7, b"dsa")}))
    assert (package.signature, package.header_signature) == (b"gpg", b"dsa")


def test_a_payload_digest_of_another_kind_vouches_for_nothing() -> None:
    """Only SHA-256 is compared; a header with another one, signed alone, says nothing of the payload."""
    package = rpm.parse_package(build(GOOD, tags={5092: (8, ["a" * 128]), 5093: (4, 10)}))
    assert package.payload_sha256 == ""
    payload = build(GOOD)[rpm.parse_package(build(GOOD)).header_range[1]:]
    digest = hashlib.sha256(payload).hexdigest()
    vouched = rpm.parse_package(build(GOOD, tags={5092: (8, [digest.upper()]), 5093: (4, 8)}))
    assert vouched.payload_sha256 == digest


def test_the_content_is_all_that_resigning_leaves() -> None:
    data, signed = build(GOOD), build(GOOD, signatures={1005: (7, b"gpg")})
    package = rpm.parse_package(data)
    assert package.content_sha256 == hashlib.sha256(data[package.header_range[0]:]).hexdigest()
    assert rpm.parse_package(signed).content_sha256 == package.content_sha256
    other = build(GOOD, tags={1014: (6, "MIT")})
    assert rpm.parse_package(other).content_sha256 != package.content_sha256, "the header counts"


def test_a_name_that_is_not_plain_text() -> None:
    for name in ("a\nb", "\x1b[31m", b"\xff".decode("utf-8", "surrogateescape")):
        data = build(GOOD, tags={1117: (8, ["t", "PLACE", "run", "l"])})
        raw = name.encode("utf-8", "surrogateescape")
        with pytest.raises(FoundryError) as caught:
            rpm.parse_package(data.replace(b"PLACE", raw.ljust(5, b"x")))
        assert caught.value.reason == "package-unsafe-path"


def test_a_file_that_is_named_twice() -> None:
    """Who reads the list and who unpacks could mean different ones."""
    with pytest.raises(FoundryError, match="names a file twice"):
        rpm.parse_package(build(GOOD, tags={1117: (8, ["t", "a.c", "a.c", "l"])}))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.rpm"
    with path.open("wb") as stream:
        stream.truncate(rpm.MAX_FILE + 1)  # holds no blocks
    with pytest.raises(FoundryError) as caught:
        rpm.read_package(path)
    assert caught.value.reason == "rpm-too-large"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FoundryError) as caught:
        rpm.read_package(tmp_path / "no.rpm")
    assert caught.value.reason == "rpm-unreadable"
