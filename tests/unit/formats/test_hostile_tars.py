"""Tars that are made to do harm: whatever reads one ends in our error, with no more written than the budget allows."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images import rootfs
from foundry.formats.images.oci import read_archive
from foundry.formats.packages.deb import parse_deb, unpack_deb
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.sourcetree import newest, read_small, unpack_tar
from foundry.formats.trees.tree import Tree
from tests.harness.fuzz import examples
from tests.unit.formats.test_deb import ar, deb, special, tar
from tests.unit.formats.test_fuzz_layers import headers
from tests.unit.formats.test_fuzz_package import mutations
from tests.unit.formats.test_layers import END, header, padded, pax, record

LIMIT = 1 << 20
TERABYTE = b"%d" % (1 << 40)


def sparse_gnu() -> bytes:
    """One header that stands for 64 GiB of zeros and a byte."""
    block = bytearray(header(b"hole", b"S", b"%o" % 1))
    block[386:410] = b"%011o\0%011o\0" % ((64 << 30) - 1, 1)
    block[483:495] = b"%011o\0" % (64 << 30)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + padded(b"x") + END


def sparse_pax(version: bytes) -> bytes:
    data = {b"0.0": b"x", b"0.1": b"x", b"1.0": b"1\n%s\n1\n" % TERABYTE + bytes(512 - 18) + b"x"}[version]
    said = [record(b"GNU.sparse.size", TERABYTE), record(b"GNU.sparse.realsize", TERABYTE),
            record(b"GNU.sparse.name", b"hole"), record(b"GNU.sparse.map", b"%s,1" % TERABYTE),
            record(b"GNU.sparse.numblocks", b"1"), record(b"GNU.sparse.major", version[:1]),
            record(b"GNU.sparse.minor", version[2:])]
    return pax(*said) + header(b"hole", size=b"%o" % len(data)) + padded(data) + END


SPARSE = [sparse_gnu(), *(sparse_pax(version) for version in (b"0.0", b"0.1", b"1.0"))]


def refusal(data: bytes, root: Path, *, limit: int = LIMIT) -> str:
    with pytest.raises(FoundryError) as raised:
        unpack_tar(data, root, what="it", limit=limit)
    assert raised.value.render()
    return raised.value.reason


def written(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("data", SPARSE, ids=["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_never_filled(data: bytes, tmp_path: Path) -> None:
    assert len(gzip.compress(data)) < 500
    assert refusal(data, tmp_path / "root") == "package-unsafe-type"
    assert written(tmp_path / "root") == 0
    assert read_small(data, limit=LIMIT, what="it") == {}
    assert rootfs.unpack([data])["hole"].kind == "other"
    package = ar(("debian-binary", b"2.0\n"), ("control.tar", data), ("data.tar", data))
    with pytest.raises(FoundryError, match="Package"):
        parse_deb(package)


def test_what_is_written_is_counted(tmp_path: Path) -> None:
    """Hard links count as copies: what reads the tree later finds as many files."""
    for number, data in enumerate((
        tar(("a", bytes(LIMIT // 2)), ("b", bytes(LIMIT // 2)), ("c", b"x")),
        tar(("a", bytes(LIMIT // 4)), *((f"b{n}", special(tarfile.LNKTYPE, "a")) for n in range(9))),
    )):
        assert refusal(data, tmp_path / f"root{number}") == "tar-too-large"
        files = [path for path in (tmp_path / f"root{number}").rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= LIMIT


def test_entries_are_counted(tmp_path: Path) -> None:
    """Also the folders that a name alone makes, and headers of which nothing is written."""
    budget = Budget("it", Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE, LIMIT, max_entries=150)
    tree = Tree(tmp_path / "tree", budget)
    with pytest.raises(FoundryError, match="more than 150 entries"):
        for n in range(5):
            tree.file("/".join([str(n), *"a" * 90]), [b"x"], executable=False, mtime=0)
    assert sum(1 for _ in (tmp_path / "tree").rglob("*")) <= 150


@pytest.mark.parametrize("read", [
    lambda data, root: unpack_tar(data, root, what="it"), lambda data, _: newest(data, what="it"),
    lambda data, _: read_small(data, limit=LIMIT, what="it"), lambda data, _: rootfs.unpack([data]),
])
def test_members_without_end(
    read: Callable[[bytes, Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("foundry.formats.trees.sourcetree", "foundry.formats.images.rootfs"):
        monkeypatch.setattr(f"{module}.Budget", partial(Budget, max_entries=1000))
    with pytest.raises(FoundryError, match="more than 1000 entries"):
        read(b"".join(header(b"%d" % n) for n in range(1001)) + END, tmp_path / "root")


@pytest.mark.parametrize("compress", [
    lambda data: data, gzip.compress, bz2.compress, lzma.compress, zstandard.compress,
])
@pytest.mark.parametrize("part", ["control", "data"])
def test_bombs_in_a_debian_package(part: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    bomb = compress(tar(("control", bytes(16 << 20))))
    control = bomb if part == "control" else tar(("control", b"Package: a\nVersion: 1\nArchitecture: all\n"))
    package = ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", bomb))
    if part == "control":
        with pytest.raises(FoundryError) as raised:
            parse_deb(package)
        assert raised.value.reason == "tar-too-large"
    else:
        assert refusal(bytes(parse_deb(package).payload), tmp_path / "root") == "tar-too-large"


def test_members_of_a_debian_package_are_counted() -> None:
    with pytest.raises(FoundryError, match="more than 16 members"):
        parse_deb(ar(("debian-binary", b"2.0\n"), *((f"_{n}", b"") for n in range(100))))
    for odd in (b"-1", b"+1", b"1_0", b"0x1", b"", b"\xff"):
        whole = bytearray(ar(("debian-binary", b"2.0\n")))
        whole[8 + 48:8 + 58] = odd.ljust(10)
        with pytest.raises(FoundryError, match="header can't be read"):
            parse_deb(bytes(whole))


def test_windows_that_take_much_memory() -> None:
    """A dictionary of xz, a window of zstd: both are told in the header, and refused there."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    large = bytearray(lzma.compress(b"x" * 100, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=filters))
    alone = lzma.compress(b"x" * 100, format=lzma.FORMAT_ALONE)
    window = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(
        window_log=30, enable_ldm=True)).compressobj()
    cases = {
        "lzma": alone[:1] + (1 << 30).to_bytes(4, "little") + alone[5:],
        "zstd": window.compress(b"x" * 100) + window.flush(), "xz": huge_dictionary(large),
    }
    for kind, data in cases.items():
        budget = Budget("it", Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE, LIMIT)
        with pytest.raises(FoundryError, match=f"{kind} data can't be read .*([Mm]emory|too much)"):
            decompress.opened(bytes(data), kind, budget).read()


