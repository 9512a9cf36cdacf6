"""A repository with a folder for each RHEL release: which one a driver's packages are taken from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import rpmtools
from tests.harness.checkout import LOCK, entry
from tests.harness.rpmtools import Key, Server, serve
from tests.harness.vendor import LocalClone

DRIVER, FAMILY, LOCKED = "1.6.0-439", "config/drivers/habanalabs.yaml", "config/locks/habanalabs.json"
TASK = f"fetch:{DRIVER}"
EL8_6, EL8_10 = "4.18.0-372.19.1.el8_6.x86_64", "4.18.0-553.22.1.el8_10.x86_64"
DEBIAN = "6.1.0-56-cloud-amd64"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for release in ("8.6", "8.10"):
        folder = tmp_path / "www/rhel/8" / release
        folder.mkdir(parents=True)
        rpmtools.build_rpm(folder, name="habanalabs", version="1.6.0", release="439.el8", text=release)
        rpmtools.index(folder)
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def clone(server: Server, key: Key, tmp_path: Path) -> LocalClone:
    one = LocalClone(tmp_path, f"{server.url}/", key)
    one.edit(FAMILY, "https://vault.habana.ai/artifactory/", f"{server.url}/")
    one.edit(FAMILY, "root: usr/src/habanalabs-{driver}", "root: usr/src/thing-1.6.0")
    text = (one.root / FAMILY).read_text(encoding="utf-8")
    # the package has neither firmware nor a dkms.conf
    one.write(FAMILY, text[:text.index("further_packages:")] + text[text.index("source:"):text.index("# Found in")]
              .replace("  dkms: true\n", "") + text[text.index("modules:"):text.index("firmware:\n  - package")]
              + "base: {busybox: null}\nlabels: {vendor: Habana Labs Ltd.}\n")
    base = {name: value for name, value in LOCK["base"].items() if name != "busybox"}
    one.write(LOCKED, {"schema": 1, "base": base, "packages": {}})
    return one


def wanted(clone: LocalClone, *kernels: str) -> None:
    """The driver for releases with these kernels."""
    clone.write("driver-toolkit/driver-toolkit.json",
                [entry(f"4.12.{number}", "abc"[number], kernel) for number, kernel in enumerate(kernels)])
    clone.write("build-matrix.json", [{"driver": DRIVER, "family": "habanalabs", "ocp_versions": ["4.12"]}])


def accept(clone: LocalClone) -> None:
    """Have the hash of the package, which nobody signs, in the family file: the first fetch tells it."""
    refusal = clone.doit(TASK)
    assert refusal.code == 2, refusal.text
    line = refusal.text.partition("Once you have checked it, add ")[2].split("\n")[0]
    clone.edit(FAMILY, "signature: none\n", f"signature: none\nsha256: {{{line.strip()}}}\n")


@pytest.mark.parametrize("kernels, release", [
    ([EL8_6], "8.6"), ([EL8_10], "8.10"), ([EL8_10, EL8_6], "8.6"), ([DEBIAN, EL8_10], "8.10"),
])
def test_the_folder_is_that_of_the_kernels(clone: LocalClone, server: Server, kernels: list[str], release: str) -> None:
    wanted(clone, *kernels)
    accept(clone)
    run = clone.doit(TASK)
    assert run.code == 0, run.text
    assert {hit.split("/")[3] for hit in server.hits} == {release}
    assert f"/rhel/8/{release}/habanalabs-1.6.0-439.el8.noarch.rpm" in server.hits


def test_a_locked_package_is_fetched_from_where_it_was(clone: LocalClone, server: Server) -> None:
    """The vendor packs each release's by itself: of another folder its content could be another."""
    wanted(clone, EL8_10)
    accept(clone)
    assert clone.doit(TASK).code == 0
    wanted(clone, EL8_10, EL8_6)
    shutil.rmtree(clone.build / "sources")
    server.hits.clear()
    run = clone.doit(TASK)
    assert run.code == 0, run.text
    assert {hit.split("/")[3] for hit in server.hits} == {"8.10"}


def test_no_kernel_tells_the_folder(clone: LocalClone, server: Server) -> None:
    wanted(clone, DEBIAN)
    run = clone.doit(TASK)
    assert (run.code, server.hits) == (2, [])
    assert f"rhel/{{rhel_major}}/{{rhel}}/ asks for {{rhel}}, and no kernel of {DRIVER} tells it" in run.text
    assert "hint: give it a value in `parameters`" in run.text
