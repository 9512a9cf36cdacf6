"""BusyBox's source: known by its bytes, read to its end, of the right version; and from where it is fetched."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError, OutsideError
from foundry.config.family import Family
from foundry.config.locks import BusyBox
from foundry.plan.keys import CellKey
from foundry.release import busybox_tarball
from foundry.release.busybox import BusyBoxSource, fetch_busybox
from foundry.release.busybox_tarball import check_source
from foundry.run.context import Foundry, open_foundry
from tests.harness.checkout import LOCK, Checkout
from tests.harness.fuzz import examples
from tests.harness.rpmtools import Server, body, serve, status, truncated

VERSION = "1.36.1"
MAKEFILE = b"VERSION = 1\nPATCHLEVEL = 36\nSUBLEVEL = 1\nEXTRAVERSION =\nNAME = Unnamed\n\nVERSION_OTHER = 7\n"
FILES = {"Makefile": MAKEFILE, "include/libbb.h": b"/* */\n", "LICENSE": b"GPL-2.0\n" * 900}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}
HTML = b"<!DOCTYPE html><html><body>Down for maintenance</body></html>"


def tarball(files: dict[str, bytes] | None = None, top: str = "busybox-1.36.1/") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a" * 40}) as tar:
        for name, content in (FILES if files is None else files).items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def refused(path: Path, data: bytes) -> FoundryError:
    path.write_bytes(data)
    with pytest.raises(FoundryError) as raised:
        check_source(path, VERSION, "https://busybox.net/x.tar.bz2")
    assert "https://busybox.net/x.tar.bz2" in raised.value.message
    return raised.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive"


# -- the bytes -------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("top", ["busybox-1.36.1/", "busybox-1_36_1/", "./x/"])
def test_it_is_named_for_what_it_is(suffix: str, top: str, file: Path) -> None:
    file.write_bytes(PACK[suffix](tarball(top=top)))
    assert check_source(file, VERSION, "it") == f"busybox-{VERSION}{suffix}"


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress])
def test_what_parallel_compressors_write(pack: Callable[[bytes], bytes], file: Path) -> None:
    """Several streams, one after the other."""
    data = tarball()
    file.write_bytes(b"".join(pack(data[at : at + 1000]) for at in range(0, len(data), 1000)))
    assert check_source(file, VERSION, "it").startswith(f"busybox-{VERSION}.tar.")
    assert refused(file, pack(data) + b"more").reason == "busybox-damaged"


@pytest.mark.parametrize("data", [
    b"", HTML, gzip.compress(HTML), gzip.compress(b""), bz2.compress(b""), tarball(), b"BZh9", b"\x1f\x8b",
    gzip.compress(tarball({})), gzip.compress(tarball({"Makefile": MAKEFILE})),
    gzip.compress(tarball({"include/libbb.h": b"", "sub/Makefile": MAKEFILE})), gzip.compress(tarball(top="")),
    gzip.compress(tarball()[:3000]), bz2.compress(b"") * 20_000 + bz2.compress(tarball()),
])
def test_what_is_no_source_of_busybox(data: bytes, file: Path) -> None:
    assert refused(file, data).reason == "busybox-damaged"


@pytest.mark.parametrize("makefile, said", [
    (MAKEFILE.replace(b"36", b"37"), "1.37.1"), (MAKEFILE.replace(b"VERSION =\n", b"VERSION = .git\n"), "1.36.1.git"),
    (b"all:\n", "?.?.?"), (MAKEFILE.replace(b"SUBLEVEL = 1", b"SUBLEVEL = 10"), "1.36.10"),
])
def test_another_version(makefile: bytes, said: str, file: Path) -> None:
    error = refused(file, gzip.compress(tarball({**FILES, "Makefile": makefile})))
    assert (error.reason, error.exit_code) == ("busybox-version", 1)
    assert f"is the source of BusyBox {said}, not {VERSION}" in error.message


@pytest.mark.parametrize("suffix", PACK)
def test_every_truncation_is_found(suffix: str, file: Path) -> None:
    whole = PACK[suffix](tarball())
    for end in {*range(0, len(whole), 7), len(whole) - 1}:
        refused(file, whole[:end])


@pytest.mark.parametrize("suffix", PACK)
def test_any_damage_is_one_error(suffix: str, tmp_path: Path) -> None:
    whole = PACK[suffix](tarball())

    @examples(50)
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def check(at: int, change: int) -> None:
        path = tmp_path / "archive"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
        try:
            assert check_source(path, VERSION, "it").startswith(f"busybox-{VERSION}")
        except FoundryError as error:
            assert error.reason.startswith("busybox-")

    check()


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb(suffix: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busybox_tarball, "_UNPACKED", 4 << 20)
    many = {f"f{number}": bytes(1 << 20) for number in range(5)}
    for files in ({**FILES, "big": bytes(5 << 20)}, {**FILES, **many}):
        assert refused(file, PACK[suffix](tarball(files))).reason == "busybox-too-large"
    assert refused(file, PACK[suffix](tarball() + bytes(5 << 20))).reason == "busybox-too-large"
    monkeypatch.setattr(busybox_tarball, "MAX_BYTES", 100)
    assert refused(file, PACK[suffix](tarball())).reason == "busybox-too-large"


# -- where it comes from ------------------------------------------------------------

GZ, BZ2 = gzip.compress(tarball(), mtime=0), bz2.compress(tarball())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Fetching:
    """A checkout whose lock names two places on a server."""

    def __init__(self, checkout: Checkout, server: Server) -> None:
        self.checkout, self.server = checkout, server
        self.first, self.second = f"{server.url}/first.zip", f"{server.url}/second"
        self.dest = checkout.root / "build/local/release/x"
        self.log = checkout.root / "log"

    def lock(self, **changes: Any) -> None:
        """Write the lock; a fact that is empty is not in it."""
        facts = {"version": VERSION, "source": self.first, "source_backup": self.second, **changes}
        facts = {name: value for name, value in facts.items() if value}
        self.checkout.write("config/locks/neuron.json", {**LOCK, "base": {**LOCK["base"], "busybox": facts}})

    def locked(self) -> dict[str, Any]:
        document = json.loads((self.checkout.root / "config/locks/neuron.json").read_text())
        assert document["packages"] == LOCK["packages"]
        facts: dict[str, Any] = document["base"]["busybox"]
        return facts

    def serve(self, first: bytes | None = None, second: bytes | None = None, **facts: Any) -> None:
        self.lock(**facts)
        for name, data in (("first.zip", first), ("second", second)):
            if data is not None:
                (self.server.folder / name).write_bytes(data)

    def open(self) -> tuple[Foundry, Family]:
        foundry = open_foundry(self.checkout.root)
        return foundry, foundry.config.families["neuron"]

    def fetch(self) -> tuple[BusyBoxSource, list[str]]:
        foundry, family = self.open()
        found = fetch_busybox(foundry, family, self.dest, self.log, first_wait=0.01)
        assert digest(found.path.read_bytes()) == found.sha256
        assert [path.name for path in self.dest.iterdir()] == [found.path.name]
        base = foundry.config.locks.of("neuron").base
        assert base is not None and base.busybox == BusyBox(**self.locked())
        return found, foundry.journal.warnings

    def refused(self) -> FoundryError:
        before = self.locked()
        foundry, family = self.open()
        with pytest.raises(FoundryError) as raised:
            fetch_busybox(foundry, family, self.dest, self.log, first_wait=0.01)
        assert not self.dest.exists() or list(self.dest.iterdir()) == []
        assert self.locked() == before
        assert raised.value.hint
        return raised.value


@pytest.fixture
def fetching(checkout: Checkout, tmp_path: Path) -> Iterator[Fetching]:
    (tmp_path / "www").mkdir()
    with serve(tmp_path / "www") as server:
        one = Fetching(checkout, server)
        one.lock()
        yield one


def test_the_first_place(fetching: Fetching) -> None:
    """By its bytes, whatever the URL says; its checksum is locked then, and it is not fetched again."""
    fetching.serve(GZ, BZ2)
    found, warnings = fetching.fetch()
    assert found == (fetching.dest / "busybox-1.36.1.tar.gz", digest(GZ), fetching.first)
    assert fetching.locked()["sha256"] == {fetching.first: digest(GZ)}
    assert warnings == ["the source of BusyBox 1.36.1 is now locked in config/locks/neuron.json: keep that file"]
    requests = len(fetching.server.hits)
    again, warnings = fetching.fetch()
    assert (again, warnings, len(fetching.server.hits)) == (found, [], requests)


def test_a_file_that_is_not_the_locked_one_is_fetched_again(fetching: Fetching) -> None:
    fetching.serve(GZ, BZ2)
    found, _ = fetching.fetch()
    found.path.write_bytes(GZ[:-1])
    assert fetching.fetch() == (found, [])
    wrong = found.path.rename(found.path.with_name("busybox-1.36.1.tar.xz"))
    foundry, family = fetching.open()
    assert fetch_busybox(foundry, family, fetching.dest, fetching.log) == found
    assert len(fetching.server.hits) == 3
    wrong.unlink()


BAD: dict[str, tuple[Callable[[Fetching], None], str]] = {
    "error page": (lambda one: one.serve(HTML), "is no .tar.gz, .tar.bz2 or .tar.xz tarball"),
    "missing": (lambda one: None, "the server answers 404"),
    "cut off": (lambda one: one.serve(BZ2[:-20]), "can't be read"),
    "dropped": (lambda one: one.server.faults.__setitem__("/first.zip", [truncated(BZ2)] * 4), "the answer is cut off"),
    "down": (lambda one: one.server.faults.__setitem__("/first.zip", [status(503)] * 4), "answers 503"),
    "other version": (
        lambda one: one.serve(gzip.compress(tarball({**FILES, "Makefile": MAKEFILE.replace(b"36", b"37")}))),
        "is the source of BusyBox 1.37.1, not 1.36.1",
    ),
    "wrong checksum": (
        lambda one: one.serve(GZ, sha256={one.first: digest(BZ2)}),
        f"has the SHA-256 {digest(GZ)}, not {digest(BZ2)}",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_second_place(case: str, fetching: Fetching) -> None:
    """A fault of the first is reported, and nothing about the first is locked."""
    make, said = BAD[case]
    fetching.serve(None, BZ2)
    make(fetching)
    before = fetching.locked().get("sha256", {})
    found, warnings = fetching.fetch()
    assert found == (fetching.dest / "busybox-1.36.1.tar.bz2", digest(BZ2), fetching.second)
    assert fetching.locked()["sha256"] == {**before, fetching.second: digest(BZ2)}
    assert len(warnings) == 2
    assert warnings[1].startswith(f"the source of BusyBox was taken from {fetching.second}, because ")
    assert said in warnings[1]
    assert said in fetching.log.read_text()


@pytest.mark.parametrize("case", BAD)
def test_both_are_bad(case: str, fetching: Fetching) -> None:
    make, said = BAD[case]
    fetching.server.faults["/second"] = [body(HTML)]
    make(fetching)
    error = fetching.refused()
    assert (error.reason, error.exit_code) == ("busybox-source", 1)
    assert said in error.message
    assert f"{fetching.second} is no .tar.gz" in error.message
    assert error.log == fetching.log


def test_both_are_out_of_reach(fetching: Fetching) -> None:
    fetching.server.faults["/first.zip"] = [status(500)] * 4
    error = fetching.refused()
    assert isinstance(error, OutsideError)
    assert (error.reason, error.exit_code, error.retry) == ("busybox-source", 3, True)
    assert "first.zip: the server answers 500" in error.message
    assert "second: the server answers 404" in error.message


def test_one_place_alone(fetching: Fetching) -> None:
    fetching.lock(source_backup="")
    assert fetching.refused().exit_code == 3
    fetching.serve(GZ, source_backup="")
    assert fetching.fetch()[0].url == fetching.first


def test_a_wrong_checksum_is_never_locked_again(fetching: Fetching) -> None:
    """Another one has to be asked for."""
    fetching.serve(GZ, BZ2, sha256={fetching.first: "0" * 64, fetching.second: "1" * 64})
    error = fetching.refused()
    assert (error.reason, error.exit_code) == ("busybox-source", 1)
    assert error.message.count("has the SHA-256") == 2


def test_the_lock_changes_meanwhile(fetching: Fetching) -> None:
    """What an editor or another run adds stays; what it changes about BusyBox stops this run."""
    fetching.serve(GZ)
    foundry, family = fetching.open()
    fetching.lock(sha256={fetching.second: "5" * 64})
    fetch_busybox(foundry, family, fetching.dest, fetching.log)
    assert fetching.locked()["sha256"] == {fetching.first: digest(GZ), fetching.second: "5" * 64}
    for changes in ({"sha256": {fetching.first: "6" * 64}}, {"version": "1.37.0"}):
        fetching.lock(source_backup="")
        foundry, family = fetching.open()
        fetching.lock(source_backup="", **changes)
        before = fetching.locked()
        with pytest.raises(FoundryError, match="was changed while"):
            fetch_busybox(foundry, family, fetching.dest / "other", fetching.log)
        assert fetching.locked() == before
        assert list((fetching.dest / "other").iterdir()) == []


def test_a_lock_that_does_not_say_enough(fetching: Fetching) -> None:
    fetching.lock(version="../1")
    assert fetching.refused().reason == "busybox-unknown"
    base = {name: value for name, value in LOCK["base"].items() if name != "busybox"}
    fetching.checkout.write("config/locks/neuron.json", {**LOCK, "base": base})
    foundry, family = fetching.open()
    with pytest.raises(FoundryError, match="does not say which BusyBox"):
        fetch_busybox(foundry, family, fetching.dest, fetching.log)


def test_checksums_are_in_no_key(fetching: Fetching) -> None:
    """They say how to fetch a source, not what is in an image."""

    def keys() -> dict[str, CellKey | None]:
        foundry, _ = fetching.open()
        return {name: state.key for name, state in foundry.states.cells.items()}

    before = keys()
    assert before and all(before.values())
    fetching.lock(sha256={fetching.first: "7" * 64})
    assert keys() == before


@pytest.mark.parametrize("sums", [{"x": "0" * 64}, {"https://a/b": "0" * 63}, {"https://a/b": "G" * 64}, []])
def test_checksums_that_are_none(sums: Any, fetching: Fetching) -> None:
    fetching.lock(sha256=sums or ["x"])
    with pytest.raises(FoundryError, match="sha256"):
        fetching.open()
