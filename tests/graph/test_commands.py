"""The commands as users type them, without network and container: exit codes, sentences, JSON, narrowing."""

from __future__ import annotations

import json

import pytest

from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD
from tests.harness.dkms_package import tar
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.project import Project


def test_list_shows_every_task_pending_first(project: Project) -> None:
    done = project.doit("list")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    names = [row[1] for row in rows]
    for stage in ("module", "image"):
        assert {f"{stage}:2.22.2.0-{OLD}", f"{stage}:2.22.2.0-{NEW}"} <= set(names)
    assert {"fetch:2.22.2.0", "source:2.22.2.0", "build:2.22.2.0", "build", "sandbox:up"} <= set(names)
    order = {"failed": 0, "pending": 1, "-": 2, "done": 3}
    states = [order[row[0]] for row in rows]
    assert states == sorted(states)
    assert ["pending", "build"] in [row[:2] for row in rows]


def test_what_ships_lists_and_says_what_to_do(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [])
    (project.root / "config/locks/neuron.json").unlink()
    listed = project.doit("list")
    assert listed.code == 0
    assert "make demo" in listed.err
    built = project.doit("build")
    assert built.code == 2
    assert "has no release yet" in built.err
    assert "make demo" in built.err


@pytest.mark.parametrize("stage", ["fetch:2.22.2.0", "source:2.22.2.0", f"module:2.22.2.0-{OLD}",
                                   f"image:2.22.2.0-{OLD}"])
def test_info_shows_file_dep_and_targets(project: Project, stage: str) -> None:
    done = project.doit("info", stage)
    assert ("file_dep" in done.out) is not stage.startswith("fetch:")  # whose key alone decides
    assert "targets" in done.out
    assert "build/local/" in done.out


@pytest.mark.parametrize("name, kernels", [
    ("build:2.22.2.0", [OLD, NEW]), ("build:2.22.2.0@4.16", [OLD]), ("build:2.22.2.0@4.18", [NEW]),
    ("build:2.22.2.0@4.18.15", [NEW]), ("build:2.22.2.0@4.16.48", [OLD]), ("build:*@4.16.30", [OLD]),
    ("build:2.22.2.0@4.1*", [OLD, NEW]),
])
def test_narrowing(project: Project, name: str, kernels: list[str]) -> None:
    done = project.doit("info", name)
    for kernel in (OLD, NEW):
        assert (f"image:2.22.2.0-{kernel}" in done.out) is (kernel in kernels)


@pytest.mark.parametrize("args, sentence", [
    (("build:9.9",), "there is no driver 9.9 in the matrix; there are 2.22.2.0"),
    (("build:2.22.2.0@5*",), "the matrix wants no release 5*"),
    (("build:2.22.2.0", "-n", "2"), "options of `doit run` go before the tasks' names"),
    (("ignore", "build"), "there is no database here"),
    (("status", "x"), "there is no driver, family, release or cell 'x' in the matrix; there are neuron, 2.22.2.0"),
    (("status", "2.22.2.0@9*"), "there is no driver, family, release or cell '9*' in the matrix"),
    (("buidl",), "did you mean build"),
    (("build:2.22.2.0@4.99",), "the matrix wants no release 4.99 of 2.22.2.0; it wants 4.16, 4.18.15"),
    (("build:2.22.2.0@4.18.16",), "wants no release 4.18.16"),
    (("build:2.22.2.0@foo",), "'foo' is neither a release nor a minor"),
    (("build:1.0@4.18",), "there is no driver 1.0 in the matrix; there are 2.22.2.0"),
    (("image:9*",), "no task fits 'image:9*'"),
    (("info", "module:x"), "there is no task 'module:x'"),
    (("sandbox:up",), "the profile local has no sandbox"),
    (("profile", "nowhere"), "there is no profile 'nowhere'; there are ecr, github, local, sandbox"),
])
def test_names_that_exist_nowhere(project: Project, args: tuple[str, ...], sentence: str) -> None:
    done = project.doit(*args)
    assert done.code == 2
    assert sentence in done.err + done.out


def test_wildcards_select(project: Project) -> None:
    done = project.doit("list", "-q")
    assert f"image:2.22.2.0-{OLD}" in done.out.splitlines()


