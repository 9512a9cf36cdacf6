"""Payloads: nothing evil or contradictory is ever written, and nothing is left of it."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpm, rpmpayload
from foundry.formats.trees.budget import Budget
from tests.harness.rpmwriter import FOLDER, GOOD, LINK, File, archive, build, newc, refused, save, trailer


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (File("/usr/../../etc/x"), "package-unsafe-path"),
        (File("/../x"), "package-unsafe-path"),
        (File("//etc/x"), "package-unsafe-path"),
        (File("/usr/./x"), "package-unsafe-path"),
        (File("/usr/a\nb"), "package-unsafe-path"),
        (File("/usr/" + "n" * 300), "package-unsafe-path"),
        (File("/d" * 400), "package-unsafe-path"),
        (File("/usr/x", member="/usr/x"), "package-unsafe-path"),
        (File("/usr/x", member="../usr/x"), "package-unsafe-path"),
        (File("/usr/x", member="././usr/x"), "package-unsafe-path"),
        (File("/usr/x", member="./usr/\udcff"), "package-unsafe-path"),
        (File("/usr/x", member="./usr/y"), "rpm-damaged"),
        (File("/l", linkto="/etc/passwd", mode=LINK), "package-unsafe-link"),
        (File("/l", linkto="..", mode=LINK), "package-unsafe-link"),
        (File("/a/l", linkto="../../x", mode=LINK), "package-unsafe-link"),
        (File("/l", linkto="a", body=b"b", mode=LINK), "rpm-damaged"),
        (File("/l", linkto="", mode=LINK), "rpm-damaged"),
        (File("/dev", mode=stat.S_IFCHR | 0o600), "package-unsafe-type"),
        (File("/dev", mode=stat.S_IFBLK | 0o600), "package-unsafe-type"),
        (File("/fifo", mode=stat.S_IFIFO | 0o600), "package-unsafe-type"),
        (File("/sock", mode=stat.S_IFSOCK | 0o600), "package-unsafe-type"),
        (File("/none", mode=0), "package-unsafe-type"),
        (File("/x", b"said", body=b"sent"), "rpm-damaged"),
        (File("/x", b"said", body=b"more than said"), "rpm-damaged"),
        (File("/x", b"data", nlink=2, body=b""), "rpm-damaged"),
        (File("/d", mode=FOLDER, body=b"data"), "rpm-damaged"),
    ],
)
def test_evil_files(tmp_path: Path, file: File, reason: str) -> None:
    assert refused(tmp_path, build([File("/usr/src/first", b"1"), file])) == reason


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    link = File("/d", linkto="e", mode=LINK)
    assert refused(tmp_path, build([File("/e", mode=FOLDER), link, File("/d/x", b"1")])) == "package-unsafe-path"
    assert refused(tmp_path, build([File("/f", b"1"), File("/f/x", b"1")])) == "package-unsafe-path"
    assert refused(tmp_path, build([File("/f/x", b"1"), File("/f", b"1")])) == "rpm-damaged"


def test_links_that_only_together_lead_outside(tmp_path: Path) -> None:
    pair = [File("/a", linkto=".", mode=LINK), File("/b", linkto="a/../..", mode=LINK)]
    assert refused(tmp_path, build(pair)) == "package-unsafe-link"
    pair = [File("/a", linkto=".", mode=LINK), File("/b", linkto="a/..", mode=LINK)]
    assert refused(tmp_path, build(pair)) == "package-unsafe-link"


def test_links_inside_may_dangle_but_not_loop(tmp_path: Path) -> None:
    loop = [File("/a", linkto="b", mode=LINK), File("/b", linkto="a", mode=LINK)]
    assert refused(tmp_path, build(loop)) == "package-unsafe-link"
    assert refused(tmp_path, build([File("/a", linkto="a/x", mode=LINK)])) == "package-unsafe-link"
    path = save(tmp_path, build([File("/c", linkto="no/where", mode=LINK)]))
    assert rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out") == [tmp_path / "out/c"]


def test_header_and_payload_hold_the_same_files(tmp_path: Path) -> None:
    extra = archive([*GOOD, File("/usr/src/t/more", b"1")])
    assert refused(tmp_path, build(GOOD, payload=extra)) == "rpm-damaged"
    assert refused(tmp_path, build(GOOD, payload=archive(GOOD[:-1]))) == "rpm-damaged"
    assert refused(tmp_path, build(GOOD, payload=archive([*GOOD, GOOD[1]]))) == "rpm-damaged"
    assert refused(tmp_path, build([File("/g", flags=rpm.GHOST)])) == "rpm-damaged"
    assert refused(tmp_path, build([File("/g", b"1"), File("/g", b"1")])) == "rpm-damaged"


def test_bombs_stop_at_the_limit(tmp_path: Path) -> None:
    for compressor in ("gzip", "xz", "lzma", "bzip2", "zstd", "none"):
        data = build([File("/zeros", bytes(3 << 20))], compressor=compressor)
        assert refused(tmp_path, data, max_bytes=1 << 20) == "rpm-too-large", compressor


def test_damaged_compression(tmp_path: Path) -> None:
    for compressor in ("gzip", "xz", "lzma", "bzip2", "zstd"):
        data = build(GOOD, compressor=compressor)
        assert refused(tmp_path, data[:-30]) == "rpm-damaged", compressor
    assert refused(tmp_path, build(GOOD, compressor="xz") + b"more") == "rpm-damaged"
    assert refused(tmp_path, build(GOOD, tags={1125: (6, "rot13")})) == "rpm-damaged"
    assert refused(tmp_path, build(GOOD, tags={1124: (6, "drpm")})) == "rpm-unsupported"


@pytest.mark.parametrize(("number", "name"), [(None, "md5"), (1, "md5"), (2, "sha1"), (10, "sha512")])
def test_other_file_digests(tmp_path: Path, number: int | None, name: str) -> None:
    import hashlib

    file = File("/x", b"data")
    digest = hashlib.new(name, file.data, usedforsecurity=False).hexdigest()
    tags = {1035: (8, [digest]), 5011: (4, number) if number else None}
    path = save(tmp_path, build([file], tags=tags))
    assert rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out") == [tmp_path / "out/x"]


def test_a_file_without_digest_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, build([File("/x", b"data")], tags={1035: (8, [""])})) == "rpm-damaged"


def test_the_stripped_payload_of_very_large_files(tmp_path: Path) -> None:
    files = [File("/a", b"abc"), File("/b", b"12345")]
    payload = b"07070X00000001\0\x0012345\0\0\0" + b"07070X00000000\0\0abc\0" + trailer()
    path = save(tmp_path, build(files, payload=payload))
    written = rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out")
    assert [p.read_bytes() for p in written] == [b"12345", b"abc"]
    twins = [File("/a", b"abc", inode=5), File("/b", b"abc", inode=5)]
    path.unlink()
    folder = tmp_path / "twins"
    folder.mkdir()
    assert refused(folder, build(twins, payload=payload)) == "rpm-unsupported"


def test_the_target_must_be_absent_or_empty(tmp_path: Path) -> None:
    path = save(tmp_path, build(GOOD))
    package = rpm.read_package(path)
    out = tmp_path / "out"
    out.mkdir()
    assert len(rpmpayload.unpack(path, package, out)) == 4
    with pytest.raises(FoundryError) as caught:
        rpmpayload.unpack(path, package, out)
    assert caught.value.reason == "target-exists"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FoundryError):
        rpmpayload.unpack(path, package, tmp_path / "link")


def test_a_file_that_changed_since_it_was_read(tmp_path: Path) -> None:
    path = save(tmp_path, build(GOOD))
    package = rpm.read_package(path)
    path.write_bytes(build(GOOD, compressor="xz"))
    with pytest.raises(FoundryError) as caught:
        rpmpayload.unpack(path, package, tmp_path / "out")
    assert caught.value.reason == "rpm-damaged"


def test_a_hard_link_before_and_after_its_data(tmp_path: Path) -> None:
    mode = stat.S_IFREG | 0o644
    files = [File("/a", b"data", inode=9), File("/b", b"data", inode=9)]
    payload = newc(b"./a", mode, b"", nlink=2, inode=9) + newc(b"./b", mode, b"data", nlink=2, inode=9) + trailer()
    path = save(tmp_path, build(files, payload=payload))
    rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == b"data"
    assert (tmp_path / "out/a").samefile(tmp_path / "out/b")


def test_hard_links_count_as_copies(tmp_path: Path) -> None:
    data = bytes(1000)
    names = [f"/f{n}" for n in range(9)]
    files = [File(name, data, inode=7, nlink=9, body=data if name == names[-1] else b"") for name in names]
    assert refused(tmp_path, build(files), max_bytes=8000) == "rpm-too-large"
    path = save(tmp_path, build(files))
    rpmpayload.unpack(path, rpm.read_package(path), tmp_path / "out", max_bytes=9500)


def test_times_that_no_file_can_have(tmp_path: Path) -> None:
    """The header may hold them in 64 bits."""
    files = [File("/a", b"a"), File("/b", b"b")]
    path = save(tmp_path, build(files, tags={1034: (5, [1 << 63, (1 << 64) - 1]), 1006: (5, 1 << 62)}))
    package = rpm.read_package(path)
    assert {package.build_time, *(entry.mtime for entry in package.files)} == {(1 << 32) - 1}
    rpmpayload.unpack(path, package, tmp_path / "out")
    assert (tmp_path / "out/a").stat().st_mtime == (1 << 32) - 1


def test_folders_that_names_make_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpmpayload, "Budget", partial(Budget, max_entries=200))
    files = [File("/" + "/".join([str(n), *"a" * 90]), b"x") for n in range(5)]
    assert refused(tmp_path, build(files)) == "rpm-too-large"
