"""The modified source as a tarball: the same bytes for the same facts, and patches that programs apply."""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.base.records import write_record
from foundry.config import patches
from foundry.config.module import Module
from foundry.config.patches import Edit, Patch
from foundry.config.recipe import KBUILD, Recipe
from foundry.driver.source import make_read_only, tree_sha256
from foundry.formats.trees.sourcetar import Entry, tree_entries, write_tar
from foundry.plan.releases import asset_name
from foundry.release.corresponding_source import (
    CorrespondingSource,
    Series,
    build_files,
    write_corresponding_source,
)
from tests.harness.checkout import ROOT

TIME = 1_747_693_633
TOP = "aws-neuronx-dkms-2.28.0.0-modified-source"
OLD, MIDDLE, NEW = "6.1.0-9-cloud-amd64", "6.10.11-cloud-amd64", "6.12.117+deb12-cloud-amd64"

RECIPE = Recipe((Module("neuron", "neuron.ko", ""),), (*KBUILD, "V=1", "EXTRA=$(x) `y`"))
DTK = "quay.io/dtk@sha256:"

FIRST = Patch("no-llseek", "Linux 6.12 no longer\nhas  no_llseek", "*", ">=6.12", "*", (
    Edit("main.c", "no_llseek", "noop_llseek", 2), Edit("sub/other.c", "b\r\n", "B\r\n", 1),
))
SECOND = Patch("once-more", "what the first made", "*", "*", "*", (
    Edit("main.c", "noop_llseek", "default_llseek", 2), Edit("./main.c", "end", "END\n", 1),
))
NOTHING = Patch("nothing", "changes nothing", "*", "*", "*", (Edit("main.c", "one", "one", 1),))


def make_tree(folder: Path) -> Path:
    """What the stage `source` leaves."""
    tree = folder / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "main.c").write_bytes(b"one\n\xff\n.a = no_llseek,\n\n\n\n\n\n\n\n\n\n.b = no_llseek,\nend")
    (tree / "sub/other.c").write_bytes(b"a\r\nb\r\nc\r\n")
    (tree / "sub.h").write_bytes(b"")
    (tree / "tool").write_bytes(b"#!/bin/sh\n")
    (tree / "tool").chmod(0o700)
    (tree / "link").symlink_to("sub/other.c")
    (tree / "second").hardlink_to(tree / "main.c")
    make_read_only(tree)
    write_record(folder / "source.json", "source", {"tree_sha256": tree_sha256(tree), "content_sha256": "c" * 64})
    return tree


def make_source(folder: Path, **changes: object) -> CorrespondingSource:
    source = CorrespondingSource(
        title="AWS Neuron driver", driver="2.28.0.0", package_name="aws-neuronx-dkms",
        package_url="https://yum.repos.neuron.amazonaws.com/aws-neuronx-dkms-2.28.0.0.noarch.rpm",
        package_sha256="c" * 64, package_license="GPL-2.0", tree=make_tree(folder),
        series=(
            Series((NEW,), (FIRST, SECOND)), Series((MIDDLE,), (FIRST,)), Series((OLD,), ()),
        ),
        files=build_files(ROOT, "container/Containerfile", ["container/licenses/GPL-2.0.txt"]),
        recipe=RECIPE,
        toolkits={OLD: DTK + "1" * 64, MIDDLE: DTK + "2" * 64, NEW: DTK + "3" * 64}, mtime=TIME,
    )
    return dataclasses.replace(source, **changes)  # type: ignore[arg-type] # fields by name


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "sources"
    made.mkdir()
    yield made


def unpacked(tarball: Path, dest: Path) -> Path:
    with tarfile.open(tarball) as tar:
        tar.extractall(dest, filter="data")
    return dest / TOP


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_same_facts_give_the_same_bytes(tmp_path: Path) -> None:
    """Two folders, two umasks, other file times, other order of things: one tarball."""
    with umask(0o077):
        first = make_source(tmp_path / "a")
        write_corresponding_source(tmp_path / "a.tar.gz", first)
    with umask(0o002):
        second = make_source(tmp_path / "deep/er/b", series=tuple(reversed(first.series)),
                             files=dict(reversed(list(first.files.items()))))
        os.utime(second.tree / "tool", (1, 1))
        write_corresponding_source(tmp_path / "b.tar.gz", second, log=tmp_path / "log")
    data = (tmp_path / "a.tar.gz").read_bytes()
    assert data == (tmp_path / "b.tar.gz").read_bytes()
    assert (tmp_path / "a.tar.gz").stat().st_mode & 0o777 == 0o644
    assert "b.tar.gz" in (tmp_path / "log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.tar.gz", "b.tar.gz", "deep", "log"]
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff", "no name, no time"
    assert str(tmp_path).encode() not in gzip.decompress(data)


