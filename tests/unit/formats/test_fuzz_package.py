"""Whatever the bytes are, only a FoundryError comes out, and nothing is written elsewhere."""

from __future__ import annotations

import io
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.packages import repodata, rpm, rpmpayload
from foundry.formats.packages.cpio import Archive
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget
from foundry.packages import gpg
from tests.harness.fuzz import examples
from tests.harness.rpmwriter import COMPRESS, File, archive, build
from tests.unit.formats.test_repodata import PRIMARY, REPOMD

LIMIT = 1 << 20
FILES = (
    File("/usr/src/t", mode=stat.S_IFDIR | 0o755),
    File("/usr/src/t/a.c", b"int a;\n" * 9),
    File("/usr/src/t/b", b"", stat.S_IFREG | 0o4755),
    File("/usr/src/t/l", linkto="a.c", mode=stat.S_IFLNK | 0o777),
    File("/var/log", flags=rpm.GHOST, mode=stat.S_IFIFO),
)
ARCHIVE = archive(FILES[:-1])
SEEDS = [build(FILES, compressor=name, payload=ARCHIVE) for name in COMPRESS]
SIGNED = [build(FILES, payload=ARCHIVE, signatures={1000: (4, 1), 1002: (7, b"sig"), 1004: (7, bytes(16))})]
many = examples(120)


@st.composite
def mutations(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with some bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.integers(0, 4))
        length = draw(st.integers(1, 8))
        if change == 0:
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif change == 1:
            data[at : at + 4] = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])).to_bytes(4, "big")
        elif change == 2:
            del data[at : at + length * 40]
        elif change == 3:
            data[at:at] = data[at : at + length * 40]
        else:
            data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


def unpack(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "p.rpm").write_bytes(data)
        done = False
        try:
            package = rpm.read_package(folder / "p.rpm")
            written = rpmpayload.unpack(folder / "p.rpm", package, folder / "out", max_bytes=LIMIT)
            done = True
            assert all(path.is_relative_to(folder / "out") for path in written)
        except FoundryError as error:
            assert error.reason
            assert error.render()
        assert sorted(path.name for path in folder.iterdir()) == (["out", "p.rpm"] if done else ["p.rpm"])
        root = (folder / "out").resolve()
        assert all(path.resolve().is_relative_to(root) for path in (folder / "out").rglob("*"))


@many
@given(mutations(SEEDS + SIGNED))
def test_packages(data: bytes) -> None:
    unpack(data)


@many
@given(mutations([ARCHIVE]), st.sampled_from(sorted(COMPRESS)))
def test_payloads(payload: bytes, compressor: str) -> None:
    unpack(build(FILES, compressor=compressor, payload=payload))


PARTS = ["a", "b", "..", ".", "", "/", "usr", "~", "l", "a\n", "\udc80", "é", "x" * 256]
paths = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join)
modes = st.sampled_from([stat.S_IFREG | 0o4644, stat.S_IFDIR | 0o777, stat.S_IFLNK | 0o777, stat.S_IFCHR, 0xFFFF])
files = st.builds(
    File, path=paths.map(lambda text: "/" + text.replace("\udc80", "")), data=st.binary(max_size=9), mode=modes,
    linkto=paths.map(lambda text: text.replace("\udc80", "")), inode=st.integers(0, 2), nlink=st.integers(0, 3),
    member=st.none() | paths, flags=st.sampled_from([0, 0, rpm.GHOST]),
)


@many
@given(st.lists(files, max_size=6))
def test_trees_of_evil_names(chosen: list[File]) -> None:
    unpack(build(chosen))


@many
@given(st.binary(max_size=300) | mutations([ARCHIVE, b"07070X00000000\0\0abcd" + ARCHIVE]))
def test_archives(data: bytes) -> None:
    try:
        for _, chunks in Archive(io.BytesIO(data), (4, 4)):
            assert all(chunks)
    except FoundryError as error:
        assert error.reason == "rpm-damaged"


@many
@given(st.sampled_from(sorted(COMPRESS)), mutations([kind(ARCHIVE) for kind in COMPRESS.values()]))
def test_compressed_streams(kind: str, data: bytes) -> None:
    budget = Budget("it", Reason.RPM_DAMAGED, Reason.RPM_TOO_LARGE, LIMIT)
    try:
        assert len(decompress.opened(data, kind, budget).read()) <= LIMIT
    except FoundryError as error:
        assert error.reason in ("rpm-damaged", "rpm-too-large")


XML = [REPOMD.encode(), PRIMARY.encode(), REPOMD.replace("UTF-8", "UTF-16").encode("utf-16")]


@many
@given(st.binary(max_size=200) | mutations(XML))
def test_metadata(data: bytes) -> None:
    for parse in (repodata.parse_repomd, repodata.parse_primary):
        try:
            parse(data)
        except FoundryError as error:
            assert error.reason in ("repodata-malformed", "repodata-unsupported")


@many
@given(st.binary(max_size=200) | mutations([b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nA: b\n\nAAAA\n=AAAA\n"
                                            b"-----END PGP PUBLIC KEY BLOCK-----\n"]))
def test_armour(text: bytes) -> None:
    try:
        assert gpg.dearmor(text)
    except ValueError as error:
        assert str(error)
