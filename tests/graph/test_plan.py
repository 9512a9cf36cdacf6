"""`doit plan`: what a run would do and why, from records, ledgers and commits alone; it changes nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from foundry.base.files import sha256_file
from foundry.base.plain_text import keep_secret
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.inputs import keep_inputs
from foundry.plan.state import States
from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, Checkout, entry
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.leftovers import change_record, leave_built
from tests.harness.project import Project

FAMILY = "config/drivers/neuron.yaml"
OLD_CELL = f"2.22.2.0-{OLD}"


def states(project: Checkout) -> States:
    return States(load_config(project.root, Profile("local", "test"), keep=False))


def leave_all_built(project: Project) -> None:
    """As a run leaves it, with small files in place of modules and images."""
    known = states(project)
    for state in known.cells.values():
        assert state.key is not None
        folder = leave_built(known, state.cell.name)
        keep_inputs(project.root / "build/local", state.key)
        change_record(folder, "image", labels=state.key.labels)


@pytest.fixture
def built(project: Project) -> Project:
    leave_all_built(project)
    return project


def tree(root: Path) -> dict[str, str]:
    return {str(path): sha256_file(path) for path in root.rglob("*") if path.is_file() and path.name != ".audit"}


def plan(project: Project, *args: str, **environ: str) -> dict[str, Any]:
    """The plan as JSON; it starts no process but git, makes no connection and changes nothing."""
    audit = project.root / ".audit"
    audit.unlink(missing_ok=True)
    before = tree(project.root)
    done = project.doit("plan", *args, "--json", KMOD_TEST_AUDIT=str(audit), **environ)
    assert done.code == 0, done.err
    assert tree(project.root) == before
    events = [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []
    assert [what for kind, what in events if kind == "connection" or what[0] != "git"] == []
    assert [what for _, what in events if "--since" not in args] == []
    found: dict[str, Any] = json.loads(done.out)
    return found


def git(project: Project, *args: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=project.root, check=True,
                   capture_output=True)


def commit(project: Project) -> None:
    git(project, "init", "--quiet")
    git(project, "add", "config", "schemas", "container", "driver-toolkit", "build-matrix.json", "dodo.py")
    git(project, "commit", "--quiet", "--message=before")


def test_before_anything_is_built(project: Project) -> None:
    found = plan(project)
    assert [(one["kernel"], one["actions"], one["code"]) for one in found["cells"]] == [
        (OLD, ["compile", "image"], "not-built"), (NEW, ["compile", "image"], "not-built")]
    assert found["drivers"] == [{"driver": "2.22.2.0", "family": "neuron", "actions": ["fetch", "unpack"],
                                 "reason": "not fetched yet"}]
    totals = found["totals"]
    assert (totals["fetch"], totals["compile"], totals["image"], totals["push"], totals["pull"]) == (1, 2, 2, 0, 2)
    assert [one["kernel"] for one in plan(project, "build:2.22.2.0@4.18")["cells"]] == [NEW]
    assert [one["actions"] for one in plan(project, f"module:{OLD_CELL}")["cells"]] == [["compile"]]


def test_nothing_to_do(built: Project) -> None:
    assert plan(built)["cells"] == []
    assert built.doit("plan").out == "nothing to do\n"


def test_measured_costs_are_an_order_of_magnitude(project: Project) -> None:
    for kernel in (OLD, NEW):
        project.write(f"build/local/cells/2.22.2.0-{kernel}/times.json", {"module": 7300.0, "pull": 100.0, "image": 2})
    found = plan(project, KMOD_PROFILE="local")
    assert [one["seconds"] for one in found["cells"]] == [7202.0, 7202.0]
    assert ": about 2 h\n" in project.doit("plan").out


# Of each part of a key: what is edited, and what the plan says of old and new.
EDITS = {
    "containerfile": ("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n", "+ARG MORE"),
    "build_script": ("container/build-module.sh", "set -eu\n", "set -eux\n", "+set -eux"),
    "labels": (FAMILY, "labels:\n", "labels:\n  more: Another\n", "more: none → Another"),
    "patches": (FAMILY, "patches:\n", "patches:\n  - {id: new, why: a test, edits: [{file: a.c, find: aa, replace: bb,"
                " matches: 1}]}\n", "new: none → here"),
    "licenses": ("container/licenses/GPL-2.0.txt", "GNU", "GNUS", "GPL-2.0.txt: "),
    "make": (FAMILY, "strip:", "make: {arguments: [MINE=1]}\nstrip:", "MINE=1"),
    "modules": (FAMILY, "    file: neuron.ko\n", "    file: neuron.ko\n    destination: extra\n", "extra"),
}


@pytest.mark.parametrize("part", EDITS)
def test_a_change_is_named_from_what_to_what(built: Project, part: str) -> None:
    file, old, new, said = EDITS[part]
    before = states(built).cells[OLD_CELL].key
    text = (built.root / file).read_text()
    assert old in text
    (built.root / file).write_text(text.replace(old, new, 1))
    after = states(built).cells[OLD_CELL].key
    assert before is not None and after is not None and before != after
    steps = plan(built)["cells"]
    assert len(steps) == 2
    for step in steps:
        [change] = [one for one in step["changes"] if one["part"] == part]
        assert step["kernel"] != OLD or (change["before"], change["after"]) == (before.parts[part], after.parts[part])
        assert any(said in text for text in change["lines"]), change
        assert change["name"] in step["reason"]
        assert step["actions"] == (["compile", "image"] if part in before.module_parts else ["image"])
    shown = built.doit("plan").out
    assert said in shown
    assert said in built.doit("info", f"image:{OLD_CELL}").out


def test_digests_from_and_to(built: Project) -> None:
    built.write("config/locks/neuron.json", {**LOCK, "base": {**LOCK["base"], "digest": "sha256:" + "9" * 64}})
    built.write("driver-toolkit/driver-toolkit.json",
                [*CATALOGUE[:2], entry("4.18.15", "7", NEW), entry("4.18.16", "8", NEW)])
    steps = {one["kernel"]: one for one in plan(built)["cells"]}
    changes = {one["part"]: one for one in steps[NEW]["changes"]}
    assert (changes["base"]["before"], changes["base"]["after"]) == ("sha256:" + "e" * 64, "sha256:" + "9" * 64)
    assert (changes["toolkit"]["before"], changes["toolkit"]["after"]) == ("sha256:" + "c" * 64, "sha256:" + "7" * 64)
    assert steps[NEW]["actions"] == ["compile", "image"] and steps[OLD]["actions"] == ["image"]
    assert "the base image: sha256:eeeeeeeeeeee → sha256:999999999999" in built.doit("plan").out


@pytest.mark.parametrize("content", [None, "", "[]", "7", '{"a": {}}', '{"rhel-9.4-guard": [1, null]}'])
def test_values_that_are_not_known_any_more(built: Project, content: str | None) -> None:
    """The hashes are, by the record."""
    for path in (built.root / "build/local/inputs").iterdir():
        path.unlink() if content is None else path.write_text(content)
    built.edit(FAMILY, "        matches: 2\n", "        matches: 3\n")
    [change] = plan(built, f"image:{OLD_CELL}")["cells"][0]["changes"]
    assert change["part"] == "patches" and change["before"] != change["after"]
    built.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    assert [one["part"] for one in plan(built, f"image:{OLD_CELL}")["cells"][0]["changes"]] == [
        "containerfile", "patches"]


def test_what_is_pushed_and_replaced(built: Project) -> None:
    built.publishes("kmod")
    row = ledger_row(OLD, key_inputs=key_inputs(built.root, OLD_CELL), digest="sha256:" + "f" * 64,
                     releases=["4.16.30", "4.16.48"], registries=["registry.test/kmod"])
    built.write("build/local/release/2.22.2.0/images.json", ledger_document(row))
    found = plan(built, "publish")
    assert [(one["kernel"], one["actions"], one["replaces"]) for one in found["cells"]] == [(NEW, ["push"], None)]
    built.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    old, new = plan(built, "publish")["cells"]
    assert old["replaces"] == {"digest": row["digest"], "key": row["key"], "tags": row["tags"],
                               "registries": row["registries"]}
    assert (old["actions"], new["actions"], new["replaces"]) == (["image", "push"], ["image", "push"], None)
    shown = built.doit("plan", "publish").out
    assert "replace 1" in shown and "in place of sha256:ffffffffffff" in shown
    assert [one["actions"] for one in plan(built)["cells"]] == [["image"], ["image"]], "a build pushes nothing"


def test_a_ledger_that_is_not_here_is_said(built: Project) -> None:
    built.publishes("kmod")
    found = plan(built, "publish")
    assert "what is published of 2.22.2.0 is not known here" in found["notes"][0]


def test_a_known_failure_is_not_compiled(project: Project) -> None:
    known = states(project)
    state = known.cells[OLD_CELL]
    assert state.key is not None
    project.write(f"build/local/cells/{OLD_CELL}/failure.json", {
        "stage": "module", "key": state.key.key, "reason": "compile-failed", "message": "no", "log": "a.log",
        "circumstances": known.circumstances.of(state.cell)})
    found = plan(project)
    assert [one["kernel"] for one in found["cells"]] == [NEW]
    assert found["known_failures"] == [{"driver": "2.22.2.0", "kernel": OLD, "arch": "x86_64",
                                        "reason": "compile-failed: no", "log": "a.log"}]
    assert [one["kernel"] for one in plan(project, "--retry-failed")["cells"]] == [OLD, NEW]
    assert f"not compiled again  {OLD_CELL}  (compile-failed: no)\n    log: a.log" in project.doit("plan").out


def test_secrets_are_not_kept(checkout: Checkout) -> None:
    checkout.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\n# hunter22hunter22\n")
    keep_secret("hunter22hunter22")
    key = states(checkout).cells[OLD_CELL].key
    assert key is not None
    keep_inputs(checkout.root / "build/local", key)
    kept = checkout.root / f"build/local/inputs/{key.parts['containerfile']}.json"
    assert "ARG BASE" in kept.read_text() and "hunter22" not in kept.read_text()


def test_a_file_that_is_edited_meanwhile_is_not_kept(checkout: Checkout) -> None:
    key = states(checkout).cells[OLD_CELL].key
    assert key is not None
    checkout.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\n# later\n")
    keep_inputs(checkout.root / "build/local", key)
    assert not (checkout.root / f"build/local/inputs/{key.parts['containerfile']}.json").exists()


# -- against another commit --------------------------------------------------------


def test_since_a_commit(project: Project) -> None:
    """As a pull request: nothing is built or known here, and the commit says what there was."""
    commit(project)
    assert plan(project, "--since", "HEAD")["cells"] == []
    project.edit("container/build-module.sh", "set -eu\n", "set -eux\n")
    project.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16"]}, {"driver": "2.28.0.0", "ocp_versions": ["4.16"]}])
    project.publishes("kmod")
    found = plan(project, "--since", "HEAD", "publish")
    assert found["since"] == "HEAD"
    changed, new = found["cells"]
    assert (changed["reason"], changed["actions"]) == ("changed: the build script", ["compile", "image", "push"])
    assert "+set -eux" in changed["changes"][0]["lines"] and "-set -eu" in changed["changes"][0]["lines"]
    assert changed["replaces"]["digest"] == "" and len(changed["replaces"]["key"]) == 64
    assert (new["driver"], new["reason"], new["replaces"]) == ("2.28.0.0", "a new cell", None)
    assert found["removed"] == [{"driver": "2.22.2.0", "kernel": NEW, "arch": "x86_64"}]
    assert found["totals"]["replace"] == 1


def test_what_is_built_here_has_no_say_in_it(built: Project) -> None:
    built.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.18.15"]},
                                      {"driver": "2.28.0.0", "ocp_versions": ["4.16"]}])
    commit(built)
    built.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    leave_all_built(built)
    assert plan(built)["cells"] == []
    assert [one["actions"] for one in plan(built, "--since", "HEAD")["cells"]] == [["image"]] * 3
    assert [one["kernel"] for one in plan(built, "--since", "HEAD", "build:2.22.2.0@4.16")["cells"]] == [OLD]
    shown = built.doit("plan", "--since", "HEAD").out
    assert (shown.count("+ARG MORE"), shown.count(", as above")) == (1, 1), "of two drivers"


def test_a_commit_that_this_version_can_not_read(project: Project) -> None:
    good = (project.root / "config/defaults.yaml").read_text()
    project.write("config/defaults.yaml", "unknown_setting: 1\n" + good)
    commit(project)
    project.write("config/defaults.yaml", good)
    found = plan(project, "--since", "HEAD")
    assert [one["reason"] for one in found["cells"]] == ["a new cell"] * 2
    assert "HEAD can't be read by this version" in found["notes"][0]


@pytest.mark.parametrize("since", ["nothing", "--help", "HEAD:dodo.py"])
def test_a_commit_that_is_none(project: Project, since: str) -> None:
    commit(project)
    done = project.doit("plan", f"--since={since}")
    assert (done.code, done.out) == (2, "")
    assert f"git knows no commit {since} here" in done.err


def test_a_checkout_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    """Which has other things, too: a link and another repository."""
    project, other = Project(tmp_path / "below" / "here"), Project(tmp_path / "other")
    commit(other)
    (tmp_path / "link").symlink_to("below")
    (project.root / "link").symlink_to("config")
    for args in (["init"], ["add", "below", "link", "other"], ["commit", "--message=before"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path, check=True,
                       capture_output=True)
    project.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\nARG MORE\n")
    [change] = plan(project, "--since", "HEAD")["cells"][0]["changes"]
    assert "+ARG MORE" in change["lines"]


def test_a_checkout_without_git(project: Project) -> None:
    done = project.doit("plan", "--since", "HEAD", GIT_CEILING_DIRECTORIES=str(project.root.parent))
    assert (done.code, done.out) == (2, "")


# -- how it is asked ---------------------------------------------------------------


@pytest.mark.parametrize("args, sentence", [
    (("nope",), "there is no task 'nope'"), (("build:9.9",), "there is no driver 9.9"),
    (("publish",), "$.publish: names no registry to push to"), (("build:2.22.2.0@4.99",), "wants no release 4.99"),
])
def test_names_that_exist_nowhere(project: Project, args: tuple[str, ...], sentence: str) -> None:
    done = project.doit("plan", *args)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_an_empty_catalogue_is_no_fault(project: Project) -> None:
    """As what ships has it: there is nothing to do, and it is said why."""
    project.write("driver-toolkit/driver-toolkit.json", [])
    done = project.doit("plan")
    assert (done.code, done.out) == (0, "nothing to do\n")
    assert "has no release yet" in done.err


def test_the_summary_of_a_job(project: Project) -> None:
    """A pull request's own words end no block and are no command."""
    commit(project)
    project.edit("container/Containerfile", "ARG BASE\n", "ARG BASE\n# ````\n#::error::x\n")
    summary = project.root / "summary.md"
    done = project.doit("plan", "--since", "HEAD", "release", KMOD_PROFILE="", GITHUB_ACTIONS="true",
                        GITHUB_STEP_SUMMARY=str(summary))
    assert done.code == 0, done.err
    text = summary.read_text()
    assert text.startswith("### kmod-foundry: the plan\n\n`````text\nimage 2, push 2, replace 2, ") or (
        text.startswith("### kmod-foundry: the plan\n\n`````text\nimage 2, push 2, replace 2: "))
    assert text.rstrip().endswith("\n`````")
    assert "+# ````" in text
