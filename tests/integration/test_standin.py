"""The sandbox's YUM repository, made and read by the real tools."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.packages import rpmpayload
from foundry.packages.repository import fetch_package
from foundry.sandbox import standin
from foundry.sandbox.standin import StandinRepository

SOURCE = Path("container/sandbox/standin").absolute()
VERSIONS = ("2.16.7.0", "2.22.2.0", "2.23.9.0", "2.28.0.0")
CDEV, MMAP = "neuron_cdev.c", "neuron_mmap.h"
RHEL_GUARD = "RHEL_RELEASE_CODE >= RHEL_RELEASE_VERSION(9, 5)"
PATCHED = {  # (file, text): matches in each of VERSIONS
    (CDEV, "KERNEL_VERSION(6, 4, 0)"): (1, 0, 0, 0),
    (CDEV, RHEL_GUARD): (0, 2, 3, 3),
    (MMAP, "mm_get_unmapped_area(current->mm, filep, addr, len, pgoff, flags)"): (0, 0, 0, 1),
    (MMAP, "current->mm->get_unmapped_area(filep, addr, len, pgoff, flags)"): (0, 0, 0, 1),
    (CDEV, ".get_unmapped_area = ncdev_get_unmapped_area,"): (0, 0, 0, 1),
    (CDEV, "static unsigned long ncdev_get_unmapped_area("): (0, 0, 0, 1),
}


def command(*argv: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(argv, input=stdin, check=True, capture_output=True).stdout


def query(package: Path, form: str) -> str:
    return command("rpm", "-qp", "--nosignature", "--qf", form, str(package)).decode()


def unpack(package: Path, dest: Path) -> Path:
    dest.mkdir(parents=True)
    subprocess.run(["cpio", "-idm", "--quiet"], input=command("rpm2cpio", str(package)), cwd=dest, check=True)
    (tree,) = (dest / "usr/src").iterdir()
    return tree


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 by path of every file in the repository."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> StandinRepository:
    folder = tmp_path_factory.mktemp("standin")
    return standin.build_repository(folder / "yum", VERSIONS, source=SOURCE, log=folder / "log")


@pytest.fixture(scope="module")
def trees(repository: StandinRepository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trees")
    return {
        version: unpack(repository.folder / standin.package_file(version), folder / version) for version in VERSIONS
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_packages_look_like_the_vendors(repository: StandinRepository, version: str) -> None:
    package = repository.folder / f"aws-neuronx-dkms-{version}.noarch.rpm"
    assert query(package, "%{name} %{version} %{release} %{arch} %{license} %{payloadcompressor} %{payloadflags}") == (
        f"aws-neuronx-dkms {version} dkms noarch GPL-2.0 xz 2")
    assert query(package, "%{payloadformat} %{payloaddigest} %{payloaddigestalt}") == "cpio (none) (none)"
    assert query(package, "%{filedigestalgo}") == "8"
    assert int(query(package, "%{buildtime}")) == standin.build_time(version)
    assert "/usr/lib/dkms/common.postinst" in query(package, "%{postin}")
    assert query(package, "%{buildhost}") == "sandbox"


@pytest.mark.parametrize("version", VERSIONS)
def test_trees_have_the_vendors_layout(trees: dict[str, Path], version: str) -> None:
    tree = trees[version]
    assert tree.name == f"aws-neuronx-{version}"
    assert {"Kbuild", "Makefile", "LICENSE", "dkms.conf", "preinstall", "udma", "v2", "share"} <= {
        path.name for path in tree.iterdir()}
    assert (tree / "v3").exists() is (version != "2.16.7.0")
    assert 'BUILT_MODULE_NAME[0]="neuron"' in (tree / "dkms.conf").read_text()
    assert f'PACKAGE_VERSION="{version}"' in (tree / "dkms.conf").read_text()
    assert "KERNEL==\"neuron*\", MODE=\"0666\"" in (tree / "preinstall").read_text()
    assert os.access(tree / "preinstall", os.X_OK)
    assert (tree / "v2/udma.h").is_symlink() and (tree / "v2/udma.h").is_file()
    assert list((tree / standin.EMPTY_FOLDER).iterdir()) == []
    assert f'#define NEURON_DRIVER_VERSION "{version}"' in (tree / "neuron_device.h").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in (tree / "LICENSE").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_marks_of_the_template_are_left(trees: dict[str, Path], version: str) -> None:
    for path in trees[version].rglob("*"):
        if path.is_file():
            assert not any(mark in path.read_text() for mark in ("@since", "@before", "@end", "@VERSION@")), path


@pytest.mark.parametrize(("file", "text"), PATCHED)
def test_the_places_that_patches_touch(trees: dict[str, Path], file: str, text: str) -> None:
    assert tuple((trees[version] / file).read_text().count(text) for version in VERSIONS) == PATCHED[file, text]


@pytest.mark.parametrize("version", VERSIONS)
def test_not_all_of_a_package_is_sources(repository: StandinRepository, version: str) -> None:
    package = str(repository.folder / standin.package_file(version))
    listed = [line.split() for line in command("rpm", "-qp", "--nosignature", "--dump", package).decode().splitlines()]
    modes = {words[0]: words[4] for words in listed}
    assert modes["/usr/share/aws-neuronx"] == modes["/usr/src"] == "040755"
    assert modes["/usr/share/aws-neuronx/postinst"] == "0100755"
    assert set(modes.values()) == {"040755", "0100644", "0100755", "0120777"}
    assert {words[1] for words in listed if words[4] == "040755"} == {"4096"}


def test_the_index_names_every_package_with_its_hash(repository: StandinRepository) -> None:
    (listed,) = (repository.folder / "repodata").glob("*-primary.xml.gz")
    assert listed.name == f"{hashlib.sha256(listed.read_bytes()).hexdigest()}-primary.xml.gz"
    primary = ElementTree.fromstring(gzip.decompress(listed.read_bytes()))
    name = "{http://linux.duke.edu/metadata/common}"
    found = {
        package.find(f"{name}location").attrib["href"]:  # type: ignore[union-attr]
        tuple(package.findtext(f"{name}{what}") for what in ("name", "arch", "checksum"))
        for package in primary.iter(f"{name}package")
    }
    files = contents(repository.folder)
    expected = [(version, arch) for version in VERSIONS for arch in ("noarch", "src")]
    assert found == {
        f"aws-neuronx-dkms-{version}.{arch}.rpm":
        ("aws-neuronx-dkms", arch, files[f"aws-neuronx-dkms-{version}.{arch}.rpm"]) for version, arch in expected
    }


def test_our_own_code_fetches_and_unpacks_it(
    repository: StandinRepository, trees: dict[str, Path], tmp_path: Path
) -> None:
    """The source package beside it, of the same name and version, is not what is meant."""
    for version in VERSIONS:
        file = tmp_path / f"{version}.rpm"
        fetched = fetch_package(
            f"{repository.folder.as_uri()}/", package_names=[standin.PACKAGE], version=version,
            key_file=repository.key_file, fingerprint=repository.fingerprint, dest=file, locked_content_sha256=None,
        )
        assert fetched.href == standin.package_file(version)
        rpmpayload.unpack(file, fetched.package, tmp_path / version)
        assert contents(tmp_path / version) == contents(trees[version].parents[2])


def test_the_same_again_gives_the_same_bytes(repository: StandinRepository, tmp_path: Path) -> None:
    """In another folder, and by somebody with another umask."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "signing-key.asc").write_bytes((repository.folder.parent / "keys/signing-key.asc").read_bytes())
    before = os.umask(0o077)
    try:
        again = standin.build_repository(tmp_path / "yum", VERSIONS, source=SOURCE, log=tmp_path / "log")
    finally:
        os.umask(before)
    assert again.fingerprint == repository.fingerprint
    assert contents(again.folder) == contents(repository.folder)


