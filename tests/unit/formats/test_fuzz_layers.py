"""Whatever a registry sends, only a FoundryError comes out, in little memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.images.layers import FILE, look
from foundry.formats.images.manifest import ACCEPT, Index, Manifest, choose, parse_config, parse_manifest
from foundry.formats.openshift import toolkit_release
from tests.unit.formats.test_fuzz_package import many, mutations
from tests.unit.formats.test_layers import COMPRESS, END, PATH, WANTED, header, padded, pax, record, tar
from tests.unit.formats.test_manifest import CONFIG, entry, image, index
from tests.unit.formats.test_toolkit_release import document

LIMIT = 1 << 20
NAMES = {"layer-malformed", "layer-too-large", "layer-file-too-large", "layer-not-a-file"}
LAYERS = [
    tar(("etc/", "5"), ("usr/big", os.urandom(1500)), (PATH, WANTED)),
    tar((".wh.etc", b""), ("etc/.wh..wh..opq", b""), ("l" * 150, "2x"), (PATH.ljust(200, "x"), b"x"), form=1),
    pax(record(b"path", PATH.encode()), record(b"size", b"2")) + header() + padded(b"ab") + END,
    header(b"s", b"S", b"512") + bytes(512) + header(PATH.encode(), b"\0", b"\x80" + (3).to_bytes(11, "big"))
    + padded(b"abc") + END,
]
BOMB = tar(("zeros", bytes(8 << 20)))


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def looked(data: bytes, size: int = 512) -> None:
    """However the stream is cut, it is read to the end alike; only damage behind the file may be met or not."""
    answers = []
    for step in (size, len(data) + 1):
        try:
            found = look(chunks(data, step), PATH, max_file=1000, max_unpacked=LIMIT)
            assert (found.content is not None) == (found.kind is FILE)
            assert len(found.content or b"") <= 1000
            answers.append(found.kind.value)
        except FoundryError as error:
            assert error.reason in NAMES
            assert error.render().isprintable()
            answers.append(error.reason)
    assert len(set(answers)) == 1 or not {"hidden", "absent"} & set(answers)


@many
@given(st.binary(max_size=600) | mutations(LAYERS), st.integers(1, 600))
def test_plain_layers(data: bytes, size: int) -> None:
    looked(data, size)


@many
@given(st.sampled_from(sorted(COMPRESS)), mutations(LAYERS), st.integers(1, 600))
def test_compressed_archives_that_are_broken(kind: str, data: bytes, size: int) -> None:
    looked(COMPRESS[kind](data), size)


@many
@given(mutations([compress(layer) for compress in COMPRESS.values() for layer in (*LAYERS, BOMB)]), st.integers(1, 600))
def test_compressed_streams_that_are_broken(data: bytes, size: int) -> None:
    looked(data, size)


ODD = [b"ustar\x0000", b"ustar  \0", b"\x80", b"\xff", b"77777777777", b"-1", b"\0", b" ", b"9", b"/", b"..", b".wh."]
fields = st.sampled_from([(0, 100), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (482, 1)])


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Headers whose checksum is right, however odd the rest."""
    flag = draw(st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S", b"X", b"M", b"?"]))
    name = draw(st.sampled_from([PATH.encode(), b"etc", b"etc/.wh..wh..opq", b".wh.etc", b"x"]))
    block = bytearray(header(name, flag, b"%o" % draw(st.sampled_from([0, 1, 9, 600, 2 << 20]))))
    for at, length in draw(st.lists(fields, max_size=2)):
        odd = draw(st.sampled_from(ODD)) + draw(st.binary(max_size=4))
        block[at : at + length] = odd.ljust(length, b"\0")[:length]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + padded(draw(st.binary(max_size=700) | st.just(record(b"path", PATH.encode()))))


@many
@given(st.lists(headers(), max_size=4).map(b"".join), st.integers(1, 600))
def test_headers_that_are_odd(data: bytes, size: int) -> None:
    looked(data + END, size)


def test_memory_is_bounded() -> None:
    """Far less than what the layers unpack to: zstd's largest step and what is left of the one before."""
    inside = tar(("zeros", bytes(300 << 20)))
    for kind in ("gzip", "zstd"):
        data = COMPRESS[kind](inside)
        tracemalloc.start()
        look(chunks(data, 1 << 20), PATH)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 150 << 20, (kind, peak)


# -- documents ----------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(
    ["", "sha256:" + "0" * 64, *ACCEPT, "linux", "amd64", "v8", "\ud800", 2, 1 << 70]
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
                      max_leaves=5)


def nodes(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as what holds it and the key there."""
    if isinstance(document, (dict, list)):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from nodes(document[key])


@st.composite
def documents(draw: st.DrawFn, *seeds: Any) -> bytes:
    """A document with some of its nodes replaced, removed or doubled."""
    document = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(document))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        change = draw(st.integers(0, 3))
        if change == 0 and isinstance(parent, dict):
            del parent[key]
        elif change == 1 and isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = parent[key]
        elif change == 1:
            parent.append(parent[key])
        else:
            parent[key] = draw(values)
    return json.dumps(document).encode(errors="surrogatepass")


IMAGES = [image(annotations={"a": "b"}), index(entry(1, "linux/arm64/v8"), entry(2, "linux/amd64", urls=["x"]))]


@many
@given(documents(*IMAGES) | mutations([json.dumps(one).encode() for one in IMAGES]) | st.binary(max_size=99),
       st.sampled_from(["", "application/json", *ACCEPT]))
def test_manifests(data: bytes, content_type: str) -> None:
    try:
        found = parse_manifest(data, content_type)
        assert isinstance(found, (Manifest, Index))
        if isinstance(found, Index):
            assert choose(found, "arm64") in found.entries
    except FoundryError as error:
        assert error.reason in ("manifest-malformed", "manifest-unsupported", "platform-missing")
        assert error.message.isprintable()


@many
@given(documents(CONFIG) | mutations([json.dumps(CONFIG).encode()]) | st.binary(max_size=99))
def test_configurations(data: bytes) -> None:
    try:
        found = parse_config(data)
        assert json.dumps([found.os, found.created, dict(found.labels), found.diff_ids], ensure_ascii=False).encode()
    except FoundryError as error:
        assert error.reason == "image-config-malformed"
        assert error.render().isprintable()


@many
@given(documents(json.loads(document())) | mutations([document()]) | st.text().map(document) | st.binary(max_size=99),
       st.sampled_from(["x86_64", "aarch64"]))
def test_toolkit_releases(data: bytes, arch: str) -> None:
    try:
        found = toolkit_release.parse(data, arch)
        assert f"{found.kernel} {found.rt_kernel} {found.rhel}".isprintable()
    except FoundryError as error:
        assert error.reason in ("toolkit-release-malformed", "toolkit-kernel-invalid", "toolkit-wrong-arch")
        assert error.message.isprintable()