def test_members(folder: Path, tmp_path: Path) -> None:
    dest = tmp_path / asset_name("aws-neuronx-dkms", "2.28.0.0")
    assert dest.name == f"{TOP}.tar.gz"
    write_corresponding_source(dest, make_source(folder))
    with tarfile.open(dest) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert [name.removeprefix(f"{TOP}/") for name in names] == [
        TOP, "README.md", "build", "build/Containerfile", "build/build-module.sh", "build/licenses",
        "build/licenses/GPL-2.0.txt", "patches", "patches/01-no-llseek", "patches/01-no-llseek/0001-no-llseek.patch",
        "patches/01-no-llseek/series", "patches/02-no-llseek-and-1-more",
        "patches/02-no-llseek-and-1-more/0001-no-llseek.patch", "patches/02-no-llseek-and-1-more/0002-once-more.patch",
        "patches/02-no-llseek-and-1-more/series", "patches/kernels.txt", "source", "source/empty", "source/link",
        "source/main.c", "source/second", "source/sub", "source/sub/other.c", "source/sub.h", "source/tool",
    ]
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", TIME)
        wanted = 0o777 if member.issym() else 0o755 if member.isdir() or member.name.endswith("/tool") else 0o644
        assert member.mode == wanted, member.name
    assert not any(member.islnk() for member in members)


def test_the_source_is_pristine(folder: Path, tmp_path: Path) -> None:
    source = make_source(folder)
    write_corresponding_source(tmp_path / "out.tar.gz", source)
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    assert tree_sha256(top / "source") == tree_sha256(source.tree)
    assert not [path for path in source.tree.rglob("*") if not path.is_symlink() and path.stat().st_mode & stat.S_IWUSR]


@pytest.mark.parametrize("command", [["patch", "--quiet", "-p1", "-i"], ["git", "apply"]], ids=["patch", "git"])
def test_the_series_are_our_own_patching(command: list[str], folder: Path, tmp_path: Path) -> None:
    """Each kernel's folder, applied as the README says, gives the tree that the stage `module` compiles."""
    source = make_source(folder)
    write_corresponding_source(tmp_path / "out.tar.gz", source)
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    lines = [line.split() for line in (top / "patches/kernels.txt").read_text().splitlines()[1:]]
    assert lines == [
        [OLD, "none", source.toolkits[OLD]], [MIDDLE, "01-no-llseek", source.toolkits[MIDDLE]],
        [NEW, "02-no-llseek-and-1-more", source.toolkits[NEW]],
    ]
    for kernel, series, _ in lines[1:]:
        theirs = tmp_path / f"theirs-{kernel}"
        shutil.copytree(top / "source", theirs, symlinks=True)
        for name in (top / "patches" / series / "series").read_text().split():
            done = subprocess.run([*command, str(top / "patches" / series / name)], cwd=theirs, capture_output=True,
                                  check=False, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)})
            assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert tree_sha256(theirs) == patched(source, kernel, tmp_path) != tree_sha256(source.tree)


def patched(source: CorrespondingSource, kernel: str, tmp_path: Path) -> str:
    """The hash of the tree after our own patching."""
    tree = tmp_path / f"ours-{kernel}"
    shutil.copytree(source.tree, tree, symlinks=True)
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    for series in source.series:
        for patch in series.patches * (kernel in series.kernels):
            patches.apply(patch, tree)
    return tree_sha256(tree)


