"""Debian packages and tars: their facts, and that nothing leaves the folder that they are unpacked to."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.images import rootfs
from foundry.formats.packages.deb import parse_deb, unpack_deb
from foundry.formats.trees.sourcetree import newest, unpack_tar

CONTROL = "Package: thing-dkms\nVersion: 1:2.0-3\nArchitecture: all\nDescription: a thing\n more\n"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
}


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            data = content if isinstance(content, bytes) else b""
            info.size, info.mtime = len(data), 1_700_000_000
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, target
    return info


def ar(*members: tuple[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(f"{name:<16}{1_600_000_000:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def deb(data: bytes, suffix: str = ".xz", control: str = CONTROL) -> bytes:
    scripts = tar(("./control", control.encode()), ("./postinst", b"#!/bin/sh\nudevadm trigger\n"))
    return ar(("debian-binary", b"2.0\n"), (f"control.tar{suffix}", PACK[suffix](scripts)),
              (f"data.tar{suffix}", PACK[suffix](data)))


@pytest.mark.parametrize("suffix", PACK)
def test_a_package(suffix: str, tmp_path: Path) -> None:
    payload = tar(("./", special(tarfile.DIRTYPE)), ("./usr/src/thing-2.0/dkms.conf", b"x"),
                  ("./usr/src/link", special(tarfile.SYMTYPE, "thing-2.0")))
    package = parse_deb(deb(payload, suffix))
    assert (package.name, package.version, package.arch, package.build_time) == (
        "thing-dkms", "2.0-3", "all", 1_600_000_000)
    assert package.scripts == {"postinst": "#!/bin/sh\nudevadm trigger\n"}
    assert unpack_deb(package, tmp_path / "root") == ["usr/src/thing-2.0/dkms.conf", "usr/src/link"]
    assert (tmp_path / "root/usr/src/link/dkms.conf").read_bytes() == b"x"


@pytest.mark.parametrize("data", [
    b"", b"!<arch>\n", b"PK\3\4", deb(b"")[:-20], ar(("debian-binary", b"3.0\n")),
    ar(("debian-binary", b"2.0\n"), ("data.tar", b"")), ar(("data.tar", b""), ("debian-binary", b"2.0\n")),
    deb(tar(), control="Package: ../x\nVersion: 1\nArchitecture: all\n"), deb(tar(), control="nothing"),
    ar(("debian-binary", b"2.0\n"), ("control.tar.xz", b"junk"), ("data.tar", b"")),
])
def test_what_is_no_package(data: bytes) -> None:
    with pytest.raises(FoundryError) as raised:
        parse_deb(data)
    assert raised.value.reason in ("deb-damaged", "tar-damaged")


@pytest.mark.parametrize("name, member, reason", [
    ("../evil", b"x", "package-unsafe-path"), ("/etc/evil", b"x", "package-unsafe-path"),
    ("a/../../evil", b"x", "package-unsafe-path"),
    ("evil", special(tarfile.SYMTYPE, "/etc/passwd"), "package-unsafe-link"),
    ("a/evil", special(tarfile.SYMTYPE, "../../evil"), "package-unsafe-link"),
    ("evil", special(tarfile.LNKTYPE, "/etc/passwd"), "package-unsafe-path"),
    ("evil", special(tarfile.LNKTYPE, "nowhere"), "tar-damaged"),
    ("evil", special(tarfile.CHRTYPE), "package-unsafe-type"),
    ("evil", special(tarfile.BLKTYPE), "package-unsafe-type"),
    ("evil", special(tarfile.FIFOTYPE), "package-unsafe-type"),
])
def test_nothing_unsafe_is_written(name: str, member: bytes | tarfile.TarInfo, reason: str, tmp_path: Path) -> None:
    for number, data in enumerate((tar((name, member)), deb(tar((name, member))))):
        with pytest.raises(FoundryError) as raised:
            root = tmp_path / f"in/root{number}"
            root.parent.mkdir(exist_ok=True)
            if number:
                unpack_deb(parse_deb(data), root)
            else:
                unpack_tar(data, root, what="the archive")
        assert raised.value.reason == reason
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_through_a_link_or_twice(tmp_path: Path) -> None:
    data = tar(("link", special(tarfile.SYMTYPE, ".")), ("link/x", b""))
    with pytest.raises(FoundryError, match="through link"):
        unpack_tar(data, tmp_path / "one", what="it")
    with pytest.raises(FoundryError, match="twice"):
        unpack_tar(tar(("x", b"1"), ("x", b"2")), tmp_path / "two", what="it")


def test_a_bomb(tmp_path: Path) -> None:
    data = gzip.compress(tar(("x", bytes(1 << 20))))
    with pytest.raises(FoundryError) as raised:
        unpack_tar(data, tmp_path / "root", what="it", limit=1 << 16)
    assert raised.value.reason == "tar-too-large"


def test_headers_upon_headers(tmp_path: Path) -> None:
    """Each may say more of the next; tarfile calls itself for each."""
    one = tar(("n" * 300, b"x"))  # a pax header in two blocks stands before the member
    data = one[:1024] * 2000 + one
    with pytest.raises(FoundryError) as raised:
        unpack_tar(data, tmp_path / "root", what="it")
    assert raised.value.reason == "tar-damaged"
    with pytest.raises(FoundryError) as raised:
        rootfs.unpack([data])
    assert raised.value.reason == "layer-malformed"


def test_the_time_of_a_tar() -> None:
    assert newest(tar(("x", b"1")), what="it") == 1_700_000_000
    assert newest(tar(), what="it") == 0


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_damage_is_our_error(junk: bytes, at: int) -> None:
    whole = deb(tar(("x", b"y")), "")
    at %= len(whole)
    try:
        parse_deb(whole[:at] + junk + whole[at + len(junk):])
    except FoundryError as error:
        assert error.reason in ("deb-damaged", "tar-damaged", "tar-too-large", "package-unsafe-path")
