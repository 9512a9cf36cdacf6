"""`doit shards` as a workflow uses it: one line of JSON alone on stdout, pending cells alone, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.checkout import CATALOGUE, NEW, OLD
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.project import Project

REGISTRY = "127.0.0.1:1/kmod"  # where nobody answers


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """It publishes, and knows that nothing is published yet."""
    one = Project(tmp_path)
    one.write("config/profiles/local.yaml", json.dumps({
        "image_repository": "localhost/kmod", "publish": [{"registry": "127.0.0.1:1", "repository": "kmod"}]}))
    publish(one)
    return one


def publish(project: Project, *rows: dict[str, Any]) -> None:
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(*rows))


def planned(project: Project, *args: str, **environ: str) -> list[dict[str, Any]]:
    done = project.doit("shards", "--json", *args, **environ)
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    include: list[dict[str, Any]] = json.loads(done.out)["include"]
    return include


def row(project: Project, kernel: str, **changes: Any) -> dict[str, Any]:
    """A published cell's row, with its key of today."""
    [cell] = [one for one in json.loads(project.doit("status", "--json").out) if one["kernel"] == kernel]
    inputs = key_inputs(project.root, f"2.22.2.0-{kernel}")
    return ledger_row(kernel, **{
        "key_inputs": inputs, "registries": [REGISTRY], "releases": cell["releases"], **changes})


def test_pending_cells_are_a_matrix(project: Project) -> None:
    shards = planned(project)
    assert sorted(one["tasks"] for one in shards) == [f"push:2.22.2.0-{OLD}", f"push:2.22.2.0-{NEW}"]
    assert [one["shard"] for one in shards] == [1, 2]
    assert {one["runner"] for one in shards} == {"ubuntu-24.04"}
    assert all(len(one["toolkits"]) == 1 and one["seconds"] > 0 for one in shards)
    assert len(planned(project, "--jobs=1")) == 1
    shown = project.doit("shards")
    assert "2 cells, 2 toolkits pulled 2 times" in shown.out


def test_what_is_published_is_left_out(project: Project) -> None:
    old, new = row(project, OLD), row(project, NEW)
    publish(project, old)
    assert [one["tasks"] for one in planned(project)] == [f"push:2.22.2.0-{NEW}"]
    publish(project, old, new)
    assert planned(project) == []
    assert project.doit("shards", "--json").out == '{"include":[]}\n'
    assert "nothing is pending" in project.doit("shards").out
    assert len(planned(project, FORCE_BUILD="true")) == 2


def test_a_registry_that_lacks_it_makes_a_cell_pending_and_needs_no_toolkit(project: Project) -> None:
    places = [{"registry": f"127.0.0.1:{port}", "repository": "kmod"} for port in (1, 2)]
    project.write("config/profiles/local.yaml", {"image_repository": "localhost/kmod", "publish": places})
    both = [REGISTRY, "127.0.0.1:2/kmod"]
    publish(project, row(project, OLD), row(project, NEW, registries=both))
    [shard] = planned(project)
    assert (shard["tasks"], shard["toolkits"]) == (f"push:2.22.2.0-{OLD}", [])


def test_measured_times_are_the_costs(project: Project) -> None:
    project.write(f"build/local/cells/2.22.2.0-{OLD}/times.json", {"module": 500.0, "pull": 100.0, "image": 1.0})
    by_cell = {one["tasks"]: one["seconds"] for one in planned(project)}
    assert by_cell[f"push:2.22.2.0-{OLD}"] == 100 + 400 + 1 + 5
    assert by_cell[f"push:2.22.2.0-{NEW}"] == 100 + 400 + 2 + 5, "as its driver's other cell"
    project.write(f"build/local/cells/2.22.2.0-{OLD}/times.json", '{"module": "long", "pull": -1, "image": 1e99}')
    assert {one["seconds"] for one in planned(project)} == {90 + 20 + 2 + 5}


def test_withheld_cells_are_left_out(project: Project) -> None:
    mismatched = [
        {**one, "node_kernel": "5.14.0-1.el9_6.x86_64", "mismatch": True} if one["kernel"] == NEW else one
        for one in CATALOGUE]
    project.write("driver-toolkit/driver-toolkit.json", mismatched)
    assert [one["tasks"] for one in planned(project)] == [f"push:2.22.2.0-{OLD}"]


def test_a_gap_holds_up_no_shard(project: Project) -> None:
    project.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.99"]}])
    done = project.doit("shards", "--json")
    assert done.code == 0
    assert "warning: build-matrix.json: $[0].ocp_versions[1]: " in done.err
    assert [one["tasks"] for one in json.loads(done.out)["include"]] == [f"push:2.22.2.0-{OLD}"]


@pytest.mark.parametrize("args, environ, said", [
    (("--jobs=0",), {}, "--jobs 0: not a number from 1 to 256"),
    (("--jobs=257",), {}, "--jobs 257"),
    (("push:x",), {}, "shards takes no arguments, but got push:x"),
    ((), {"PUBLISH": "no"}, "names no registry to push to"),
    ((), {"GAP": "yes"}, "no release 4.99"),
])
def test_what_can_not_be_planned(project: Project, args: tuple[str, ...], environ: dict[str, str], said: str) -> None:
    if "PUBLISH" in environ:
        project.write("config/profiles/local.yaml", "image_repository: localhost/kmod\n")
    if "GAP" in environ:
        project.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.99"]}])
    done = project.doit("shards", "--json", *args)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_ledger_that_can_not_be_had_is_an_error(project: Project) -> None:
    (project.root / "build/local/release/2.22.2.0/images.json").unlink()
    done = project.doit("shards", "--json")
    assert (done.code, done.out) == (3, "")
    assert "can't be reached" in done.err


def test_what_is_collected_gives_the_runner_no_command(project: Project, tmp_path: Path) -> None:
    (tmp_path / "left" / "cells" / "##[error]x").mkdir(parents=True)
    done = project.doit("collect", str(tmp_path / "left"), GITHUB_ACTIONS="true")
    assert done.code == 1
    assert "[error]x is no cell of this matrix" in done.err
    assert "##[" not in done.out + done.err
    assert project.doit("collect").code == 2
    assert project.doit("collect", str(tmp_path / "nothing")).code == 0
