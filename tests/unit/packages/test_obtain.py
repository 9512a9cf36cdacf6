"""What is known of a package's bytes is compared before anything reads in them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundry.base.errors import FoundryError
from foundry.base.files import sha256_bytes
from foundry.config.locks import LockedPackage, MainPackage
from foundry.config.package_specs import DEB, RPM, TAR, PackageSpec
from foundry.driver import source
from foundry.formats.packages import deb, repodata, rpm, rpmheader
from foundry.formats.trees import decompress, sourcetree
from foundry.packages import repository
from foundry.packages.obtain import Obtained, Trust, content_sha256, obtain
from tests.harness import rpmtools
from tests.harness.rpmwriter import File, build
from tests.unit.formats.test_deb import deb as made_deb
from tests.unit.formats.test_deb import tar

WRONG = "0" * 64
PACKAGES = {RPM: build((File("/usr/src/t/a.c", b"int a;"),)), DEB: made_deb(tar(("x", b"y"))), TAR: tar(("x", b"y"))}
NAMES = {RPM: ("thing-dkms", "1.2.3"), DEB: ("thing-dkms", "2.0-3"), TAR: ("thing", "1.0")}
kinds = pytest.mark.parametrize("kind", PACKAGES)


def spec_of(kind: str, path: Path, sha256: str = "") -> PackageSpec:
    name, version = NAMES[kind]
    return PackageSpec("", kind, "", path.as_uri(), (name,), "", version, "MIT", sha256, None, "$")


def offered(kind: str, folder: Path) -> Path:
    path = folder / f"thing.{kind}"
    path.write_bytes(PACKAGES[kind])
    return path


def fetched(spec: PackageSpec, trust: Trust, folder: Path) -> Obtained:
    return obtain(spec, folder / "out" / "package", trust, address=spec.url, listed=None, log=folder / "log", seconds=9)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading in a package fails the test."""
    def read(*_: object, **__: object) -> None:
        raise AssertionError("it was read")

    for module, name in ((deb, "parse_deb"), (rpm, "parse_package"), (rpmheader, "parse"), (sourcetree, "newest"),
                         (sourcetree, "unpack_tar"), (decompress, "pieces"), (decompress, "stream")):
        monkeypatch.setattr(module, name, read)


@kinds
def test_a_package_that_is_known(kind: str, tmp_path: Path) -> None:
    path = offered(kind, tmp_path)
    sha256 = sha256_bytes(PACKAGES[kind])
    first = fetched(spec_of(kind, path, sha256), Trust(None, "", None), tmp_path)
    assert first.known
    assert first.content_sha256 == content_sha256(spec_of(kind, path), path)
    again = fetched(spec_of(kind, path), Trust(None, "", first.content_sha256), tmp_path)
    assert (again.file_sha256, again.content_sha256, again.known) == (sha256, first.content_sha256, True)


@kinds
@pytest.mark.usefixtures("unread")
def test_another_one_is_not_read(kind: str, tmp_path: Path) -> None:
    path = offered(kind, tmp_path)
    pinned = spec_of(kind, path, sha256_bytes(PACKAGES[kind]))
    for spec, trust, reason in (
        (spec_of(kind, path, WRONG), Trust(None, "", None), "pin-mismatch"),
        (spec_of(kind, path), Trust(None, "", WRONG), "lock-mismatch"),
        (pinned, Trust(None, "", WRONG), "lock-mismatch"),
    ):
        with pytest.raises(FoundryError) as raised:
            fetched(spec, trust, tmp_path)
        assert raised.value.reason == reason
        assert list((tmp_path / "out").iterdir()) == []


@kinds
@pytest.mark.usefixtures("unread")
def test_one_that_nothing_vouches_for_is_not_read(kind: str, tmp_path: Path) -> None:
    found = fetched(spec_of(kind, offered(kind, tmp_path)), Trust(None, "", None), tmp_path)
    assert (found.known, found.file_sha256, found.href) == (False, sha256_bytes(PACKAGES[kind]), f"thing.{kind}")
    assert list((tmp_path / "out").iterdir()) == []