def test_a_changed_package_of_the_same_version(tmp_path: Path) -> None:
    first = standin.build_repository(tmp_path / "yum", ["2.22.2.0"], source=SOURCE, log=tmp_path / "log")
    before = contents(first.folder)
    changed = shutil.copytree(SOURCE, tmp_path / "changed", symlinks=True)
    with (changed / "neuron_pci.c").open("a") as stream:
        stream.write("/* changed */\n")
    second = standin.build_repository(tmp_path / "yum", ["2.22.2.0"], source=changed, log=tmp_path / "log")
    package = standin.package_file("2.22.2.0")
    assert second.fingerprint == first.fingerprint
    assert contents(second.folder)[package] != before[package]
    tree = unpack(second.folder / package, tmp_path / "tree")
    assert (tree / "neuron_pci.c").read_text().endswith("/* changed */\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "keys", "log", "tree", "yum"]


@pytest.mark.parametrize("version", ["", "2.22", "2.22.2.0; reboot", "../2.22.2.0"])
def test_refuses_what_is_no_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(FoundryError) as caught:
        standin.build_repository(tmp_path / "yum", [version], source=SOURCE, log=tmp_path / "log")
    assert caught.value.reason == "standin-version"


def test_templates() -> None:
    text = "a\n/* @since 2.22.2.0 */\nb\n/* @end */\n# @before 2.22.2.0\nc\n# @end\n@VERSION@\n"
    assert standin.render(text, "2.9.0.0") == "a\nc\n2.9.0.0\n"
    assert standin.render(text, "2.22.2.0") == "a\nb\n2.22.2.0\n"
    for wrong in ("# @end\n", "# @since 2.22.2.0\n", "# @since 2.22.2.0\n# @before 2.22.2.0\n# @end\n"):
        with pytest.raises(FoundryError):
            standin.render(wrong, "2.22.2.0")
