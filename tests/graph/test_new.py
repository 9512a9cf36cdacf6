"""`doit new`: what is written after a look into a package on this machine, and what is not where something is wrong."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.dkms_package import CONF, FILES, deb, tar, write_package
from tests.harness.project import Done, Project

MATRIX = """\
[
  {"driver": "2.16.7.0",   "ocp_versions": ["4.16"]},

  {"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.18.15"]}
]
"""
SOURCES = {name: text.encode() for name, text in FILES.items()}


@pytest.fixture
def matrix(project: Project) -> Path:
    (project.root / "build-matrix.json").write_text(MATRIX)
    return project.root / "build-matrix.json"


def files_of(project: Project) -> Mapping[str, bytes]:
    """All files but the profile's output."""
    return {str(path.relative_to(project.root)): path.read_bytes() for path in project.root.rglob("*")
            if path.is_file() and "build" not in path.relative_to(project.root).parts[:1]}


def family(project: Project, name: str = "hello") -> Any:
    return yaml.safe_load((project.root / f"config/drivers/{name}.yaml").read_text())


def guessed(done: Done) -> list[str]:
    return [line.removeprefix("guessed").strip() for line in done.out.splitlines() if line.startswith("guessed")]


def test_a_tar(project: Project, matrix: Path) -> None:
    """Family file, matrix entry, hash and base; what follows is as the last line says."""
    sha256 = write_package(project.root / "packages")
    done = project.doit("new", "family", "packages/hello-1.0.tar.xz", "--ocp=4.16.30,4.18")
    assert done.code == 0, done.err
    assert family(project) == {
        "title": "hello driver", "signature": "none", "source": {"dkms": True}, "sha256": {"1.0": sha256},
        "download": {"url": f"file://{project.root}/packages/hello-{{driver}}.tar.xz", "license": "GPL-2.0-or-later"}}
    entry = '{"driver": "1.0", "family": "hello", "ocp_versions": ["4.16.30", "4.18"]}'
    assert matrix.read_text() == MATRIX.replace('"4.18.15"]}\n', f'"4.18.15"]}},\n\n  {entry}\n')
    locked = json.loads((project.root / "config/locks/hello.json").read_text())
    assert locked["packages"]["1.0"]["content_sha256"] == sha256
    assert [one["name"] for one in locked["packages"]["1.0"]["dkms"]["modules"]] == ["hello_base", "hello_top"]
    assert locked["base"]["digest"] == "sha256:" + "e" * 64, "that of the family with the same base"
    assert f"SHA-256 {sha256}" in done.out
    assert [text.partition(":")[0] for text in guessed(done)] == [
        "the name hello", "the licence GPL-2.0-or-later", "the address is a path on this machine",
        "that this is the file that is meant"]
    assert done.out.splitlines()[-1] == "next     doit build:1.0"
    fetched = project.doit("fetch:1.0", "source:1.0")
    assert fetched.code == 0, fetched.out
    assert "is now locked" not in fetched.out, "nothing is left to lock"


def test_a_debian_package(project: Project, matrix: Path) -> None:
    """Of version and architecture as its name has them; the releases are guessed."""
    (project.root / "hello-dkms_1.1-2_all.deb").write_bytes(
        deb("hello-dkms", "1.1-2", {f"./usr/src/hello-1.1/{name}": data for name, data in SOURCES.items()}))
    done = project.doit("new", "family", f"file://{project.root}/hello-dkms_1.1-2_all.deb", "--license", "GPL-3.0-only")
    assert done.code == 0, done.err
    found = family(project)
    assert found["download"] == {"url": f"file://{project.root}/hello-dkms_{{driver}}_all.deb", "name": "hello-dkms",
                                 "license": "GPL-3.0-only"}
    assert found["licenses"] == ["container/licenses/GPL-3.0.txt"]
    assert json.loads(matrix.read_text())[-1] == {"driver": "1.1-2", "family": "hello", "ocp_versions": ["4.18"]}
    assert "for 4.18: the newest minor here" in guessed(done)
    assert project.doit("fetch:1.1-2").code == 0


def test_a_further_version(project: Project, matrix: Path) -> None:
    """As the family's newest driver is wanted; nobody signed it, so the lock has the hash."""
    sha256 = write_package(project.root)
    (project.root / "hello-1.1.tar.xz").write_bytes((project.root / "hello-1.0.tar.xz").read_bytes())
    assert project.doit("new", "family", "hello-1.0.tar.xz", "--ocp=4.16").code == 0
    written = (project.root / "config/drivers/hello.yaml").read_bytes()
    done = project.doit("new", "--family=hello", "driver", "1.1")
    assert done.code == 0, done.err
    assert "for 4.16: as 1.0" in guessed(done)
    assert (project.root / "config/drivers/hello.yaml").read_bytes() == written
    locked = json.loads((project.root / "config/locks/hello.json").read_text())["packages"]
    assert {driver: one["content_sha256"] for driver, one in locked.items()} == {"1.0": sha256, "1.1": sha256}
    assert json.loads(matrix.read_text())[2:] == [
        {"driver": driver, "family": "hello", "ocp_versions": ["4.16"]} for driver in ("1.0", "1.1")]
    assert project.doit("fetch:1.1").code == 0


