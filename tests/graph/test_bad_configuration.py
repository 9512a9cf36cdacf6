"""Broken configuration files and names, through the command line: all faults at once, exit code 2, nothing made."""

from __future__ import annotations

import json

import pytest

from tests.harness.checkout import CATALOGUE, LOCK, OLD
from tests.harness.project import Done, Project


def refused(project: Project, *args: str) -> Done:
    """Exit code 2, a hint, nothing on stdout, and no file that was not there."""
    before = files(project)
    done = project.doit(*args)
    assert done.code == 2, done
    assert "\n  hint: " in done.err, done.err
    assert done.out == ""
    kept = ("validation.json", "parsed.json", ".run.lock")
    assert files(project) - before <= {f"build/local/{name}" for name in kept}
    return done


def files(project: Project) -> set[str]:
    return {str(path.relative_to(project.root)) for path in project.root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}


def test_broken_files_of_every_kind_at_once(project: Project) -> None:
    """No JSON, no YAML, wrong schemas: each with its file, and its place or JSON path."""
    kept = {name: (project.root / name).read_text() for name in (
        "build-matrix.json", "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json",
        "config/drivers/neuron.yaml", "config/profiles/local.yaml")}
    project.write("build-matrix.json", '[{"driver": "2.22.2.0", "ocp_versions": ["4.16"]},\n {"driver": "../x"}]')
    project.write("driver-toolkit/driver-toolkit.json", '[{"version": "4.16.30",\n  "arch" "x86_64"}]')
    project.write("config/locks/neuron.json", {**LOCK, "packages": {"1.0": {"content_sha256": "short"}}})
    project.write("config/profiles/local.yaml", "arch: [vax\nparallel: 0\n")
    project.edit("config/drivers/neuron.yaml", "matches: 2", "matches: none")
    done = refused(project, "build")
    head, *faults = [line for line in done.err.splitlines() if line.startswith(("error:", "  "))]
    assert head.startswith("error: the configuration has ")
    for fault in (
        "build-matrix.json: $[1].driver: '../x'", "build-matrix.json: $[1]: 'ocp_versions' is a required property",
        "driver-toolkit/driver-toolkit.json: is not JSON: Expecting ':' delimiter: line 2 column",
        "config/locks/neuron.json: $.packages.1.0: 'name' is a required property",
        "config/locks/neuron.json: $.packages.1.0.content_sha256: 'short'",
        "config/profiles/local.yaml: is not YAML: ",
        "config/drivers/neuron.yaml: $.patches[1].edits[0].matches: 'none'",
    ):
        assert any(line.startswith(f"  {fault}") for line in faults), (fault, done.err)
    assert "docs/configuration.md" in done.err
    for name, text in kept.items():
        project.write(name, text)
    assert project.doit("list").code == 0


@pytest.mark.parametrize("content", ["", "null", "3", '"x"', "{}", "[3]", "[null]", "[[]]", "\x00", "{" * 5000])
@pytest.mark.parametrize("name", ["build-matrix.json", "driver-toolkit/driver-toolkit.json",
                                  "config/drivers/neuron.yaml"])
def test_files_that_hold_something_else(project: Project, name: str, content: str) -> None:
    project.write(name, content)
    assert f"  {name}: " in refused(project, "build").err


def test_a_file_that_is_no_text(project: Project) -> None:
    for name in ("build-matrix.json", "config/profiles/local.yaml"):
        kept = (project.root / name).read_bytes()
        (project.root / name).write_bytes(b"\xff\xfe\x00 \x80")
        assert f"  {name}: " in refused(project, "list").err
        (project.root / name).write_bytes(kept)
    (project.root / "build-matrix.json").unlink()
    (project.root / "build-matrix.json").mkdir()
    assert "  build-matrix.json: can't be read: Is a directory" in refused(project, "build").err


@pytest.mark.parametrize("driver", ["../x", "a=b", "a b", "2.22.2.0\n", "..", "x/y", "-n"])
def test_drivers_that_are_no_names(project: Project, driver: str) -> None:
    project.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16"]}])
    assert "  build-matrix.json: $[0].driver: " in refused(project, "build").err
    assert not (project.root.parent / "x").exists()


@pytest.mark.parametrize("kernel", ["6.1=2", "../6.1", "6.1/x", "6.1 x"])
def test_kernels_that_are_no_names(project: Project, kernel: str) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [{**CATALOGUE[0], "kernel": kernel}, *CATALOGUE[1:]])
    assert "  driver-toolkit/driver-toolkit.json: $[0].kernel: " in refused(project, "build").err


@pytest.mark.parametrize("name", ["build:2.22.2.0=1", f"image:2.22.2.0-{OLD}=x", "a=b", "build="])
def test_names_with_an_equals_sign_build_nothing(project: Project, name: str) -> None:
    """doit takes them for settings, and without a name builds everything."""
    assert f"there is no task '{name}'" in refused(project, name).err


@pytest.mark.parametrize("args, words", [
    (("build:2.22.2.0@4.99",), "the matrix wants no release 4.99 of 2.22.2.0; it wants 4.16, 4.18.15"),
    (("build:9.9",), "there is no driver 9.9 in the matrix; there are 2.22.2.0"),
    (("build:9.9@4.16",), "there is no driver 9.9 in the matrix; there are 2.22.2.0"),
    (("build:../x",), "there is no driver ../x in the matrix"),
])
def test_unknown_names_come_with_a_hint(project: Project, args: tuple[str, ...], words: str) -> None:
    assert words in refused(project, *args).err


def test_an_empty_catalogue(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [])
    for name in ("build", "build:2.22.2.0", "build:2.22.2.0@4.16", "image"):
        assert "driver-toolkit/driver-toolkit.json: has no release yet" in refused(project, name).err, name
    project.write("driver-toolkit/driver-toolkit.json", CATALOGUE)
    assert json.loads(project.doit("status", "--json").out)