def repository_of(folder: Path) -> Path:
    root = folder / "www"
    root.mkdir()
    rpmtools.build_rpm(root, version="1.2.3")
    rpmtools.index(root)
    return root


def test_a_repository(tmp_path: Path, unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is signed, too, the lock comes before the signature; what nobody signed nor locked is not read."""
    del unread
    monkeypatch.setattr(decompress, "pieces", PIECES)
    url = repository_of(tmp_path).as_uri()
    [listed] = repository.list_packages(url)
    spec = PackageSpec("", RPM, url, "", ("thing-dkms",), listed.arch, "1.2.3", "", "", None, "$")
    with pytest.raises(FoundryError) as raised:
        fetched_from(spec, Trust(tmp_path / "no key", "A" * 40, WRONG), url, tmp_path)
    assert raised.value.reason == "lock-mismatch"
    found = fetched_from(spec, Trust(None, "", None), url, tmp_path)
    assert (found.known, found.file_sha256) == (False, listed.checksum.digest)


PIECES = decompress.pieces


def fetched_from(spec: PackageSpec, trust: Trust, url: str, folder: Path) -> Obtained:
    return obtain(spec, folder / "out" / "package", trust, address=url, listed=None, log=folder / "log", seconds=9)


def test_a_list_that_repomd_does_not_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository_of(tmp_path)
    [primary] = root.glob("repodata/*primary.xml*")
    data = primary.read_bytes()
    monkeypatch.setattr(repodata, "open_primary", lambda *_: pytest.fail("it was read"))
    for other, reason in ((b"\1" * len(data), "digest-mismatch"), (data[:-1], "digest-mismatch"),
                          (data + b"more", "http-too-large")):
        primary.write_bytes(other)
        with pytest.raises(FoundryError) as raised:
            repository.list_packages(root.as_uri())
        assert raised.value.reason == reason


@pytest.mark.usefixtures("unread")
def test_a_fetched_package_that_is_another_one_now(tmp_path: Path) -> None:
    """The cache below build/: what stands there is compared with the lock each time that it is unpacked."""
    locked = MainPackage("a", "a.rpm", "https://a.invalid/a.rpm", WRONG, 0, "MIT",
                         further={"blobs": LockedPackage("b", "b.rpm", "https://a.invalid/b.rpm", WRONG, 0, "MIT")})
    source.require_locked("1.0", {"": WRONG, "blobs": WRONG}, locked, tmp_path)
    for found in ({"": "1" * 64}, {"": WRONG, "blobs": "1" * 64}):
        with pytest.raises(FoundryError) as raised:
            source.require_locked("1.0", found, locked, tmp_path)
        assert (raised.value.reason, raised.value.hint[:20]) == ("lock-mismatch", "run `doit fetch:1.0`")


def test_links_to_firmware_count_as_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each becomes a file of the image."""
    root = tmp_path / "root"
    (root / "fw").mkdir(parents=True)
    (root / "fw/a").write_bytes(bytes(1000))
    for number in range(9):
        (root / f"fw/b{number}").symlink_to("a")
    family: Any = SimpleNamespace(file="f.yaml", data={"firmware": [{"from": "fw", "to": "x"}]})
    assert len(source._firmware(family, {"": root}, tmp_path / "all")) == 10
    monkeypatch.setattr(sourcetree, "MAX_UNPACKED", 5000)
    with pytest.raises(FoundryError) as raised:
        source._firmware(family, {"": root}, tmp_path / "some")
    assert raised.value.reason == "tar-too-large"
    assert len(list((tmp_path / "some/x").iterdir())) == 5


def test_firmware_that_would_remove_a_file_of_the_image(tmp_path: Path) -> None:
    """Names that begin with .wh. say so in a layer (OCI image specification, layer.md)."""
    (tmp_path / "root/fw/.wh.sub").mkdir(parents=True)
    (tmp_path / "root/fw/.wh.sub/a").write_bytes(b"x")
    family: Any = SimpleNamespace(file="f.yaml", data={"firmware": [{"from": "fw", "to": "x"}]})
    with pytest.raises(FoundryError) as raised:
        source._firmware(family, {"": tmp_path / "root"}, tmp_path / "all")
    assert raised.value.reason == "package-unsafe-path"