def test_what_has_to_be_found_out_first(project: Project, matrix: Path) -> None:
    """A release that the catalogue lacks, or a base that no lock has: `doit toolkit` comes before the build."""
    write_package(project.root)
    project.write("config/locks/neuron.json", {"schema": 1, "packages": {}})
    done = project.doit("new", "family", "hello-1.0.tar.xz", "--ocp=4.16")
    assert done.out.splitlines()[-2:] == ["next     doit toolkit", "next     doit build:1.0"]


def write_odd(project: Project) -> None:
    """Packages that can't be used, by their names."""
    write_package(project.root)
    odd = {
        "junk-1.0.tar": b"junk", "empty-1.0.tar": tar({"empty-1.0/x": b""}),
        "shell-1.0.tar": tar({"a/dkms.conf": (CONF + "MAKE=$(ls)\n").encode()}),
        "bare-1.0.tar": tar({"a/dkms.conf": b"PACKAGE_NAME=b\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME=b\n"
                                            b"DEST_MODULE_LOCATION=/extra\n"}),
        "order-1..0.tar": tar({"a/dkms.conf": SOURCES["dkms.conf"].replace(b'"1.0"', b'"1..0"'),
                               "a/configure.sh": SOURCES["configure.sh"], "a/a.c": b'MODULE_LICENSE("GPL")'}),
        "text.txt": b"x",
    }
    for name, data in odd.items():
        (project.root / name).write_bytes(data)


@pytest.mark.parametrize("args, code, sentence", [
    ((), 2, "new needs a driver|family"), (("driver",), 2, "new needs a"), (("thing", "x"), 2, "has to be said"),
    (("driver", "1", "2"), 2, "but got driver 1 2"), (("driver", "1", "--nope"), 2, "has no option --nope"),
    (("driver", "1", "--ocp"), 2, "--ocp needs a value"),
    (("driver", "1", "--key=x"), 2, "--key says nothing of a driver"),
    (("family", "x", "--family=x"), 2, "--family says nothing of a family"),
    (("driver", "2.22.2.0"), 2, "2.22.2.0 is in the matrix already, of the family neuron (build-matrix.json $[1])"),
    (("driver", "3", "--family=nope"), 2, "there is no family 'nope'; there are habanalabs, neuron"),
    (("driver", "../3"), 2, "build-matrix.json: $[2].driver"),
    (("driver", "3", "--ocp=4.18,4.x"), 2, "build-matrix.json: $[2].ocp_versions[1]"),
    (("driver", "3.0"), 3, "127.0.0.1:9"),
    (("family", "nope-1.0.tar"), 2, "nope-1.0.tar does not exist"),
    (("family", "text.txt"), 2, "text.txt is no RPM, Debian package or tar"),
    (("family", "config"), 2, "config is no RPM, Debian package or tar, and no repository"),
    (("family", "ftp://x/y.rpm"), 2, "is no address of http, https, file or apt"),
    (("family", "https://me@x/y.rpm"), 2, "https://x/y.rpm is no address"),
    (("family", "http://127.0.0.1:9/hello-1.0.tar"), 3, "127.0.0.1:9"),
    (("family", "http://127.0.0.1:9/yum/"), 3, "127.0.0.1:9"),
    (("family", "junk-1.0.tar"), 1, "the tar junk-1.0.tar is no whole tar archive"),
    (("family", "empty-1.0.tar"), 1, "has no dkms.conf"), (("family", "shell-1.0.tar"), 1, "is shell code"),
    (("family", "bare-1.0.tar"), 2, "neither the package nor its sources name a licence of b"),
    (("family", "order-1..0.tar"), 2, "config/drivers/hello.yaml: $.sha256"),
    (("family", "hello-1.0.tar.xz", "--name=neuron"), 2, "config/drivers/neuron.yaml exists already"),
    (("family", "hello-1.0.tar.xz", "--name=linked"), 2, "config/locks/linked.json exists already"),
    (("family", "hello-1.0.tar.xz", "--name=Hello"), 2, "build-matrix.json: $[2].family"),
    (("family", "hello-1.0.tar.xz", "--name=../x"), 2, "build-matrix.json: $[2].family"),
    (("family", "hello-1.0.tar.xz", "--driver=2.16.7.0"), 2, "2.16.7.0 is in the matrix already"),
    (("family", "hello-1.0.tar.xz", "--ocp=x"), 2, "build-matrix.json: $[2].ocp_versions[0]"),
    (("family", "hello-1.0.tar.xz", "--key=file:///dev/null"), 1, "is damaged"),
])
def test_where_something_is_wrong_nothing_is_written(
    project: Project, matrix: Path, args: tuple[str, ...], code: int, sentence: str
) -> None:
    write_odd(project)
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    (project.root / "config/locks/linked.json").symlink_to("/nonexistent/linked.json")
    before = files_of(project)
    done = project.doit("new", *args)
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert files_of(project) == before


def test_a_file_that_can_not_be_written(project: Project, matrix: Path) -> None:
    """What was written before it is as it was."""
    write_package(project.root)
    matrix.write_text(MATRIX + " " * (2 << 20))
    before = files_of(project)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # the matrix has more, all else has less
    try:
        done = project.doit("new", "family", "hello-1.0.tar.xz", "--ocp=4.16")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (done.code, done.out) == (3, "")
    assert "File too large" in done.err
    assert files_of(project) == before
