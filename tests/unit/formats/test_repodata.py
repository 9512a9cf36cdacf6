"""Repository metadata: createrepo_c's own, and what must be refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from pathlib import Path

import pytest
import zstandard

from foundry.base.errors import FoundryError
from foundry.formats.packages import repodata
from foundry.formats.packages.repodata import Checksum, Location
from tests.harness import rpmtools

SUM = "ab" * 32
SHA256 = Checksum("sha256", SUM)
REPOMD = f"""<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>17</revision>
<data type="other"><checksum type="md5">0</checksum><location href="/x"/></data>
<data type="primary"><checksum type="sha256">{SUM}</checksum><open-checksum type="sha256">{SUM}</open-checksum>
<location href="repodata/primary.xml.gz"/><size>12</size><open-size>99</open-size></data></repomd>"""
PRIMARY = f"""<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
<package type="rpm"><name>thing</name><arch>noarch</arch><version epoch="0" ver="1.2" rel="3"/>
<checksum type="sha256" pkgid="YES">{SUM}</checksum><time file="1" build="2"/><size package="5" installed="6"/>
<location href="thing-1.2.9.rpm"/><format><rpm:name>other</rpm:name></format></package></metadata>"""


def reason(data: str | bytes) -> str:
    with pytest.raises(FoundryError) as caught:
        repodata.parse_repomd(data.encode() if isinstance(data, str) else data)
    return caught.value.reason


def fault(data: str) -> str:
    """What is wrong with the one package of a list."""
    (package,) = repodata.parse_primary(data.encode())
    return package.fault


def test_repomd() -> None:
    parsed = repodata.parse_repomd(REPOMD.encode())
    assert parsed.revision == "17"
    assert parsed.primary == Location("repodata/primary.xml.gz", SHA256, 12, 99, SHA256)


def test_primary_takes_the_file_name_as_it_is() -> None:
    (package,) = repodata.parse_primary(PRIMARY.encode())
    assert (package.name, package.version, package.release, package.arch) == ("thing", "1.2", "3", "noarch")
    assert (package.href, package.checksum, package.size, package.build_time) == ("thing-1.2.9.rpm", SHA256, 5, 2)
    assert not package.weak and not package.fault


@pytest.mark.parametrize("compress", ["gz", "xz", "bz2", "zstd"])
def test_what_createrepo_writes(tmp_path: Path, compress: str) -> None:
    """The compressions that this createrepo_c knows; zstd is one of later versions."""
    path = rpmtools.build_rpm(tmp_path)
    kind = "gz" if compress == "zstd" else compress
    rpmtools.index(tmp_path, f"--general-compress-type={kind}")
    primary = repodata.parse_repomd((tmp_path / "repodata/repomd.xml").read_bytes()).primary
    sent = (tmp_path / primary.href).read_bytes()
    if compress == "zstd":
        sent = zstandard.ZstdCompressor().compress(gzip.decompress(sent))
    opened = repodata.open_primary(sent, primary).read()
    assert len(opened) == primary.open_size
    (package,) = repodata.parse_primary(opened)
    assert package.href == path.name
    assert package.checksum == Checksum("sha256", rpmtools.sha256(path))
    assert package.size == path.stat().st_size


@pytest.mark.parametrize(
    "page",
    [
        "", "no XML at all", "<html><body>Sign in</body></html>", "<!DOCTYPE html><html></html>",
        "<!doctype html><p>x", "<!-- a --><!-- b --><html><br></html>", "<repomd>", REPOMD[:-5], REPOMD * 2,
        "<!DOCTYPE repomd [<!ENTITY a 'b'>]>" + REPOMD.partition("?>")[2],
        PRIMARY, REPOMD.replace('"primary"', '"primary2"'),
        REPOMD.replace('type="other"', 'type="primary"'),
        REPOMD.replace('"sha256"', '"sha"'), REPOMD.replace(SUM, "ab"), REPOMD.replace(SUM, "xy" * 32),
        REPOMD.replace("<size>12", "<size>-1"),
        REPOMD.replace("UTF-8", "no-such-code"),
    ],
)
def test_documents_that_are_no_repomd(page: str) -> None:
    assert reason(page) == "repodata-malformed"


def test_an_html_page_is_called_one() -> None:
    for page in ("<html><body>Sign in</body></html>", "<!DOCTYPE html><html/>", "<!doctype html><p>x"):
        with pytest.raises(FoundryError, match="HTML"):
            repodata.parse_repomd(page.encode())


def test_a_doctype_in_another_encoding_is_seen_too() -> None:
    assert reason(("<!DOCTYPE repomd [<!ENTITY a 'b'>]>" + REPOMD.partition("?>")[2]).encode("utf-16")) == (
        "repodata-malformed"
    )


@pytest.mark.parametrize(
    "href",
    ["../x.rpm", "a/../../x.rpm", "/etc/passwd", "https://elsewhere.invalid/x.rpm", "file:x", "//host/x", "a\\b", "",
     "%2e%2e/x.rpm", "a/%2E%2E/x", "x.rpm?y", "x.rpm#y", "a//b", "a\x7fb", "%2fetc/passwd", "a%00b", "a%5cb"],
)
def test_places_outside(href: str) -> None:
    assert "outside" in fault(PRIMARY.replace("thing-1.2.9.rpm", href))
    assert reason(REPOMD.replace("repodata/primary.xml.gz", href)) == "repodata-malformed"


ROOT = "https://repo.invalid/el9/"


def based(text: str, base: str) -> bytes:
    return text.replace("<location ", f'<location xml:base="{base}" ').encode()


@pytest.mark.parametrize(("base", "href"), [
    (ROOT, "thing-1.2.9.rpm"), (ROOT.rstrip("/"), "thing-1.2.9.rpm"),
    (ROOT.replace("https", "http"), "thing-1.2.9.rpm"),
    (ROOT + "Packages", "Packages/thing-1.2.9.rpm"), ("Packages/t", "Packages/t/thing-1.2.9.rpm"),
    (".", "thing-1.2.9.rpm"), ("/el9", "thing-1.2.9.rpm"),
])
def test_a_base_within_the_repository(base: str, href: str) -> None:
    """As ``createrepo_c --baseurl`` writes it."""
    (package,) = repodata.parse_primary(based(PRIMARY, base), ROOT)
    assert (package.href, package.fault) == (href, "")
    assert repodata.parse_repomd(based(REPOMD, base), root=ROOT).primary.href.endswith("repodata/primary.xml.gz")


@pytest.mark.parametrize("base", [
    "https://elsewhere.invalid/", "https://repo.invalid/", "https://repo.invalid:1/el9/", "https://repo.invalid/el9x/",
    "https://repo.invalid@elsewhere.invalid/el9/", "ftp://repo.invalid/el9/", "..", "a/../../x", "%2e%2e", "//x",
    "/el8", "https://[repo.invalid/el9/", "https://repo.invalid/el9/%2e%2e", "a?b", "https://repo.invalid/el9/?x=",
])
def test_a_base_elsewhere_is_a_fault_of_what_it_stands_at(base: str) -> None:
    (package,) = repodata.parse_primary(based(PRIMARY, base), ROOT)
    assert f"xml:base={base!r}" in package.fault and "thing-1.2.9.rpm" in package.fault
    with pytest.raises(FoundryError, match="xml:base"):
        repodata.parse_repomd(based(REPOMD, base), root=ROOT)


@pytest.mark.parametrize(("old", "new"), [
    ("<name>thing</name>", ""), ('<size package="5"', '<size package="x"'), ('build="2"', 'build="1e9"'),
    (f'pkgid="YES">{SUM}', 'pkgid="YES">'), ("<arch>noarch</arch>", ""), ('<version epoch="0" ver="1.2" rel="3"/>', ""),
    ('epoch="0"', 'epoch="-1"'), ('<checksum type="sha256"', '<checksum type="sm3"'),
    ('<location href="thing-1.2.9.rpm"/>', ""),
])
def test_a_package_that_makes_no_sense_is_no_fault_of_the_list(old: str, new: str) -> None:
    assert fault(PRIMARY.replace(old, new))


def test_texts_without_end_are_not_kept() -> None:
    """A changelog of a foreign package is nobody's business; a name of that length is no name."""
    assert not fault(PRIMARY.replace("<format>", "<description>" + "x" * (3 << 20) + "</description><format>"))
    (package,) = repodata.parse_primary(PRIMARY.replace(">thing<", f">{'x' * (3 << 20)}<").encode())
    assert package.fault and len(package.name) < 100


