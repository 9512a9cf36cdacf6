"""Repository metadata: createrepo_c's own, and what must be refused."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from foundry.base.errors import FoundryError
from foundry.formats.packages import repodata
from foundry.formats.packages.repodata import Location
from tests.harness import rpmtools

SUM = "ab" * 32
REPOMD = f"""<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>17</revision>
<data type="other"><checksum type="md5">0</checksum><location href="/x"/></data>
<data type="primary"><checksum type="sha256">{SUM}</checksum><open-checksum type="sha256">{SUM}</open-checksum>
<location href="repodata/primary.xml.gz"/><size>12</size><open-size>99</open-size></data></repomd>"""
PRIMARY = f"""<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
<package type="rpm"><name>thing</name><arch>noarch</arch><version epoch="0" ver="1.2" rel="3"/>
<checksum type="sha256" pkgid="YES">{SUM}</checksum><time file="1" build="2"/><size package="5" installed="6"/>
<location href="thing-1.2.9.rpm"/><format><rpm:name>other</rpm:name></format></package></metadata>"""


def reason(data: str | bytes, primary: bool = False) -> str:
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(FoundryError) as caught:
        repodata.parse_primary(raw) if primary else repodata.parse_repomd(raw)
    return caught.value.reason


def test_repomd() -> None:
    parsed = repodata.parse_repomd(REPOMD.encode())
    assert parsed.revision == "17"
    assert parsed.primary == Location("repodata/primary.xml.gz", SUM, 12, 99, SUM)


def test_primary_takes_the_file_name_as_it_is() -> None:
    (package,) = repodata.parse_primary(PRIMARY.encode())
    assert (package.name, package.version, package.release, package.arch) == ("thing", "1.2", "3", "noarch")
    assert (package.href, package.sha256, package.size, package.build_time) == ("thing-1.2.9.rpm", SUM, 5, 2)


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
    assert package.sha256 == rpmtools.sha256(path)
    assert package.size == path.stat().st_size


@pytest.mark.parametrize(
    "page",
    [
        "", "no XML at all", "<html><body>Sign in</body></html>", "<!DOCTYPE html><html></html>",
        "<!doctype html><p>x", "<!-- a --><!-- b --><html><br></html>", "<repomd>", REPOMD[:-5], REPOMD * 2,
        "<!DOCTYPE repomd [<!ENTITY a 'b'>]>" + REPOMD.partition("?>")[2],
        PRIMARY, REPOMD.replace('"primary"', '"primary_db"'),
        REPOMD.replace('type="other"', 'type="primary"'),
        REPOMD.replace('"sha256"', '"sha"'), REPOMD.replace(SUM, "ab"), REPOMD.replace("<size>12", "<size>-1"),
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
    assert reason(PRIMARY.replace("thing-1.2.9.rpm", href), primary=True) == "repodata-malformed"
    assert reason(REPOMD.replace("repodata/primary.xml.gz", href)) == "repodata-malformed"


def test_another_base_is_refused() -> None:
    moved = PRIMARY.replace("<location ", '<location xml:base="https://elsewhere.invalid/" ')
    assert reason(moved, primary=True) == "repodata-malformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [("<name>thing</name>", ""), ('<size package="5"', '<size package="x"'), ('build="2"', 'build="1e9"'),
     (f'pkgid="YES">{SUM}', 'pkgid="YES">'), ("<metadata", "<html")],
)
def test_broken_packages(old: str, new: str) -> None:
    assert reason(PRIMARY.replace(old, new), primary=True) == "repodata-malformed"


def test_bombs_and_damage() -> None:
    place = Location("p", SUM, None, 1000, None)
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
    assert reason(PRIMARY.replace(f">{name}<", f">{'1' * 5000}<").replace(f'"{name}"', f'"{"1" * 5000}"'), True) == (
        "repodata-malformed")


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