def huge_dictionary(data: bytearray) -> bytes:
    """An xz block's header begins at byte 12: its size, flags, then the filter's id, length and dictionary size."""
    at = data.index(b"\x21\x01", 12)
    data[at + 2] = 40  # 4 GiB - 1 (xz file format, 5.3.1)
    end = 12 + (data[12] + 1) * 4
    data[end - 4:end] = zlib.crc32(bytes(data[12:end - 4])).to_bytes(4, "little")
    return bytes(data)


def test_three_thousand_extended_headers(tmp_path: Path) -> None:
    for number, one in enumerate((pax(record(b"path", b"a")), header(b"x", b"L", b"1") + padded(b"a"),
                                  header(b"x", b"K", b"1") + padded(b"a"))):
        data = one * 3000 + header() + END
        assert refusal(data, tmp_path / f"root{number}") == "tar-damaged"
        with pytest.raises(FoundryError, match="two extended headers"):
            rootfs.unpack([data])
    # global ones say nothing of other members
    assert unpack_tar(header(b"g", b"g") * 3000 + header() + END, tmp_path / "root", what="it") == ["a"]


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """A plain tar has no compressor that would notice."""
    whole = tar(*((f"f{n}", b"x" * 700) for n in range(5)))
    for at in range(0, 5 * 1536 + 1, 256):
        assert refusal(whole[:at], tmp_path / f"root{at}") == "tar-damaged"
        with pytest.raises(FoundryError):
            newest(whole[:at], what="it")
    for data in (b"", gzip.compress(b""), b"\0" * 100):
        assert refusal(data, tmp_path / f"empty{len(data)}") == "tar-damaged"


@pytest.mark.parametrize(("said", "time"), [
    (b"inf", None), (b"nan", None), (b"-inf", None), (b"1e400", None), (b"1" * 100, None), (b"0x10", None),
    (b" 1", None), (b"-1", 0), (b"-99999999999", 0), (b"1e9", None), (b"1700000000.999", 1_700_000_000),
    (b"9223372036854775808", (1 << 32) - 1), (b"9" * 19, (1 << 32) - 1),
])
def test_times_that_are_none(said: bytes, time: int | None, tmp_path: Path) -> None:
    data = pax(record(b"mtime", said)) + header(b"a", size=b"1") + padded(b"x") + END
    if time is None:
        assert refusal(data, tmp_path / "root") == "tar-damaged"
        with pytest.raises(FoundryError):
            newest(data, what="it")
    else:
        unpack_tar(data, tmp_path / "root", what="it")
        assert (tmp_path / "root/a").stat().st_mtime == newest(data, what="it") == time


