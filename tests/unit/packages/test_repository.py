"""The chain of trust, over signed packages in a real repository on a real server."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpm
from foundry.formats.packages.repodata import Checksum
from foundry.packages import repository
from foundry.packages.repository import FetchedPackage, rpm_version_key
from tests.harness import rpmtools
from tests.harness.rpmtools import Key, Server, body, serve, signing_key, status, truncated

NAMES = ("old-dkms", "thing-dkms")
VERSIONS = ("1.2.3", "1.10.0", "1.9.0", "2.0", "0.9", "0.8", "0.7")


@dataclass(frozen=True)
class Made:
    """Signed packages that tests copy: two versions by the vendor's key, others by nobody."""

    folder: Path
    key: Key
    other: Key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    with ExitStack() as stack:
        key, other = stack.enter_context(signing_key()), stack.enter_context(signing_key())
        for version in VERSIONS:
            rpmtools.sign_rpm(rpmtools.build_rpm(folder, version=version), key)
        yield Made(folder, key, other)


@pytest.fixture
def server(made: Made, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "www"
    shutil.copytree(made.folder, folder)
    rpmtools.index(folder)
    with serve(folder) as running:
        yield running


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out/thing.rpm"


def file_of(server: Server, version: str = "1.2.3") -> Path:
    return server.folder / f"thing-dkms-{version}-1.noarch.rpm"


def fetch(server: Server, made: Made, dest: Path, version: str = "1.2.3", **settings: object) -> FetchedPackage:
    arguments: dict[str, object] = {
        "package_names": NAMES, "key_file": made.key.file, "fingerprint": made.key.fingerprint,
        "locked_content_sha256": None, "log": dest.parent.parent / "log", **settings,
    }
    return repository.fetch_package(server.url, version=version, dest=dest, **arguments)  # type: ignore[arg-type]


def fault(server: Server, made: Made, dest: Path, version: str = "1.2.3", **settings: object) -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        fetch(server, made, dest, version, **settings)
    assert list(dest.parent.iterdir()) == []
    return caught.value


def test_a_package_from_address_to_file(server: Server, made: Made, dest: Path) -> None:
    fetched = fetch(server, made, dest)
    source = file_of(server)
    assert dest.read_bytes() == source.read_bytes()
    assert [p.name for p in dest.parent.iterdir()] == ["thing.rpm"]
    assert dest.stat().st_mode & 0o777 == 0o644
    assert fetched.package == rpm.read_package(source)
    assert (fetched.href, fetched.url) == (source.name, f"{server.url}/{source.name}")
    assert (fetched.file_sha256, fetched.size) == (rpmtools.sha256(source), source.stat().st_size)
    assert fetched.signature is not None
    assert fetched.signature.fingerprint == made.key.fingerprint
    locked = fetched.package.content_sha256
    assert fetch(server, made, dest, locked_content_sha256=locked.upper()) == fetched


def test_a_folder_of_packages(server: Server, made: Made, dest: Path) -> None:
    local = Server(server.folder.as_uri() + "/", server.folder)
    assert fetch(local, made, dest).package.version == "1.2.3"
    assert fault(Server(local.url + "none", server.folder), made, dest.parent / "x" / "y").reason == "file-missing"


def test_a_list_is_asked_for_once(server: Server, made: Made, dest: Path) -> None:
    listed = repository.list_packages(server.url)
    assert sorted(p.version for p in listed) == sorted(VERSIONS)
    for version in ("1.2.3", "2.0"):
        fetch(server, made, dest, version, listed=listed)
    assert server.count("repodata") == 2


def test_resigned_packages_stay_the_same_to_the_lock(server: Server, made: Made, dest: Path) -> None:
    first = fetch(server, made, dest)
    listed = repository.list_packages(server.url)
    rpmtools.command("rpmsign", "--delsign", file_of(server))
    rpmtools.sign_rpm(file_of(server), made.key, "--quiet")
    rpmtools.index(server.folder)
    locked = first.package.content_sha256
    second = fetch(server, made, dest, locked_content_sha256=locked, listed=listed)  # a stale list
    assert second.file_sha256 != first.file_sha256
    assert second.package.content_sha256 == locked
    assert second.package.signature is None  # rpm signs the header alone by default, which names the payload's digest


def test_changed_content_breaks_the_lock(server: Server, made: Made, dest: Path) -> None:
    locked = rpm.read_package(file_of(server)).content_sha256
    rpmtools.sign_rpm(rpmtools.build_rpm(server.folder, text="changed"), made.key)
    rpmtools.index(server.folder)
    error = fault(server, made, dest, locked_content_sha256=locked)
    assert error.reason == "lock-mismatch"
    assert "remove version 1.2.3" in error.hint


def test_an_unknown_version_names_the_newest(server: Server, made: Made, dest: Path) -> None:
    error = fault(server, made, dest, "9.9")
    assert error.reason == "driver-unknown"
    assert error.hint == "it has 2.0, 1.10.0, 1.9.0, 1.2.3, 0.9 and 2 older ones"
    assert fault(server, made, dest, "2.0", arch="x86_64").reason == "driver-unknown"
    assert "no version" in fault(server, made, dest, "2.0", package_names=["none"]).hint


def test_two_packages_of_one_version(server: Server, made: Made, dest: Path) -> None:
    rpmtools.build_rpm(server.folder, release="2")
    rpmtools.index(server.folder)
    error = fault(server, made, dest)
    assert error.reason == "driver-ambiguous"
    assert "thing-dkms-1.2.3-2.noarch.rpm" in error.message


def test_who_signed(server: Server, made: Made, dest: Path) -> None:
    other = made.other
    error = fault(server, made, dest, key_file=other.file, fingerprint=other.fingerprint)
    assert error.reason == "signature-wrong-key"
    assert fault(server, made, dest, fingerprint=other.fingerprint).reason == "signature-wrong-key"
    rpmtools.command("rpmsign", "--delsign", file_of(server))
    rpmtools.index(server.folder)
    assert fault(server, made, dest).reason == "signature-missing"


def test_a_pinned_file(server: Server, made: Made, dest: Path) -> None:
    """A pin in the family file is for packages that nobody signs, and holds for signed ones too."""
    sha256 = rpmtools.sha256(file_of(server))
    error = fault(server, made, dest, pinned_sha256="0" * 64)
    assert (error.reason, sha256 in error.message) == ("pin-mismatch", True)
    assert fault(server, made, dest, key_file=None, pinned_sha256="0" * 64).reason == "pin-mismatch"
    assert fetch(server, made, dest, key_file=None, pinned_sha256=sha256).signature is None


def test_an_unsigned_package_may_be_locked_instead(server: Server, made: Made, dest: Path) -> None:
    content = rpm.read_package(file_of(server)).content_sha256
    assert fault(server, made, dest, key_file=None, locked_content_sha256="0" * 64).reason == "lock-mismatch"
    assert fetch(server, made, dest, key_file=None, locked_content_sha256=content).package.content_sha256 == content


@pytest.mark.parametrize("names, version, arch, fits", [
    (NAMES, "1.2.3", "noarch", True), (NAMES, "1.2.3-1", "noarch", True), ((), "1.2.3", "", True),
    (NAMES, "1.2.3-2", "noarch", False), (NAMES, "1.2", "noarch", False), (NAMES, "1.2.3", "x86_64", False),
    (["thing"], "1.2.3", "noarch", False), (["old-dkms"], "1.2.3", "noarch", False),
])
def test_what_a_package_says_it_is(names: tuple[str, ...], version: str, arch: str, fits: bool) -> None:
    from tests.harness import rpmwriter

    package = rpm.parse_package(rpmwriter.build())
    if fits:
        repository.check_label(package, names, version, arch, "thing.rpm")
        return
    with pytest.raises(FoundryError, match=r"but is thing-dkms-1\.2\.3-1\.noarch") as caught:
        repository.check_label(package, names, version, arch, "thing.rpm")
    assert caught.value.reason == "package-mislabelled"


def test_a_signature_over_all_goes_before_one_over_the_header(made: Made) -> None:
    """And covers header and payload: over the header alone it is none."""
    from tests.harness import rpmwriter

    plain = rpmwriter.build()
    start, end = rpm.parse_package(plain).header_range
    for covered, fits in ((plain[start:], True), (plain[start:end], False)):
        signed = rpmwriter.build(signatures={1002: (7, rpmtools.sign_bytes(covered, made.key))})
        package = rpm.parse_package(signed)
        if fits:
            facts = repository.verify_signature(signed, package, made.key.file, made.key.fingerprint)
            assert facts.fingerprint == made.key.fingerprint
        else:
            with pytest.raises(FoundryError) as caught:
                repository.verify_signature(signed, package, made.key.file, made.key.fingerprint)
            assert caught.value.reason == "signature-bad"


def test_a_signed_header_without_digest_does_not_vouch_for_the_payload(made: Made) -> None:
    from tests.harness import rpmwriter

    plain = rpm.parse_package(rpmwriter.build())
    data = rpmwriter.build()[plain.header_range[0] : plain.header_range[1]]
    signed = rpmwriter.build(signatures={268: (7, rpmtools.sign_bytes(data, made.key))})
    with pytest.raises(FoundryError) as caught:
        repository.verify_signature(signed, rpm.parse_package(signed), made.key.file, made.key.fingerprint)
    assert caught.value.reason == "signature-missing"


def test_a_flipped_byte_anywhere(server: Server, made: Made, dest: Path) -> None:
    """In the file on the server: the digest tells. In file and metadata: the signature tells."""
    file = file_of(server)
    good = file.read_bytes()
    start, end = rpm.read_package(file).header_range
    for at in (20, 150, start - 9, start + 20, (start + end) // 2, end + 5, len(good) - 9):
        changed = bytearray(good)
        changed[at] ^= 1
        file.write_bytes(changed)
        assert fault(server, made, dest).reason == "digest-mismatch", at


@pytest.mark.parametrize("version", ["1.2.3", "1.9.0"])
def test_forged_content_with_honest_digests(server: Server, made: Made, dest: Path, version: str) -> None:
    """Somebody builds a package anew, with every digest right, and keeps the vendor's signature."""
    from tests.harness import rpmwriter

    package = rpm.read_package(file_of(server, version))
    assert package.signature
    tags = {1001: (6, version), 1002: (6, "1")}
    forged = rpmwriter.build(tags=tags, signatures={1002: (7, package.signature)})
    rewrite(server, version, forged)
    assert fault(server, made, dest, version).reason == "signature-bad"


def test_an_old_package_under_a_new_version(server: Server, made: Made, dest: Path) -> None:
    """Rightly signed, so only the header tells."""
    rewrite(server, "2.0", file_of(server, "1.2.3").read_bytes())
    error = fault(server, made, dest, "2.0")
    assert error.reason == "package-mislabelled"
    assert "1.2.3" in error.message


def test_a_file_name_may_disagree_with_the_header(server: Server, made: Made, dest: Path) -> None:
    file_of(server).rename(server.folder / "thing-dkms-1.2.3.77 odd+name~1.noarch.rpm")
    rpmtools.index(server.folder)
    assert fetch(server, made, dest).package.version == "1.2.3"


def rewrite(server: Server, version: str, data: bytes) -> None:
    """Put other bytes in a version's place and make the metadata agree."""
    file = file_of(server, version)
    old = rpmtools.sha256(file)
    size = file.stat().st_size
    file.write_bytes(data)
    change_list(server, lambda text: text.replace(old, hashlib.sha256(data).hexdigest())
                .replace(f'"{size}"', f'"{len(data)}"'))


def change_list(server: Server, change: Callable[[str], str]) -> None:
    """Another primary list, with all that repomd.xml says of it."""
    repomd = server.folder / "repodata/repomd.xml"
    (primary,) = (server.folder / "repodata").glob("*-primary.xml.gz")
    text = change(gzip.decompress(primary.read_bytes()).decode())
    packed = gzip.compress(text.encode())
    sums = {
        rpmtools.sha256(primary): hashlib.sha256(packed).hexdigest(),
        hashlib.sha256(gzip.decompress(primary.read_bytes())).hexdigest(): hashlib.sha256(text.encode()).hexdigest(),
        f"<size>{primary.stat().st_size}<": f"<size>{len(packed)}<",
        f"<open-size>{len(gzip.decompress(primary.read_bytes()))}<": f"<open-size>{len(text)}<",
    }
    page = repomd.read_text().replace(primary.name, "primary.xml.gz")
    for before, after in sums.items():
        page = page.replace(before, after)
    repomd.write_text(page)
    primary.unlink()
    (server.folder / "repodata/primary.xml.gz").write_bytes(packed)


@pytest.mark.parametrize("name", ["open-checksum", "open-size", "size", "checksum"])
def test_lists_are_held_against_what_repomd_says(server: Server, made: Made, dest: Path, name: str) -> None:
    """Of the list as it is sent and as it is read; somebody who changes one has to change repomd.xml as well."""
    repomd = server.folder / "repodata/repomd.xml"
    text = repomd.read_text()
    block = re.search(r'<data type="primary">.*?</data>', text, re.DOTALL)
    assert block is not None
    found = re.search(rf"<{name}[^>]*>([0-9a-f]+)</{name}>", block[0])
    assert found is not None
    other = str(int(found[1]) + 1) if "size" in name else found[1][::-1]
    repomd.write_text(text.replace(block[0], block[0].replace(f">{found[1]}<", f">{other}<")))
    assert fault(server, made, dest).reason == "digest-mismatch"


def test_what_is_offered_is_what_is_fetched(server: Server, made: Made, dest: Path) -> None:
    """The size and the digest in the list, before anything is read of the file."""
    [offered] = [one for one in repository.list_packages(server.url) if one.version == "1.2.3"]
    out = dest.parent
    out.mkdir()
    for wrong, reason in (
        (replace(offered, size=offered.size + 1), "digest-mismatch"),
        (replace(offered, checksum=Checksum("sha256", "0" * 64)), "digest-mismatch"),
        (replace(offered, weak="md5"), "checksum-weak"),
        (replace(offered, size=offered.size - 1), "http-too-large"),
        (replace(offered, size=rpm.MAX_FILE + 1), "rpm-too-large"),
    ):
        with pytest.raises(FoundryError) as caught:
            repository.download_offered(server.url, wrong, out / "file", None, 60)
        assert caught.value.reason == reason, wrong
    assert repository.download_offered(server.url, offered, out / "file", None, 60).endswith(".rpm")


@pytest.mark.parametrize("kind", ["sha224", "sha384", "sha512"])
def test_checksums_of_sha_2(server: Server, made: Made, dest: Path, kind: str) -> None:
    shutil.rmtree(server.folder / "repodata")
    rpmtools.index(server.folder, f"--checksum={kind}")
    fetched = fetch(server, made, dest)
    assert fetched.file_sha256 == rpmtools.sha256(file_of(server))
    file_of(server).write_bytes(file_of(server).read_bytes()[:-1] + b"x")
    dest.unlink()
    error = fault(server, made, dest)
    assert error.reason == "digest-mismatch" and kind in error.message


@pytest.mark.parametrize("kind", ["md5", "sha1"])
def test_a_checksum_that_can_be_forged_takes_a_pin(server: Server, made: Made, dest: Path, kind: str) -> None:
    def weakened(text: str) -> str:
        for file in server.folder.glob("*.rpm"):
            digest = hashlib.new(kind, file.read_bytes(), usedforsecurity=False).hexdigest()
            text = text.replace(f'"sha256" pkgid="YES">{rpmtools.sha256(file)}', f'"{kind}" pkgid="YES">{digest}')
        return text

    change_list(server, weakened)  # createrepo_c of Debian 13 makes no such lists any more
    error = fault(server, made, dest)
    assert error.reason == "checksum-weak"
    assert kind in error.message and file_of(server).name in error.message and "pin" in error.hint
    assert not server.count(".rpm")
    digest = rpmtools.sha256(file_of(server))
    assert fetch(server, made, dest, pinned_sha256=digest).file_sha256 == digest
    dest.unlink()
    assert fault(server, made, dest, pinned_sha256="0" * 64).reason == "pin-mismatch"


def test_a_list_that_can_be_forged_is_no_better_than_its_checksum(server: Server, made: Made, dest: Path) -> None:
    """Packages by SHA-256, in a list that repomd.xml names by MD5."""
    repomd = server.folder / "repodata/repomd.xml"
    (primary,) = (server.folder / "repodata").glob("*-primary.xml.gz")
    md5 = hashlib.md5(primary.read_bytes(), usedforsecurity=False).hexdigest()
    repomd.write_text(repomd.read_text().replace(
        f'<checksum type="sha256">{rpmtools.sha256(primary)}', f'<checksum type="md5">{md5}'))
    assert fault(server, made, dest).reason == "checksum-weak"
    assert fetch(server, made, dest, pinned_sha256=rpmtools.sha256(file_of(server))).package.version == "1.2.3"


ODD = """<package type="rpm"><name>{name}</name><arch>noarch</arch><version epoch="0" ver="{version}" rel="1"/>
<checksum type="sha256" pkgid="YES">00</checksum><location xml:base="https://releases.example.com/get/" href="x.rpm"/>
</package></metadata>"""


@pytest.mark.parametrize("odd", [ODD.format(name="foreign", version="1.2.3"), ODD.format(name=NAMES[1], version="7"),
                                 ODD.format(name=NAMES[1], version="1.2.3"),
                                 '<package type="rpm"/></metadata>', "<thing/><package/></metadata>"])
def test_what_is_not_asked_for_is_not_judged(server: Server, made: Made, dest: Path, odd: str) -> None:
    """Another package, another version, and what stands beside a good one of the same version."""
    change_list(server, lambda text: text.replace("</metadata>", odd))
    assert fetch(server, made, dest).package.version == "1.2.3"


def test_what_is_asked_for_is_judged_by_name(server: Server, made: Made, dest: Path) -> None:
    base = "https://releases.example.com/download/"
    change_list(server, lambda text: text.replace(
        f'href="{file_of(server).name}"', f'xml:base="{base}" href="{file_of(server).name}"'))
    error = fault(server, made, dest)
    assert error.reason == "repodata-malformed"
    assert "thing-dkms 1.2.3-1" in error.message and base in error.message
    assert fetch(server, made, dest, "2.0").package.version == "2.0"


def test_a_repository_that_names_its_own_address(server: Server, made: Made, dest: Path) -> None:
    rpmtools.index(server.folder, f"--baseurl={server.url}/")
    assert fetch(server, made, dest).href == file_of(server).name


def test_faults_of_the_server(server: Server, made: Made, dest: Path) -> None:
    name = f"/{file_of(server).name}"
    server.faults = {
        "/repodata/repomd.xml": [status(500)],
        name: [truncated(file_of(server).read_bytes())],
    }
    assert fetch(server, made, dest).package.version == "1.2.3"
    dest.unlink()
    server.faults = {"/repodata/repomd.xml": [body(b"<html>Sign in</html>")]}
    assert fault(server, made, dest).reason == "repodata-malformed"
    server.faults = {name: [body(b"<html>Sign in</html>")]}
    assert fault(server, made, dest).reason == "digest-mismatch"
    server.faults = {name: [status(404)]}
    assert fault(server, made, dest).reason == "http-404"


def test_metadata_that_is_published_meanwhile(server: Server, made: Made, dest: Path) -> None:
    (primary,) = (server.folder / "repodata").glob("*-primary.xml.gz")
    server.faults = {f"/repodata/{primary.name}": [status(404)]}
    assert len(repository.list_packages(server.url)) == len(VERSIONS)
    server.faults = {f"/repodata/{primary.name}": [body(primary.read_bytes()[:-1])] * 2}
    assert fault(server, made, dest).reason == "digest-mismatch"


def test_versions_sort_as_rpm_sorts_them() -> None:
    ordered = ["1.0~rc1", "1.0~rc2", "1.0", "1.0^git1", "1.0a", "1.0.1", "1.0.10", "1.2", "1.10", "2"]
    assert sorted(set(ordered), key=rpm_version_key) == ordered
    for lower, higher in itertools.pairwise(ordered):
        said = rpmtools.command("rpm", "--eval", f"%{{lua:print(rpm.vercmp('{lower}', '{higher}'))}}")
        assert said.strip() == "-1", (lower, higher)
