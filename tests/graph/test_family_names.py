"""Which family a driver is of, as a user sees it; and that a version is of one alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    one = Project(tmp_path)
    one.write("config/drivers/thing.yaml", (one.root / "config/drivers/neuron.yaml").read_text(encoding="utf-8"))
    return one


def matrix(project: Project, version: str) -> None:
    project.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16.30"]},
        {"driver": version, "family": "thing", "ocp_versions": ["4.16.30"]}])


def test_status_names_the_families(project: Project) -> None:
    matrix(project, "2.22.2.0-1")
    table = [line.split() for line in project.doit("status").out.splitlines()]
    assert [line[0] for line in table[:4]] == ["neuron", "2.22.2.0", "thing", "2.22.2.0-1"]
    assert table[5:7] == [["family", "neuron", "thing"], ["release", "2.22.2.0", "2.22.2.0-1"]]
    rows = json.loads(project.doit("status", "--json").out)
    assert {row["driver"]: row["family"] for row in rows} == {"2.22.2.0": "neuron", "2.22.2.0-1": "thing"}


@pytest.mark.parametrize("task", ["build", "build:2.22.2.0", "fetch:2.22.2.0"])
def test_a_version_of_two_families_is_refused_with_the_way_out(project: Project, task: str) -> None:
    matrix(project, "2.22.2.0")
    done = project.doit(task)
    assert (done.code, done.out) == (2, "")
    assert ("build-matrix.json: $[1].driver: 2.22.2.0 is already of family neuron (build-matrix.json $[0]);"
            " a profile with a matrix of its own can have this one") in done.err


def test_a_profile_with_a_matrix_of_its_own_has_the_other(project: Project) -> None:
    matrix(project, "2.22.2.0")
    first, second = json.loads((project.root / "build-matrix.json").read_text(encoding="utf-8"))
    project.write("build-matrix.json", [first])
    project.write("things.json", [second])
    project.write("config/profiles/things.yaml", "matrix: [things.json]\n")
    for profile, family in (("local", "neuron"), ("things", "thing")):
        [row] = json.loads(project.doit("status", "--json", KMOD_PROFILE=profile).out)
        assert (row["driver"], row["family"]) == ("2.22.2.0", family)
