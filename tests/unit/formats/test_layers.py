"""One file of a layer: real archives in every form, and how much of the stream is taken."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.layers import ABSENT, FILE, HIDDEN, Found, look

PATH = "etc/driver-toolkit-release.json"
WANTED = b'{"KERNEL_VERSION": "5.14.0-427.el9_4.x86_64"}\n'
SKIPPABLE = b"\x5a\x2a\x4d\x18\x07\0\0\0table,1"

Entry = tuple[str, bytes | str]  # name and content; a text is a type flag, with the link's aim behind it


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = content[0].encode(), content[1:]
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def members(data: bytes) -> bytes:
    """As in eStargz: many gzip members one after the other."""
    return b"".join(gzip.compress(data[at : at + 1000], mtime=0) for at in range(0, len(data), 1000))


def frames(data: bytes) -> bytes:
    """As in zstd:chunked: many zstd frames, skippable ones between and behind them."""
    parts = [zstandard.compress(data[at : at + 1000]) for at in range(0, len(data), 1000)]
    return SKIPPABLE + SKIPPABLE.join(parts) + SKIPPABLE


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes, "gzip": lambda data: gzip.compress(data, mtime=0), "members": members,
    "zstd": zstandard.compress, "frames": frames,
}
compressions = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)


class Chunks:
    """Counts what is taken."""

    def __init__(self, data: bytes, size: int = 512) -> None:
        self.left = [data[at : at + size] for at in range(0, len(data), size)]
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.taken == len(self.left):
            raise StopIteration
        self.taken += 1
        return self.left[self.taken - 1]


def looked(data: bytes, path: str = PATH, *, max_file: int = 1 << 20, max_unpacked: int = 16 << 30) -> Found:
    return look(Chunks(data), path, max_file=max_file, max_unpacked=max_unpacked)


def reason(data: bytes, *, max_file: int = 1 << 20, max_unpacked: int = 16 << 30) -> str:
    with pytest.raises(FoundryError) as caught:
        looked(data, max_file=max_file, max_unpacked=max_unpacked)
    assert "\n" not in caught.value.message
    return caught.value.reason


@compressions
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_found_in_every_compression(compress: Callable[[bytes], bytes], size: int) -> None:
    data = compress(tar(("usr/", "5"), ("usr/big", os.urandom(3000)), (PATH, WANTED), ("z", b"z")))
    assert look(Chunks(data, size), PATH) == Found(FILE, WANTED)
    data = compress(tar(("etc/", "5"), ("etc/other", b"x")))
    assert look(Chunks(data, size), PATH) == Found(ABSENT)


@pytest.mark.parametrize("name", ["./" + PATH, "/" + PATH, "//etc/./driver-toolkit-release.json", "usr/../" + PATH])
def test_the_same_name(name: str) -> None:
    data = tar((name, WANTED))
    assert looked(data) == looked(data, "/" + PATH) == looked(data, "./" + PATH) == Found(FILE, WANTED)


def test_no_file_named() -> None:
    for path in ("", "/", ".", "a/.."):
        with pytest.raises(ValueError, match="names no file"):
            looked(tar(), path)


def test_other_names() -> None:
    others = [("etc/driver-toolkit-release.json.rpmnew", b"1"), ("driver-toolkit-release.json", b"2"),
              ("a/" + PATH, b"3"), ("etc/Driver-toolkit-release.json", b"4"), ("etcetera", b"")]
    assert looked(tar(*others)) == Found(ABSENT)


def test_an_empty_file() -> None:
    assert looked(tar((PATH, b""))) == Found(FILE, b"")


def test_the_first_of_two() -> None:
    assert looked(tar((PATH, b"first"), (PATH, b"second"))) == Found(FILE, b"first")


@compressions
def test_empty_layers(compress: Callable[[bytes], bytes]) -> None:
    assert looked(compress(bytes(1024))) == Found(ABSENT)
    assert looked(compress(bytes(10240))) == Found(ABSENT)


def test_nothing_inside_and_nothing_at_all() -> None:
    assert looked(gzip.compress(b"")) == Found(ABSENT)
    assert looked(zstandard.compress(b"")) == Found(ABSENT)
    assert reason(b"") == "layer-malformed"
    with pytest.raises(FoundryError, match="empty"):
        look(iter([b"", b""]), PATH)


# -- how much is taken --------------------------------------------------------


def least(data: bytes) -> int:
    """How many chunks of 512 bytes hold the wanted file's last byte, found out by cutting the stream off."""
    for count in range(1, len(data) // 512 + 2):
        try:
            if look(Chunks(data[: count * 512]), PATH).kind is FILE:
                return count
        except FoundryError:
            continue
    raise AssertionError("the file is not in the layer")


@compressions
@pytest.mark.parametrize("behind", [0, 1, 2_000_000])
def test_not_one_chunk_more_than_needed(compress: Callable[[bytes], bytes], behind: int) -> None:
    """Where the last byte's chunk is found out apart: it is the first without which the file can't be had."""
    before = [(f"usr/{number}", os.urandom(700)) for number in range(20)]
    wanted = os.urandom(5000)
    data = compress(tar(*before, (PATH, wanted), ("usr/z", os.urandom(behind))))
    chunks = Chunks(data)
    assert look(chunks, PATH) == Found(FILE, wanted)
    assert chunks.taken == least(data)


def test_the_chunk_of_the_last_byte() -> None:
    """In a plain tar it can be reckoned: one header, and data up to the byte before a boundary."""
    for size, taken in ((511, 2), (512, 2), (513, 3), (0, 1)):
        chunks = Chunks(tar((PATH, bytes(size)), ("z", b"z"), form=tarfile.USTAR_FORMAT))
        assert look(chunks, PATH).content == bytes(size)
        assert chunks.taken == taken


def test_what_one_chunk_holds_is_used_up_first() -> None:
    """Dense data: one chunk becomes many pieces, and the file is the last of them."""
    inside = tar(("zeros", bytes(30 << 20)), (PATH, WANTED), form=tarfile.USTAR_FORMAT)
    for compress in (COMPRESS["gzip"], COMPRESS["zstd"]):
        data = compress(inside)
        chunks = Chunks(data + data, len(data))
        assert look(chunks, PATH) == Found(FILE, WANTED)
        assert chunks.taken == 1


@compressions
def test_all_is_taken_when_the_file_is_not_there(compress: Callable[[bytes], bytes]) -> None:
    for entries in ([("a", b"a")], [(".wh.etc", b"")]):
        chunks = Chunks(compress(tar(*entries) + bytes(50_000)))
        assert look(chunks, PATH).content is None
        assert chunks.taken == len(chunks.left)


def test_what_the_source_raises_goes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield gzip.compress(tar(("a", os.urandom(9000))))[:600]
        raise FoundryError("the line is dead", reason=Reason.HTTP_TIMEOUT)

    with pytest.raises(FoundryError, match="the line is dead"):
        look(broken(), PATH)


# -- whiteouts ----------------------------------------------------------------


@pytest.mark.parametrize("entry", [
    ("etc/.wh.driver-toolkit-release.json", b""), (".wh.etc", b""), ("./.wh.etc", b""), ("etc/.wh..wh..opq", b""),
    (".wh..wh..opq", b""), ("/etc/.wh..wh..opq", b""), ("etc", b"a file"), ("etc", "2usr/etc"), ("etc", "1usr/x"),
    ("etc", "6"), ("etc/.wh..wh..opq", "2x"),
])
def test_hidden(entry: Entry) -> None:
    assert looked(tar(entry)) == Found(HIDDEN)
    assert looked(tar(("etc/", "5"), ("usr/x", b""), entry, ("z", b""))) == Found(HIDDEN)
    # a whiteout is for the layers below alone
    assert looked(tar(entry, (PATH, WANTED))) == looked(tar((PATH, WANTED), entry)) == Found(FILE, WANTED)


@pytest.mark.parametrize("entry", [
    ("etc/", "5"), ("etc", "5"), (".wh.usr", b""), ("usr/.wh..wh..opq", b""), ("etc/.wh.other", b""),
    ("a/.wh.etc", b""),
    ("etc/.wh.driver-toolkit-release.json.bak", b""), ("etc/.wh.driver", b""), (".wh.et", b""), (".wh.etc/x", b""),
    (".wh..wh.plnk", b""), (".wh..wh.aufs", b""), (PATH + "/.wh..wh..opq", b""), (PATH + "/.wh.x", b""), ("./", "5"),
    (".", "2x"),
])
def test_not_hidden(entry: Entry) -> None:
    assert looked(tar(entry)) == Found(ABSENT)


def test_a_file_of_the_root() -> None:
    assert looked(tar((".wh..wh..opq", b"")), "x") == Found(HIDDEN)
    assert looked(tar((".wh.x", b"")), "x") == Found(HIDDEN)
    assert looked(tar(("x", b"1")), "x") == Found(FILE, b"1")


@pytest.mark.parametrize(("entry", "words"), [
    ("2../usr/x", "a symbolic link"), ("3", "a device"), ("4", "a device"), ("5", "a folder"), ("6", "pipe"),
    ("1usr/x", "a hard link to 'usr/x'"),
])
def test_not_a_file(entry: str, words: str) -> None:
    with pytest.raises(FoundryError, match=words) as caught:
        looked(tar((PATH, entry)))
    assert caught.value.reason == "layer-not-a-file"


# -- limits and damage --------------------------------------------------------


@compressions
def test_limits(compress: Callable[[bytes], bytes]) -> None:
    data = compress(tar((PATH, bytes(1000))))
    assert looked(data, max_file=1000).kind is FILE
    assert reason(data, max_file=999) == "layer-file-too-large"
    bomb = compress(tar(("a", bytes(3 << 20))))
    assert reason(bomb, max_unpacked=1 << 20) == "layer-too-large"
    assert reason(compress(tar(("a", b"")) + bytes(3 << 20)), max_unpacked=1 << 20) == "layer-too-large"


def test_a_size_beyond_the_limit_is_told_at_once() -> None:
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        chunks = Chunks(info.tobuf(form) + bytes(9000))
        with pytest.raises(FoundryError, match=f"a member of {1 << 40} bytes") as caught:
            look(chunks, PATH)
        assert caught.value.reason == "layer-too-large"
        assert chunks.taken < len(chunks.left)


@compressions
def test_cut_off_anywhere(compress: Callable[[bytes], bytes]) -> None:
    inside = tar(("a", os.urandom(2000)), ("l" * 150, b"x"), form=tarfile.GNU_FORMAT)[: 11 * 512]
    whole = compress(inside)
    assert looked(whole) == Found(ABSENT)
    # without its second block of zeros, or without the last skippable frame, it is still whole
    spare = {bytes: 512, COMPRESS["frames"]: len(SKIPPABLE)}.get(compress, 0)
    for end in [*range(0, len(whole) - spare, 13), len(whole) - spare - 1]:
        assert reason(whole[:end]) == "layer-malformed", end


def test_without_an_end_it_is_cut_off() -> None:
    """gzip members and zstd frames can end where the tar does not."""
    data = tar(("a", b"a"), form=tarfile.USTAR_FORMAT)[:1024]
    for compress in COMPRESS.values():
        assert reason(compress(data)) == "layer-malformed"
        assert looked(compress(data + bytes(512))) == Found(ABSENT)
        assert reason(compress(data + bytes(512) + data)) == "layer-malformed"


@pytest.mark.parametrize("data", [
    b"\x1f\x8bnot gzip at all", b"\x28\xb5\x2f\xfdnot zstd at all", b"\x5a\x2a\x4d\x18\xff\xff", b"PK\x03\x04" * 200,
    b"<html>Sign in</html>" * 50, b"\xfd7zXZ\0" + bytes(600), b"BZh9" + bytes(600), b"x", b"\1" * 512,
    gzip.compress(tar(("a", b"a"))) + b"garbage", gzip.compress(b"no tar" * 100), gzip.compress(bytes(100)),
    zstandard.compress(tar(("a", b"a"))) + b"garbage", gzip.compress(tar(("a", b"a")))[:-8] + bytes(8),
    bytes(512) + tar(("a", b"a")),
])
def test_no_layers(data: bytes) -> None:
    assert reason(data) == "layer-malformed"


def test_zeros_behind_gzip() -> None:
    assert looked(gzip.compress(tar(("a", b"a"))) + bytes(3000)) == Found(ABSENT)
    data = gzip.compress(tar()) + bytes(3000) + gzip.compress(tar((PATH, WANTED)))
    assert looked(data) == Found(ABSENT)  # the archive ended before


def header(name: bytes = b"a", flag: bytes = b"0", size: bytes = b"0", **fields: tuple[int, bytes]) -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = flag
    for at, value in fields.values():
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(*records: bytes) -> bytes:
    data = b"".join(records)
    return header(b"x", b"x", b"%o" % len(data)) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    return next(line for n in range(200) if len(line := b"%d %s=%s\n" % (n, key, value)) == n)


END = bytes(1024)


@pytest.mark.parametrize("data", [
    header(size=b"9"), header(size=b"-1"), header(size=b"\xff" * 12), header(size=b"\x80" + b"\xff" * 11),
    header(b"x", b"x", b"%o" % (2 << 20)) + bytes(2 << 20), header(b"x", b"L", b"%o" % (2 << 20)) + bytes(2 << 20),
    pax(b"nonsense"), pax(b"5 a=\n"), pax(b"99 a=b\n"), pax(b"0 a=b\n"), pax(b"6 =ab\n"), pax(b"7 a=bc\n", b"x"),
    pax(b"-6 a=b\n"), pax(record(b"path", b"a\0b")) + header(), pax(record(b"size", b"-1")) + header(),
    pax(record(b"size", b"1e3")) + header(), pax(record(b"a", b"b")), header(b"x", b"L", b"1") + padded(b"a"),
    header()[:-1] + b"x",
])
def test_broken_headers(data: bytes) -> None:
    assert reason(data + END) == "layer-malformed"


def test_headers_that_tools_write() -> None:
    old = header(PATH.encode(), b"\0", b"%o" % len(WANTED)) + padded(WANTED)
    assert looked(old + END) == Found(FILE, WANTED)
    spaces = header(PATH.encode(), b"7", b"   %o " % len(WANTED)) + padded(WANTED)
    assert looked(spaces + END) == Found(FILE, WANTED)
    assert looked(header(b"etc/", b"\0") + old + END) == Found(FILE, WANTED)
    assert looked(header(b"etc/", b"\0") + END) == Found(ABSENT)
    base256 = header(PATH.encode(), b"0", b"\x80" + len(WANTED).to_bytes(11, "big")) + padded(WANTED)
    assert looked(base256 + END) == Found(FILE, WANTED)
    prefixed = header(PATH.rpartition("/")[2].encode(), b"0", b"2", magic=(257, b"ustar\x0000"), prefix=(345, b"./etc"))
    assert looked(prefixed + padded(b"ab") + END) == Found(FILE, b"ab")
    gnu = header(PATH.encode(), b"0", b"2", magic=(257, b"ustar  \0"), times=(345, b"12345670123"))
    assert looked(gnu + padded(b"ab") + END) == Found(FILE, b"ab")
    signed = bytearray(header(b"\xe9", b"0", b"0"))
    signed[148:156] = b"%06o\0 " % (sum(signed[:148] + b" " * 8 + signed[156:]) - 256)
    assert looked(bytes(signed) + old + END) == Found(FILE, WANTED)
    unknown = header(b"q", b"Q", b"3") + padded(b"abc")
    assert looked(unknown + old + END) == Found(FILE, WANTED)
    folder_with_size = header(b"etc", b"5", b"1000")
    assert looked(folder_with_size + old + END) == Found(FILE, WANTED)


def test_pax_records() -> None:
    data = padded(WANTED)
    named = pax(record(b"path", PATH.encode()), record(b"size", b"%d" % len(WANTED)), record(b"mtime", b"1.5"))
    assert looked(named + header(b"short", size=b"0") + data + END) == Found(FILE, WANTED)
    # it is for one member alone
    assert looked(pax(record(b"path", b"etc/other")) + header() + header(PATH.encode(), size=b"2") + data + END) == (
        Found(FILE, WANTED[:2])
    )
    nothing = pax(record(b"path", b""), record(b"size", b""))
    assert looked(nothing + header(PATH.encode(), size=b"2") + data + END) == Found(FILE, WANTED[:2])
    for_all = record(b"path", b"etc/other")
    everywhere = header(b"g", b"g", b"%o" % len(for_all)) + padded(for_all)
    assert looked(everywhere + header(PATH.encode(), size=b"2") + data + END) == Found(FILE, WANTED[:2])
    gnu = header(b"././@LongLink", b"L", b"%o" % (len(PATH) + 1)) + padded(PATH.encode() + b"\0")
    assert looked(gnu + header(b"etc/dri", size=b"2") + data + END) == Found(FILE, WANTED[:2])


# -- what GNU tar, gzip and zstd write ----------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr").mkdir()
    (root / "usr/x").write_bytes(os.urandom(9000))
    (root / "usr/link").symlink_to("x")
    os.link(root / "usr/x", root / "usr/y")
    os.mkfifo(root / "usr/pipe")
    with (root / "usr/sparse").open("wb") as stream:
        for at in range(0, 60 << 16, 1 << 16):  # more parts than the first header has room for
            stream.seek(at)
            stream.write(b"part")
    (root / PATH).write_bytes(WANTED)
    return root


def gnu_tar(folder: Path, *options: str) -> bytes:
    pipe = ["--exclude=usr/pipe"] if "--format=v7" in options else []  # it can't hold one
    argv = ["tar", "--create", "--sort=name", *pipe, *options, "usr", "etc"]
    return subprocess.run(argv, cwd=folder, capture_output=True, check=True).stdout


FORMS = ["--format=gnu", "--format=pax", "--format=ustar", "--format=v7"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [[], ["--gzip"], ["--use-compress-program=gzip -1"], ["--record-size=512"]])
def test_real_archives(folder: Path, form: str, options: list[str]) -> None:
    data = gnu_tar(folder, form, *options)
    (folder / PATH).unlink()
    without = gnu_tar(folder, form, *options)
    assert looked(data) == looked(long_zstd(data)) == Found(FILE, WANTED)
    assert looked(without) == looked(long_zstd(without)) == Found(ABSENT)


def long_zstd(data: bytes) -> bytes:
    """As `zstd --long=27 -T2`; of what is compressed already only the plain form."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    settings = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True, threads=2)
    return zstandard.ZstdCompressor(compression_params=settings).compress(data)


@pytest.mark.parametrize("options", [
    ["--format=gnu", "--sparse"], ["--format=pax", "--sparse", "--sparse-version=0.0"],
    ["--format=pax", "--sparse", "--sparse-version=0.1"], ["--format=pax", "--sparse", "--sparse-version=1.0"],
])
def test_sparse_members(folder: Path, options: list[str]) -> None:
    data = gnu_tar(folder, *options)
    assert len(data) < 1 << 20
    assert looked(data) == Found(FILE, WANTED)
    with pytest.raises(FoundryError, match="usr/sparse is a sparse file"):
        looked(data, "usr/sparse")


@pytest.mark.parametrize("form", FORMS[:2])
def test_long_names(folder: Path, form: str) -> None:
    deep = "usr/" + "/".join(["d" * 90] * 5)
    (folder / deep).mkdir(parents=True)
    (folder / deep / ("f" * 200)).write_bytes(b"deep")
    (folder / deep / "link").symlink_to("t" * 300)
    data = gnu_tar(folder, form)
    assert looked(data) == Found(FILE, WANTED)
    assert looked(data, f"{deep}/{'f' * 200}") == Found(FILE, b"deep")


@pytest.mark.parametrize("form", FORMS[:2])
def test_real_names_that_are_no_ascii(folder: Path, form: str) -> None:
    (folder / "etc/ä €").write_bytes(b"1")
    assert looked(gnu_tar(folder, form), "etc/ä €") == Found(FILE, b"1")


def test_an_archive_appended_to(folder: Path, tmp_path: Path) -> None:
    """GNU tar writes its end anew when it appends."""
    file = tmp_path / "a.tar"
    subprocess.run(["tar", "-cf", file, "usr"], cwd=folder, check=True)
    subprocess.run(["tar", "-rf", file, "etc"], cwd=folder, check=True)
    assert looked(file.read_bytes()) == Found(FILE, WANTED)


def test_a_member_that_ends_with_its_input() -> None:
    """zlib may hold output back although it has taken all input."""
    data = tar(("a", bytes(1 << 18)), (PATH, bytes(1 << 19)), form=tarfile.USTAR_FORMAT)
    for level in range(1, 10):
        step = zlib.compressobj(level, wbits=31)
        assert looked(step.compress(data) + step.flush(zlib.Z_FULL_FLUSH) + step.flush()).content == bytes(1 << 19)