def test_all_faults_exit_2_for_every_command(project: Project) -> None:
    project.write("build-matrix.json", [{"driver": "../x", "ocp_versions": []}])
    project.edit("config/defaults.yaml", "parallel: 0", "parallel: many")
    for command in ("list", "status", "build", "info", "run"):
        done = project.doit(command, *(["build"] if command == "info" else []))
        assert done.code == 2, command
        assert "build-matrix.json: $[0].driver" in done.err
        assert "build-matrix.json: $[0].ocp_versions" in done.err
        assert "config/defaults.yaml: $.parallel" in done.err


def test_the_first_line_says_profile_and_why(project: Project) -> None:
    assert project.doit("list").err.splitlines()[0] == "profile local: KMOD_PROFILE is set"
    done = project.doit("list", KMOD_PROFILE="", GITHUB_ACTIONS="true")
    assert done.err.splitlines()[0] == "profile github: GITHUB_ACTIONS is set"


def test_profile_shows_and_chooses(project: Project) -> None:
    assert project.doit("profile", KMOD_PROFILE="").out.startswith("local: ")
    assert project.doit("profile", "sandbox", KMOD_PROFILE="").out.startswith("sandbox: chosen for this checkout")
    assert (project.root / ".kmod-profile").read_text() == "sandbox\n"
    assert "KMOD_PROFILE is set, which goes before" in project.doit("profile", "sandbox").err


def test_a_gap_holds_up_nothing_else(project: Project) -> None:
    """All else is tried; it is said once, and the exit code says that something is missing."""
    project.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16"]}, {"driver": "2.28.0.0", "ocp_versions": ["4.16", "4.99"]},
    ])
    text = "build-matrix.json: $[1].ocp_versions[1]: driver-toolkit/driver-toolkit.json has no release 4.99"
    assert f"warning: {text}" in project.doit("list").err
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    for name, code, told in (("build", 1, 1), ("build:2.28.0.0", 1, 1), ("build:2.22.2.0", 3, 0),
                             ("build:2.28.0.0@4.16", 3, 0), ("build:2.28.0.0@4.99", 2, 1)):
        done = project.doit(name)
        assert (done.code, (done.out + done.err).count(text)) == (code, told), (name, done)
        assert ("127.0.0.1" in done.out) is (code != 2), "it gets as far as the repository, where nobody listens"
    project.write("build-matrix.json", [{"driver": "2.28.0.0", "ocp_versions": ["4.99"]}])
    done = project.doit("build")
    assert (done.code, done.out) == (2, "")
    assert "hint: run `doit toolkit`, then `doit build`" in done.err


@pytest.mark.parametrize("name", ["build*", "b*", "build:2.22.2.0@4.1*", "build:2.22.2.0@4.1?"])
def test_patterns_do_not_hide_gaps(project: Project, name: str) -> None:
    project.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.17"]}])
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    done = project.doit(name)
    assert done.code == 1
    assert "driver-toolkit/driver-toolkit.json has no release 4.17" in done.out + done.err


def test_fetching_needs_no_kernel(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [])
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    done = project.doit("fetch:2.22.2.0")
    assert done.code == 3
    assert "127.0.0.1" in done.out


def test_an_arch_that_the_catalogue_lacks_is_a_gap(project: Project) -> None:
    project.edit("config/defaults.yaml", "arch: [x86_64]", "arch: [x86_64, aarch64]")
    assert "has no release 4.16 for aarch64" in project.doit("list").err