def test_the_commands_of_the_readme_patch(folder: Path, tmp_path: Path) -> None:
    """All but the compile, for each kernel; the compile: tests/e2e."""
    source = make_source(folder)
    write_corresponding_source(tmp_path / "out.tar.gz", source)
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (top / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks[0].startswith(f"KERNEL={NEW}\n")
    for kernel in (OLD, MIDDLE, NEW):
        commands = "".join(blocks[:2]).replace(f"KERNEL={NEW}", f"KERNEL={kernel}")
        argv = ["sh", "-eu", "-c", commands + 'echo "$TOOLKIT"']
        done = subprocess.run(argv, cwd=top, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == source.toolkits[kernel]
        assert tree_sha256(top / "rebuild/src") == patched(source, kernel, tmp_path)
        shutil.rmtree(top / "rebuild")


def test_a_patch_says_why(folder: Path, tmp_path: Path) -> None:
    write_corresponding_source(tmp_path / "out.tar.gz", make_source(folder))
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    text = (top / "patches/01-no-llseek/0001-no-llseek.patch").read_bytes()
    assert text.startswith(b"""\
Subject: no-llseek
Description: Linux 6.12 no longer has no_llseek
Needed-for: kernels >=6.12

diff --git a/main.c b/main.c
--- a/main.c
+++ b/main.c
@@ -1,6 +1,6 @@
""")
    assert b"-b\r\n+B\r\n" in text


def test_a_patch_that_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """`patch` takes no empty diffs: it is left out, and a series of nothing else is none."""
    write_corresponding_source(tmp_path / "out.tar.gz", make_source(
        folder, series=(Series((OLD, MIDDLE), (NOTHING,)), Series((NEW,), (NOTHING, FIRST)))))
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    assert [line.split()[1] for line in (top / "patches/kernels.txt").read_text().splitlines()[1:]] == [
        "none", "none", "01-no-llseek"]
    assert (top / "patches/01-no-llseek/series").read_text() == "0001-no-llseek.patch\n"


def test_the_readme(folder: Path, tmp_path: Path) -> None:
    write_corresponding_source(tmp_path / "out.tar.gz", make_source(folder))
    text = (unpacked(tmp_path / "out.tar.gz", tmp_path / "x") / "README.md").read_text()
    assert text.startswith("# Source of AWS Neuron driver 2.28.0.0, as built\n")
    assert f"`patches/01-no-llseek/`, for the kernels `{MIDDLE}`:\n\n- `0001-no-llseek.patch`: Linux 6.12 no" in text
    assert f"Nothing was changed for the kernels `{OLD}`." in text
    assert f"KERNEL={NEW}" in text
    for word in (
        "GNU General Public License", "c" * 64, "--network=none", '"--env=KERNEL=$KERNEL"', "--env=STRIP=debug",
        "--env=MODULES=neuron.ko", '"/lib/modules/$KERNEL/build"', "M=/foundry/work",
        '"--mount=type=bind,src=$PWD/rebuild/src,dst=/foundry/src,ro"', "'EXTRA=$(x) `y`'", '"$TOOLKIT"',
    ):
        assert word in text


def test_no_patches_at_all(folder: Path, tmp_path: Path) -> None:
    write_corresponding_source(tmp_path / "out.tar.gz", make_source(folder, series=(Series((NEW, OLD, MIDDLE), ()),)))
    top = unpacked(tmp_path / "out.tar.gz", tmp_path / "x")
    assert [path.name for path in (top / "patches").iterdir()] == ["kernels.txt"]
    assert f"Nothing was changed for the kernels `{OLD}`, `{MIDDLE}`, `{NEW}`." in (top / "README.md").read_text()


@pytest.mark.parametrize("series", [
    (), (Series((), ()),), (Series((OLD,), ()), Series((OLD, NEW), (FIRST,))),
])
def test_kernels_that_make_no_sense(series: tuple[Series, ...], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kernel"):
        write_corresponding_source(tmp_path / "out.tar.gz", make_source(folder, series=series))


def test_faults(folder: Path, tmp_path: Path) -> None:
    """Whatever is wrong, a tarball that is there stays as it is, and nothing is left beside it."""
    dest = tmp_path / "out/out.tar.gz"
    dest.parent.mkdir()
    dest.write_bytes(b"old")

    def refused(source: CorrespondingSource) -> str:
        with pytest.raises(FoundryError) as raised:
            write_corresponding_source(dest, source)
        assert raised.value.hint
        assert dest.read_bytes() == b"old"
        assert list(dest.parent.iterdir()) == [dest]
        return raised.value.reason

    source = make_source(folder)
    wrong = Patch("p", "why", "*", "*", "*", (Edit("main.c", "nowhere", "x", 1),))
    missing = Patch("p", "why", "*", "*", "*", (Edit("link", "a", "x", 1),))
    assert refused(dataclasses.replace(source, series=(Series((NEW,), (wrong,)),))) == "patch-mismatch"
    assert refused(dataclasses.replace(source, series=(Series((NEW,), (missing,)),))) == "patch-file-missing"
    assert refused(dataclasses.replace(source, package_sha256="d" * 64)) == "source-missing"
    with pytest.raises(ValueError, match=r"README\.md would be twice"):
        write_corresponding_source(dest, dataclasses.replace(source, files={"README.md": b""}))
    assert list(dest.parent.iterdir()) == [dest]
    (source.tree / "main.c").chmod(0o644)
    (source.tree / "main.c").write_bytes(b"changed")
    assert refused(source) == "source-changed"
    (folder / "source.json").unlink()
    assert refused(source) == "source-missing"


def test_odd_names_are_kept(tmp_path: Path) -> None:
    """Long names and such that are no UTF-8 come out as they were."""
    names = ["a" * 200 + ".c", os.fsdecode(b"\xff.c"), "Grüße.c", "x/" * 60 + "deep.c"]
    tree = tmp_path / "tree"
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name, errors="surrogateescape")
    with (tmp_path / "out.tar").open("wb") as sink:
        write_tar(sink, [*tree_entries(tree), Entry("extra", content=b"x", executable=True)], top="top", mtime=TIME)
    subprocess.run(["tar", "-xf", "out.tar"], cwd=tmp_path, check=True)
    assert {path.relative_to(tmp_path / "top").as_posix() for path in (tmp_path / "top").rglob("*") if path.is_file()} \
        == {*names, "extra"}
    for name in names:
        assert (tmp_path / "top" / name).read_text(errors="surrogateescape") == name