@pytest.mark.parametrize(("field", "time"), [
    (b"\xff" * 12, 0), (b"\xff" * 4 + bytes(8), 0), (b"\x80" + bytes(3) + b"\x7f" + bytes(7), None), (b"zzz", None),
    (b"\x80" + bytes(6) + b"\x0f" + bytes(4), (1 << 32) - 1),
])
def test_times_in_headers(field: bytes, time: int | None, tmp_path: Path) -> None:
    data = header(time=(136, field)) + END
    if time is None:
        assert refusal(data, tmp_path / "root") == "tar-damaged"
    else:
        assert newest(data, what="it") == time


def test_names_that_are_no_text(tmp_path: Path) -> None:
    for number, name in enumerate((b"\xff\xfe", b"a/\x80", b"a\nb", b"a\x1b[2J")):
        assert refusal(header(name) + END, tmp_path / f"root{number}") == "package-unsafe-path"
        link = header(b"l", b"2", target=(157, name)) + END
        assert refusal(link, tmp_path / f"link{number}") == "package-unsafe-link"
        with pytest.raises(FoundryError) as raised:
            read_small(header(name) + END, limit=LIMIT, what="it")
        assert raised.value.reason == "package-unsafe-path"
    assert list(rootfs.unpack([header(b"\xff") + END])) == ["\udcff"]


def test_links_that_lead_nowhere_good(tmp_path: Path) -> None:
    sym = tarfile.SYMTYPE
    for number, data in enumerate((
        tar(("a", special(sym, "b")), ("b", special(sym, "a"))), tar(("a", special(sym, "a"))),
        tar(("a", special(sym, "a/x"))), tar(("a", special(sym, ""))), tar(("a", special(sym, "b/" * 200))),
        tar(("d", special(sym, "e")), ("e", special(sym, "..")), ("f", special(sym, "d"))),
        tar(("d/e/f", special(sym, "../../x")), ("g", special(sym, "d/e/f/../../.."))),
        tar(*((f"l{n}", special(sym, f"l{n + 1}")) for n in range(41))),
    )):
        assert refusal(data, tmp_path / f"root{number}") == "package-unsafe-link", number
    fine = tar(*((f"l{n}", special(sym, f"l{n + 1}")) for n in range(40)), ("x/y", special(sym, "../l3")))
    unpack_tar(fine, tmp_path / "fine", what="it")


def test_hard_links(tmp_path: Path) -> None:
    """One to a link would be a link in another folder, from where it leads elsewhere."""
    hard, sym = tarfile.LNKTYPE, tarfile.SYMTYPE
    for number, data in enumerate((
        tar(("a/b/c", special(sym, "../../x")), ("d", special(hard, "a/b/c"))),
        tar(("a/", special(tarfile.DIRTYPE)), ("d", special(hard, "a"))),
        tar(("d", special(hard, "d"))), tar(("d", special(hard, "later")), ("later", b"")),
    )):
        assert refusal(data, tmp_path / f"root{number}") == "tar-damaged"
        assert not (tmp_path / f"root{number}/d").is_symlink()
    for number, target in enumerate(("../outside", "/etc/passwd", "", "a/../../b")):
        assert refusal(tar(("d", special(hard, target))), tmp_path / f"out{number}") == "package-unsafe-path"


def test_entries_that_are_there_twice(tmp_path: Path) -> None:
    x = b"x"
    kinds: dict[str, bytes | tarfile.TarInfo] = {
        "file": x, "folder": special(tarfile.DIRTYPE), "link": special(tarfile.SYMTYPE, "other")}
    for first, one in kinds.items():
        for second, other in kinds.items():
            data = tar(("other", x), ("a", one), ("a", other))
            if first == second == "folder":
                unpack_tar(data, tmp_path / "folders", what="it")
            else:
                assert refusal(data, tmp_path / f"{first}-{second}") == "tar-damaged"


@pytest.mark.parametrize("size", [
    b"\xff" * 12, b"\xc0" + bytes(11), b"\x80" + b"\xff" * 11, b"-1", b"9", b"1_0", b"+1",
])
def test_sizes_that_are_none(size: bytes, tmp_path: Path) -> None:
    assert refusal(header(size=size) + END, tmp_path / "root") == "tar-damaged"
    assert refusal(header(b"d/", b"5", size) + END, tmp_path / "folder") == "tar-damaged"


def test_a_size_that_is_too_large(tmp_path: Path) -> None:
    for number, data in enumerate((
        header(size=b"\x80" + bytes(3) + b"\x01" + bytes(7)), header(size=b"77777777777"),
        pax(record(b"size", TERABYTE)) + header(),
    )):
        assert refusal(data + END, tmp_path / f"root{number}") == "tar-too-large"