def test_from_a_fresh_clone_two_commands_get_there(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json", [])
    done = project.doit("build:2.22.2.0")
    assert (done.code, done.out) == (2, "")
    assert "hint: run `doit toolkit`, then `doit build:2.22.2.0`; " in done.err
    assert "`podman login quay.io`" in done.err
    assert len(done.err.splitlines()) == 4, "profile, fault, hint"


def test_a_lock_without_base_is_found_before_any_work(project: Project) -> None:
    project.write("config/locks/neuron.json", {"schema": 1, "packages": {}})
    done = project.doit("build")
    assert done.code == 2
    assert "config/locks/neuron.json: $.base: the base image is not locked yet" in done.err
    assert "hint: run `doit toolkit`" in done.err
    assert project.doit("list").code == 0


def test_published_cells_are_shown_as_such(project: Project) -> None:
    published = ledger_row(OLD, key_inputs=key_inputs(project.root, f"2.22.2.0-{OLD}"), digest="sha256:" + "f" * 64,
                           registries=["registry.test/kmod"])
    project.publishes("kmod")
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(published))
    rows = json.loads(project.doit("status", "--json").out)
    assert [row["state"] for row in rows] == ["published", "pending"]
    assert rows[0]["digest"] == "sha256:" + "f" * 64
    done = project.doit(f"image:2.22.2.0-{OLD}")
    assert done.code == 0
    assert json.loads((project.root / f"build/local/cells/2.22.2.0-{OLD}/image.json").read_text())["adopted"] is True


def test_a_release_below_those_that_are_published_makes_nothing_pending(project: Project) -> None:
    """Its toolkit is another, and its kernel has an image: the toolkit of that one stays (decision 3)."""
    project.publishes("kmod")
    project.write("driver-toolkit/driver-toolkit.json", CATALOGUE[1:])
    row = json.loads(project.doit("status", "--json").out)[0]
    parts = key_inputs(project.root, f"2.22.2.0-{OLD}")
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(ledger_row(
        OLD, key_inputs=parts, releases=["4.16.48"], registries=["registry.test/kmod"])))
    project.write("driver-toolkit/driver-toolkit.json", CATALOGUE)
    after = json.loads(project.doit("status", "--json").out)[0]
    assert (after["state"], after["key"]) == ("published", row["key"])
    assert after["releases"] == ["4.16.30", "4.16.48"]


def test_a_newer_ledger_is_refused(project: Project) -> None:
    project.write("build/local/release/2.22.2.0/images.json", {"schema": 99})
    done = project.doit("list")
    assert done.code == 2
    assert "newer than this version" in done.err


def test_a_repository_that_is_down_is_outside(project: Project) -> None:
    """Nothing listens there: exit code 3, the dependants are blocked, the sentence names the address."""
    project.edit("config/drivers/neuron.yaml", "https://yum.repos.neuron.amazonaws.com/", "http://127.0.0.1:9/")
    project.write("config/locks/neuron.json", {**LOCK, "packages": {}})
    done = project.doit("build")
    assert done.code == 3
    assert "127.0.0.1:9" in done.out
    assert "blocked" in done.out
    assert not list((project.root / "build/local/sources/2.22.2.0").glob("*.rpm"))


def test_an_entry_without_kernel_is_pending_not_lost(project: Project) -> None:
    project.write("driver-toolkit/driver-toolkit.json",
                  [{name: value for name, value in CATALOGUE[0].items() if name != "kernel"}, *CATALOGUE[1:]])
    done = project.doit("list")
    assert done.code == 0
    assert "driver-toolkit/driver-toolkit.json: 4.16: 1 release without a kernel (4.16.30)" in done.err


def test_a_fault_of_the_configuration_that_a_task_finds_is_told_everywhere(project: Project) -> None:
    """In the line of the failure, and where GitHub shows it."""
    (project.root / "hello-1.0.tar").write_bytes(tar({"hello-1.0/dkms.conf": b""}))
    project.write("config/drivers/hello.yaml", (
        f"title: Hello\ndownload:\n  url: file://{project.root}/hello-{{driver}}.tar\n  license: GPL-2.0-only\n"
        "signature: none\nsource: {dkms: true}\n"))
    project.write("build-matrix.json", [{"driver": "1.0", "family": "hello", "ocp_versions": ["4.16"]}])
    summary = project.root / "summary.md"
    done = project.doit("fetch:1.0", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert done.code == 2
    fault = "config/drivers/hello.yaml: $.sha256: the package hello-1.0.tar of 1.0 is not signed"
    told = [line.split()[0] for line in done.out.splitlines() if fault in line]
    assert told == ["config/drivers/hello.yaml:", "::error"]
    assert "hello.yaml: $.sha256" in summary.read_text().replace("\\", "")
