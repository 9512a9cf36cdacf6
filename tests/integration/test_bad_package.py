"""Packages that are damaged, signed by the wrong one, or that want to write where they must not."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundry.formats.packages import rpm
from tests.harness import rpmtools, rpmwriter
from tests.harness.refusal import Failure, failure_note, refused
from tests.harness.rpmtools import Key, Server, serve, signing_key
from tests.harness.rpmwriter import FOLDER, LINK, File
from tests.harness.vendor import DRIVER, PACKAGE, LocalClone, publish

FETCH, SOURCE = f"fetch:{DRIVER}", f"source:{DRIVER}"
FILE = f"{PACKAGE}-{DRIVER}-1.noarch.rpm"
PAST = "--faked-system-time=20200101T000000"


@dataclass(frozen=True)
class Vendor:
    """Keys and one package: unsigned, signed over header and payload, signed as rpm does by default."""

    key: Key
    other: Key
    expired: Key
    unsigned: bytes
    signed: bytes
    header_signed: bytes


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    folder = tmp_path_factory.mktemp("vendor")
    path = rpmtools.build_rpm(folder, name=PACKAGE, version=DRIVER)
    unsigned = path.read_bytes()
    with ExitStack() as stack:
        key, other = stack.enter_context(signing_key()), stack.enter_context(signing_key())
        expired = stack.enter_context(signing_key(PAST, expires="2020-02-01"))
        rpmtools.sign_rpm(path, key)
        signed = path.read_bytes()
        path.write_bytes(unsigned)
        rpmtools.sign_rpm(path, key, "--quiet")
        yield Vendor(key, other, expired, unsigned, signed, path.read_bytes())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def clone(server: Server, vendor: Vendor, tmp_path: Path) -> LocalClone:
    return LocalClone(tmp_path, f"{server.url}/", vendor.key)


def offer(server: Server, key: Key, package: bytes) -> None:
    """A repository with the package, indexed anew by createrepo_c: its checksum is right."""
    (server.folder / FILE).write_bytes(package)
    shutil.copyfile(key.file, server.folder / "key.pub")
    shutil.rmtree(server.folder / "repodata", ignore_errors=True)
    rpmtools.index(server.folder)
    (primary,) = (server.folder / "repodata").glob("*primary.xml.gz")
    assert rpmtools.sha256(server.folder / FILE) in gzip.decompress(primary.read_bytes()).decode()


def fails(clone: LocalClone, reason: str, *words: str, hint: str = "") -> Failure:
    """The fetch is refused; the lock stays as it was and nothing of the package is there."""
    before = (clone.root / "config/locks/neuron.json").read_bytes()
    failure = refused(clone, clone.doit(FETCH), FETCH, 1, reason, *words, hint=hint)
    assert (clone.root / "config/locks/neuron.json").read_bytes() == before
    assert clone.fetched == []
    return failure


def works(clone: LocalClone) -> None:
    run = clone.doit(FETCH)
    assert run.code == 0, run.text
    assert clone.fetched == ["fetch.json", "package.rpm"]


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0x01
    return bytes(changed)


def regions(data: bytes) -> dict[str, int]:
    """Offsets whose change an index made anew does not tell, by what they are in."""
    package = rpm.parse_package(data)
    start, end = package.header_range
    signature = package.signature or package.header_signature or b""
    return {
        "the lead's magic": 1, "the signature header's magic": 96 + 1,
        "the signature": data.index(signature) + len(signature) // 2,
        "the header": data.index(b"A thing to unpack", start, end), "the payload": (end + len(data)) // 2,
        "the payload's end": len(data) - 3,
    }


def test_a_flipped_byte_is_refused(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    """Header and payload are what the module is made of: a change is found in either way of signing."""
    reasons = {"the signature": "signature-bad"}
    for good in (vendor.signed, vendor.header_signed):
        for region, at in regions(good).items():
            if "magic" in region:
                publish(server, vendor.key, flipped(good, at))  # createrepo_c leaves out what begins in this way
            else:
                offer(server, vendor.key, flipped(good, at))
            fails(clone, reasons.get(region, "rpm-damaged"))
    offer(server, vendor.key, vendor.signed)
    works(clone)


def test_a_flipped_byte_with_all_unsigned_digests_mended(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    """An attacker who flips a byte can take the unsigned digests out of the signature header: the signature tells."""
    package = rpm.parse_package(vendor.signed)
    assert package.signature
    start, end = package.header_range
    signed = rpmwriter.section({1002: (7, package.signature)})
    behind = rpmwriter.LEAD + signed + bytes(-len(signed) % 8)
    publish(server, vendor.key, behind + vendor.signed[start:])
    works(clone)
    (clone.build / f"sources/{DRIVER}/fetch.json").unlink()
    (clone.build / f"sources/{DRIVER}/package.rpm").unlink()
    publish(server, vendor.key, behind + flipped(vendor.signed, vendor.signed.index(b"A thing to unpack"))[start:])
    fails(clone, "lock-mismatch", "the content of p.rpm changed")
    path = clone.root / "config/locks/neuron.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "packages": {}}))
    fails(clone, "signature-bad", "the data was changed after it was signed", hint="fetch it again")
    assert end < len(vendor.signed)


def test_a_flipped_byte_that_may_be_harmless(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    """The lead decides nothing, nor does room left in the signature header: the content must be what is locked."""
    offer(server, vendor.key, vendor.signed)
    works(clone)
    content = rpm.parse_package(vendor.signed).content_sha256
    start, _ = rpm.parse_package(vendor.signed).header_range
    taken = []
    for at in (20, 70, 96 + 5, 96 + 20, 150, 300, start - 60, start - 9):
        (clone.build / f"sources/{DRIVER}/package.rpm").unlink(missing_ok=True)
        put = offer if at < 96 else publish  # createrepo_c reads no damaged signature header
        put(server, vendor.key, flipped(vendor.signed, at))
        run = clone.doit(FETCH)
        if run.code == 0:
            taken.append(at)
        else:
            reason = failure_note(clone, FETCH)["reason"]
            assert reason in ("rpm-damaged", "signature-bad", "signature-missing"), at
            refused(clone, run, FETCH, 1, reason)
            assert clone.fetched == []
        assert list(clone.locked) == [DRIVER]
        assert clone.locked[DRIVER]["content_sha256"] == content, at
    assert taken[:2] == [20, 70], "the lead's"


def test_the_wrong_key(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    offer(server, vendor.other, vendor.signed)
    fails(clone, "signature-wrong-key", vendor.key.fingerprint, hint="only from the vendor")
    package = server.folder / FILE
    package.write_bytes(vendor.unsigned)
    rpmtools.sign_rpm(package, vendor.other)
    forged = package.read_bytes()
    offer(server, vendor.key, forged)
    fails(clone, "signature-wrong-key", vendor.other.fingerprint[-16:], vendor.key.fingerprint)
    offer(server, vendor.other, forged)  # key and package fit each other, but not the pinned fingerprint
    fails(clone, "signature-wrong-key", vendor.other.fingerprint, vendor.key.fingerprint)
    offer(server, vendor.key, vendor.signed)
    works(clone)


def test_an_expired_key(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    clone.edit("config/drivers/neuron.yaml", vendor.key.fingerprint, vendor.expired.fingerprint)
    package = server.folder / FILE
    package.write_bytes(vendor.unsigned)
    rpmtools.sign_rpm(package, vendor.expired, "--rpmv3", "--define", f"_gpg_sign_cmd_extra_args {PAST}")
    offer(server, vendor.expired, package.read_bytes())
    fails(clone, "signature-key-expired", f"the key {vendor.expired.fingerprint} has expired", hint="a newer one")


def test_no_signature(clone: LocalClone, server: Server, vendor: Vendor) -> None:
    offer(server, vendor.key, vendor.unsigned)
    fails(clone, "signature-missing", "it has no signature", hint="signed")
    offer(server, vendor.key, vendor.header_signed)
    works(clone)


def crafted(files: Sequence[File], key: Key) -> bytes:
    """A package byte by byte, rightly signed."""
    tags: dict[int, tuple[int, rpmwriter.Value] | None] = {1000: (6, PACKAGE), 1001: (6, DRIVER)}
    plain = rpmwriter.build(files, tags=tags)
    signature = rpmtools.sign_bytes(plain[rpm.parse_package(plain).header_range[0]:], key)
    return rpmwriter.build(files, tags=tags, signatures={1002: (7, signature)})


ROOT = f"/usr/src/thing-{DRIVER}"
EVIL = {
    "dots in header and archive": ([File("/../../../escaped", b"x")], "package-unsafe-path"),
    "dots in the archive alone": ([File("/usr/escaped", b"x", member="./../../../escaped")], "package-unsafe-path"),
    "an absolute name": ([File("/usr/escaped", b"x", member="/tmp/escaped")], "package-unsafe-path"),
    "a link to a folder outside": ([File(f"{ROOT}/d", linkto="../../../../..", mode=LINK)], "package-unsafe-link"),
    "through a link": ([File(f"{ROOT}/e", mode=FOLDER), File(f"{ROOT}/d", linkto="e", mode=LINK),
                        File(f"{ROOT}/d/escaped", b"x")], "package-unsafe-path"),
    "a link out of the sources, to elsewhere in the package": (
        [File("/usr/src/other", b"x"), File(f"{ROOT}/d", linkto="../other", mode=LINK)], "package-unsafe-link"),
    "a link out of the sources and back": (
        [File(f"{ROOT}/d", linkto=f"../thing-{DRIVER}/main.c", mode=LINK)], "package-unsafe-link"),
    "a device": ([File(f"{ROOT}/null", mode=0o20666)], "package-unsafe-type"),
}


@pytest.mark.parametrize("case", EVIL)
def test_a_package_that_writes_outside(case: str, clone: LocalClone, server: Server, vendor: Vendor) -> None:
    """Its signature is good, so that it is the unpacking that refuses it."""
    files, reason = EVIL[case]
    folders = [File("/usr", mode=FOLDER), File(f"{ROOT}", mode=FOLDER), File(f"{ROOT}/main.c", b"int a;\n")]
    publish(server, vendor.key, crafted([*folders, *files], vendor.key))
    stays_inside(clone, reason)


def test_a_package_of_rpmbuild_with_a_link_outside(
    clone: LocalClone, server: Server, vendor: Vendor, tmp_path: Path
) -> None:
    spec = tmp_path / "evil.spec"
    spec.write_text(
        f"Name: {PACKAGE}\nVersion: {DRIVER}\nRelease: 1\nSummary: x\nLicense: GPL-2.0\nBuildArch: noarch\n"
        f"AutoReqProv: no\n%description\nx\n%install\nd=%{{buildroot}}{ROOT}; mkdir -p $d\n"
        f"echo x >$d/main.c; ln -s /etc $d/etc\n%files\n{ROOT}\n", encoding="utf-8"
    )
    top = tmp_path / "top"
    rpmtools.command("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", "--define", "_rpmfilename p.rpm", spec)
    rpmtools.sign_rpm(top / "RPMS/p.rpm", vendor.key)
    offer(server, vendor.key, (top / "RPMS/p.rpm").read_bytes())
    stays_inside(clone, "package-unsafe-link")


def stays_inside(clone: LocalClone, reason: str) -> None:
    """It is refused when it is looked into, before it is locked, and not a byte of it is written or kept."""
    around = subprocess.run(["find", clone.root.parent, "-name", "escaped"], capture_output=True, text=True, check=True)
    assert around.stdout == ""
    run = clone.doit(SOURCE)
    refused(clone, run, FETCH, 1, reason, hint="don't use the package")
    assert clone.fetched == []
    for place in (clone.root.parent, Path("/tmp/escaped")):
        found = subprocess.run(["find", place, "-name", "escaped"], capture_output=True, text=True, check=False)
        assert found.stdout == ""
    assert "blocked" in clone.doit("build").out