def test_an_image_archive(tmp_path: Path) -> None:
    for data in (*SPARSE, header(size=b"\xff" * 12) + END, b"", tar(("index.json", b"["  * 5000))):
        (tmp_path / "image.tar").write_bytes(data)
        with pytest.raises(FoundryError) as raised:
            read_archive(tmp_path / "image.tar")
        assert raised.value.reason == "oci-damaged"


# -- properties ---------------------------------------------------------------

SEEDS = [tar(("a/", special(tarfile.DIRTYPE)), ("a/b", b"x" * 600), ("a/l", special(tarfile.SYMTYPE, "b")),
             ("h", special(tarfile.LNKTYPE, "a/b")), ("n" * 150, b"y")), *SPARSE]
many = examples(120)


@many
@given(mutations(SEEDS) | st.lists(headers(), max_size=4).map(b"".join).map(lambda data: data + END))
def test_whatever_the_bytes_are(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "in/root"
        root.parent.mkdir()
        try:
            unpack_tar(data, root, what="it", limit=1 << 16)
            unpack_deb(parse_deb(deb(data, "")), root.parent / "again")
        except FoundryError as error:
            assert error.reason in ("tar-damaged", "tar-too-large", "package-unsafe-path", "package-unsafe-link",
                                    "package-unsafe-type")
        assert [path.name for path in Path(name).iterdir()] == ["in"]
        assert written(root) <= 1 << 16
    for read in (lambda: newest(data, what="it", limit=1 << 16), lambda: rootfs.unpack([data], limit=1 << 16)):
        try:
            read()
        except FoundryError as error:
            assert error.reason in ("tar-damaged", "tar-too-large", "layer-malformed", "layer-too-large")


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
targets = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


@many
@given(st.dictionaries(names, targets, max_size=6), st.sets(names, max_size=3))
def test_links_end_where_the_system_says(links: dict[str, str], folders: set[str]) -> None:
    """The tree follows links without asking the disk; here the disk is asked."""
    with tempfile.TemporaryDirectory() as name:
        tree = Tree(Path(name) / "root", Budget("it", Reason.TAR_DAMAGED, Reason.TAR_TOO_LARGE, LIMIT))
        made = []
        try:
            for folder in folders:
                tree.folder(folder)
            for link, target in links.items():
                tree.symlink(link, target)
                made.append(link)
            tree.close()
        except FoundryError as error:
            if error.reason != "package-unsafe-link" or len(made) < len(links):
                return
            inside = False
        else:
            inside = True
        root = os.path.realpath(f"{name}/root")
        assert inside == all(_inside(root, link, links) for link in made)


def _inside(root: str, link: str, links: dict[str, str]) -> bool:
    """Followed on the disk, one part after the other: on no step outside, and not in a circle."""
    waiting = [*reversed(links[link].split("/"))]
    at, steps = posixpath.dirname(f"{root}/{link}"), 0
    while waiting:
        steps += 1
        part = waiting.pop()
        at = posixpath.normpath(posixpath.join(at, part))
        if steps > 1000 or not f"{at}/".startswith(f"{root}/"):
            return False
        if os.path.islink(at):
            waiting += reversed(os.readlink(at).split("/"))
            at = posixpath.dirname(at)
    return True


# -- steps ---------------------------------------------------------------------


def _lines(function: Callable[[], object], module: str) -> int:
    """How many lines of a module run, as steps that no machine's speed has a part in."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename.endswith(module) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def _layers(count: int) -> Iterator[bytes]:
    yield tar(*((f"d/f{n}", b"x") for n in range(count)))
    yield tar(*((f"d/.wh.f{n}", b"") for n in range(0, count, 2)),
              *((f"e/h{n}", special(tarfile.LNKTYPE, f"d/f{2 * n + 1}")) for n in range(count // 2)))


def test_steps_grow_with_the_layers_alone() -> None:
    steps = [_lines(partial(rootfs.unpack, list(_layers(count))), "rootfs.py") for count in (50, 100, 200)]
    assert steps[2] - steps[1] == 2 * (steps[1] - steps[0])


def test_steps_of_links(tmp_path: Path) -> None:
    """Each link of many chains is followed once."""
    def closed(count: int) -> int:
        links = [(f"c{chain}/l{n}", special(tarfile.SYMTYPE, f"l{n + 1}")) for chain in range(count) for n in range(30)]
        return _lines(lambda: unpack_tar(tar(*links), tmp_path / str(count), what="it"), "links.py")

    steps = [closed(count) for count in (5, 10, 20)]
    assert steps[2] - steps[1] == 2 * (steps[1] - steps[0])
