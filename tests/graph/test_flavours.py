"""Flavours and architectures as a user meets them on the command line; no network, no container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.checkout import DTK, NEW, OLD
from tests.harness.ledgers import ledger_document
from tests.harness.project import Project

NEW_RT = f"{NEW}+rt"
ARM = "5.14.0-427.68.2.el9_4.aarch64"
CATALOGUE: list[dict[str, Any]] = [
    {"version": "4.16.30", "arch": "x86_64", "dtk": f"{DTK}{'a' * 64}", "kernel": OLD},
    {"version": "4.16.30", "arch": "aarch64", "dtk": f"{DTK}{'b' * 64}", "kernel": ARM},
    {"version": "4.18.15", "arch": "x86_64", "dtk": f"{DTK}{'c' * 64}", "kernel": NEW, "rt_kernel": NEW_RT},
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """It wants an rt kernel and an architecture, each where there is one; it publishes, and nothing is published."""
    one = Project(tmp_path)
    one.write("driver-toolkit/driver-toolkit.json", CATALOGUE)
    one.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16"]},
        {"driver": "2.22.2.0", "ocp_versions": ["4.18"], "flavours": ["default", "rt"], "arch": ["x86_64"]},
    ])
    one.edit("config/defaults.yaml", "arch: [x86_64]", "arch: [x86_64, aarch64]")
    one.write("config/profiles/local.yaml", json.dumps({
        "image_repository": "localhost/kmod", "publish": [{"registry": "127.0.0.1:1", "repository": "kmod"}]}))
    one.write("build/local/release/2.22.2.0/images.json", ledger_document())
    return one


def test_status_and_list(project: Project) -> None:
    done = project.doit("status", "--json")
    rows = {row["kernel"]: row for row in json.loads(done.out)}
    assert {kernel: (row["arch"], row["flavour"]) for kernel, row in rows.items()} == {
        OLD: ("x86_64", "default"), ARM: ("aarch64", "default"), NEW: ("x86_64", "default"), NEW_RT: ("x86_64", "rt")}
    table = [line.split() for line in project.doit("status").out.splitlines()]
    assert ["4.16.30", "pending", "2/2"] in table
    assert ["4.18.15", "pending", "2/2"] in table
    names = [line.split()[1] for line in project.doit("list").out.splitlines()]
    assert f"module:2.22.2.0-{NEW_RT}" in names
    info = project.doit("info", f"image:2.22.2.0-{NEW_RT}").out
    assert f"build/local/cells/2.22.2.0-{NEW_RT}/image.json" in info, "the folder keeps the +"
    assert f"2.22.2.0-{NEW}_rt" in info, "the tag can't"


def test_a_release_of_which_one_cell_failed(project: Project) -> None:
    """The word is that of the cell that is least far, and says how many are so."""
    folder = project.root / f"build/local/cells/2.22.2.0-{NEW_RT}"
    folder.mkdir(parents=True)
    key = next(row["key"] for row in json.loads(project.doit("status", "--json").out) if row["kernel"] == NEW_RT)
    (folder / "failure.json").write_text(json.dumps({
        "stage": "module", "key": key, "reason": "compile-failed", "message": "no", "hint": "", "log": "",
        "replay": "", "retry": False}))
    table = [line.split() for line in project.doit("status").out.splitlines()]
    assert ["4.18.15", "failed", "1/2"] in table


def test_a_release_whose_toolkit_has_no_rt_kernel(project: Project) -> None:
    project.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16"], "flavours": ["rt"], "arch": ["x86_64"]}])
    text = ("build-matrix.json: $[0].ocp_versions[0]: no toolkit of release 4.16 for x86_64 has a kernel of flavour rt:"
            " leave it out of `flavours`, or narrow the entry with `arch`")
    done = project.doit("build")
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    for command in ("status", "list"):
        shown = project.doit(command)
        assert shown.code == 0
        assert f"warning: {text}" in shown.err


@pytest.mark.parametrize("said", [{}, {"rt_kernel": NEW}])
def test_a_toolkit_of_a_minor_without_rt_kernel_stops_nothing(project: Project, said: dict[str, str]) -> None:
    """Nor one whose rt kernel is said to be its default one."""
    project.write("driver-toolkit/driver-toolkit.json", [
        *CATALOGUE, {"version": "4.18.16", "arch": "x86_64", "dtk": f"{DTK}{'d' * 64}", "kernel": NEW, **said}])
    done = project.doit("status")
    assert "warning: 4.18.16 x86_64: the toolkit has no rt kernel, so nothing is built for one" in done.err
    assert len(project.doit("shards", "--json").out.split("push:")) - 1 == 4


def test_an_architecture_without_toolkit(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [CATALOGUE[0], CATALOGUE[2]])
    done = project.doit("status")
    assert ("build-matrix.json: $[0].ocp_versions[0]: driver-toolkit/driver-toolkit.json has no release 4.16 for"
            " aarch64") in done.err
    assert "hint: " in done.err


def test_an_architecture_that_is_not_built(project: Project) -> None:
    project.edit("config/defaults.yaml", "arch: [x86_64, aarch64]", "arch: [x86_64]")
    project.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"], "arch": ["aarch64"]}])
    done = project.doit("build")
    assert (done.code, done.out) == (2, "")
    assert "build-matrix.json: $[0].arch[0]: aarch64 is not in the setting `arch` (x86_64)" in done.err


def test_shards_name_their_runners_and_never_mix(project: Project) -> None:
    shards = json.loads(project.doit("shards", "--json", "--jobs=1").out)["include"]
    by_runner = {shard["runner"]: shard["tasks"].split() for shard in shards}
    assert {runner: sorted(tasks) for runner, tasks in by_runner.items()} == {
        "ubuntu-24.04-arm": [f"push:2.22.2.0-{ARM}"],
        "ubuntu-24.04": sorted(f"push:2.22.2.0-{kernel}" for kernel in (OLD, NEW, NEW_RT))}
    toolkits = [name for shard in shards for name in shard["toolkits"]]
    assert sorted(toolkits) == sorted(entry["dtk"] for entry in CATALOGUE), "two kernels of a toolkit are one pull"
    project.write("config/profiles/local.yaml", json.dumps({
        "image_repository": "localhost/kmod", "publish": [{"registry": "127.0.0.1:1", "repository": "kmod"}],
        "runners": {"aarch64": "our-arm"}}))
    shards = json.loads(project.doit("shards", "--json").out)["include"]
    assert {shard["runner"] for shard in shards} == {"ubuntu-24.04", "our-arm"}
    assert "our-arm" in project.doit("shards").out


@pytest.mark.parametrize("runners", ["{x86_64: ''}", "{riscv64: one}", "{x86_64: 'a b'}", "{x86_64: '${{ evil }}'}"])
def test_runners_that_are_none(project: Project, runners: str) -> None:
    project.write("config/profiles/local.yaml", f"runners: {runners}\n")
    done = project.doit("shards", "--json")
    assert (done.code, done.out) == (2, "")
    assert "config/profiles/local.yaml: $.runners" in done.err