@pytest.mark.parametrize(("kind", "name"), [
    ("sha224", "sha224"), ("sha256", "sha256"), ("sha384", "sha384"), ("sha512", "sha512"), ("SHA512", "sha512"),
    ("sha", "sha1"), ("sha1", "sha1"), ("md5", "md5"),
])
def test_kinds_of_checksums(kind: str, name: str) -> None:
    digest = hashlib.new(name, b"content").hexdigest()
    (package,) = repodata.parse_primary(PRIMARY.replace('"sha256"', f'"{kind}"').replace(SUM, digest).encode())
    assert package.checksum == Checksum(name, digest) and package.checksum.fits(b"content")
    assert not package.checksum.fits(b"another") and not package.fault
    assert package.weak == package.checksum.weak == (name if name in ("md5", "sha1") else "")
    assert fault(PRIMARY.replace('"sha256"', f'"{kind}"').replace(SUM, digest[1:]))


@pytest.mark.parametrize(("page", "words"), [
    (REPOMD.replace('"primary"', '"primary_db"'), "primary_db"),
    (REPOMD.replace('"primary"', '"primary_zck"'), "primary_zck"),
    (REPOMD.replace('"sha256"', '"sm3"'), "sm3"),
])
def test_forms_that_are_not_read(page: str, words: str) -> None:
    with pytest.raises(FoundryError, match=words) as caught:
        repodata.parse_repomd(page.encode())
    assert caught.value.reason == "repodata-unsupported"


def test_other_forms_of_the_list_are_passed_over() -> None:
    more = '<data type="primary_db"><checksum type="sm3"/></data><data type="primary_zck"/><data type="primary">'
    assert repodata.parse_repomd(REPOMD.replace('<data type="primary">', more).encode()).primary.size == 12
    with pytest.raises(FoundryError, match="zchunk"):
        repodata.open_primary(b"\0ZCK1 and so on", Location("p", SHA256, None, None, None))


def test_bombs_and_damage() -> None:
    place = Location("p", SHA256, None, 1000, None)
    for data, expected in (
        (gzip.compress(bytes(5000)), "repodata-too-large"),
        (lzma.compress(bytes(5000)), "repodata-too-large"),
        (bytes(5000), "repodata-too-large"),
        (gzip.compress(b"x" * 500)[:-4], "repodata-malformed"),
        (gzip.compress(b"x" * 500)[:-12], "repodata-malformed"),
        (zstandard.compress(b"x" * 500)[:-1], "repodata-malformed"),
        (b"\x1f\x8bnot gzip", "repodata-malformed"),
        (b"\x28\xb5\x2f\xfdnot zstd", "repodata-malformed"),
    ):
        with pytest.raises(FoundryError) as caught:
            repodata.open_primary(data, place).read()
        assert caught.value.reason == expected


@pytest.mark.parametrize("name", ["thing", "noarch", "1.2", "3"])
def test_names_and_versions_without_end(name: str) -> None:
    """A number of 5,000 digits can't be compared, as versions are."""
    found = repodata.parse_primary(
        PRIMARY.replace(f">{name}<", f">{'1' * 5000}<").replace(f'"{name}"', f'"{"1" * 5000}"').encode())
    assert all(len(text) < 100 for one in found for text in (one.name, one.arch, one.version, one.release))


@pytest.mark.parametrize("text", ['<x a="', "<!-- ", "<x ", "<?x "])
def test_a_tag_without_end(text: str) -> None:
    """The parser begins it anew with each piece: what it looks at would grow with the square."""
    class Endless:
        taken = 0

        def read(self, size: int = -1, /) -> bytes:
            self.taken += size
            return ("<metadata>" + text).ljust(size).encode() if self.taken == size else b" " * size

    stream = Endless()
    with pytest.raises(FoundryError) as raised:
        repodata.parse_primary(stream)
    assert raised.value.reason == "repodata-malformed"
    assert stream.taken < 8 << 20
