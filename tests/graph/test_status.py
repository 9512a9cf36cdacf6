"""`doit status` with few and with many drivers, on a terminal and without; what `doit list` says before a release."""

from __future__ import annotations

import json

import pytest

from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, entry
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.project import NOBODY, Project
from tests.harness.terminal import Terminal

DRIVERS = [f"2.{minor}.{patch}.0" for minor in range(10, 20) for patch in range(3)]
RELEASES = [f"4.{minor}.{patch}" for minor in (16, 17, 18, 19) for patch in range(10)]


@pytest.fixture
def many(project: Project) -> Project:
    """30 drivers of two families for 40 releases, each with a kernel of its own."""
    project.write("config/drivers/second.yaml",
                  (project.root / "config/drivers/neuron.yaml").read_text().replace("name: neuron", "name: second"))
    for name, drivers in (("neuron", DRIVERS[:20]), ("second", DRIVERS[20:])):
        package = LOCK["packages"]["2.22.2.0"]
        project.write(f"config/locks/{name}.json", {**LOCK, "packages": dict.fromkeys(drivers, package)})
    project.write("driver-toolkit/driver-toolkit.json", [
        entry(release, f"{number % 16:x}", f"5.14.0-{400 + number}.68.2.el9_4.x86_64")
        for number, release in enumerate(RELEASES)])
    project.write("build-matrix.json", [
        {"driver": driver, "family": "neuron" if driver in DRIVERS[:20] else "second",
         "ocp_versions": ["4.16", "4.17", "4.18", "4.19"]} for driver in DRIVERS])
    return project


def shown(project: Project, *args: str, **environ: str) -> list[list[str]]:
    """The words of each line."""
    done = project.doit("status", *args, **environ)
    assert done.code == 0
    return [line.split() for line in done.out.splitlines()]


def test_few_cells_are_all_shown(project: Project) -> None:
    lines = shown(project)
    assert lines[:2] == [["neuron", "published", "built", "pending", "failed", "cells", "releases"],
                         ["2.22.2.0", "0", "0", "2", "0", "2", "3"]]
    assert ["family", "neuron"] in lines and ["release", "2.22.2.0"] in lines
    assert ["4.16.48", "pending"] in lines
    assert ["pending", f"2.22.2.0-{OLD}", "not", "built", "yet"] in lines
    assert " ".join(lines[-1]) == "2 cells: 0 published, 0 built, 2 pending, 0 failed"


def test_many_drivers_by_their_counts_first(many: Project) -> None:
    done = many.doit("status")
    lines = [line.split() for line in done.out.splitlines()]
    assert len(lines) == len(DRIVERS) + 5, done.out
    for driver in DRIVERS:
        assert [driver, "0", "0", "40", "0", "40", "40"] in lines
    assert lines[0][0] == "neuron" and ["second"] in lines
    assert "each cell: `doit status DRIVER`, `doit status RELEASE`, `--pending`, `--failed`" in done.out
    assert done.out.endswith("\n1200 cells: 0 published, 0 built, 1200 pending, 0 failed\n")


@pytest.mark.parametrize("args", [
    (), ("2.1*",), ("4.16.3",), ("second", "4.18"), ("--pending", "4.19.9"), ("--failed",),
])
@pytest.mark.parametrize("columns", [80, 130])
def test_it_stays_within_the_terminal(many: Project, args: tuple[str, ...], columns: int) -> None:
    """What of it is wider would be broken by the terminal, where it stands on two lines."""
    with Terminal(many.command("status", *args), many.root, many.environment(), columns=columns, rows=3000) as terminal:
        assert terminal.ended() == 0
        screen = [line for line in terminal.screen if line]
    piped = [line for line in many.doit("status", *args, COLUMNS=str(columns)).out.splitlines() if line]
    assert max(map(len, piped)) <= columns
    assert screen == ["profile local: KMOD_PROFILE is set", *piped]


@pytest.mark.parametrize("args, count", [
    (("2.10.0.0",), 40), (("2.10.0.0", "2.10.1.0"), 80), (("second",), 400), (("4.16",), 300), (("4.16.3",), 30),
    (("4.16.3", "4.17.0"), 60), (("second", "4.16.3"), 10), (("2.10.0.0@4.16",), 10), (("2.1?.0.0",), 400),
    (("2.10.0.0", "4.1*"), 40), (("5.14.0-400.68.2.el9_4.x86_64",), 30),
    (("2.10.0.0-5.14.0-400.68.2.el9_4.x86_64",), 1),
    (("--pending",), 1200), (("--failed",), 0), (("--pending", "--failed", "second"), 400),
])
def test_what_is_asked_for(many: Project, args: tuple[str, ...], count: int) -> None:
    """Drivers and the like add up, and so do releases; of both it is what they have in common."""
    assert len(json.loads(many.doit("status", "--json", *args).out)) == count
    lines = shown(many, *args)
    assert sum(line[:1] == ["pending"] for line in lines) == count
    assert (["release"] in [line[:1] for line in lines]) is (args[0][0] != "-")


def test_a_wide_table_is_several(many: Project) -> None:
    lines = shown(many, "2.1*", "4.16.3", COLUMNS="80")
    heads = [line[1:] for line in lines if line[:1] == ["release"]]
    assert [driver for head in heads for driver in head] == DRIVERS
    assert [len(line) for line in lines if line[:1] == ["4.16.3"]] == [len(head) + 1 for head in heads]


def test_status_json_is_alone_on_stdout(project: Project) -> None:
    done = project.doit("status", "--json")
    rows = json.loads(done.out)
    assert done.code == 0
    assert [set(row) for row in rows] == [{
        "driver", "family", "kernel", "arch", "flavour", "releases", "state", "reason", "key", "digest", "image",
        "images", "tag", "code", "changed", "failure",
    }] * 2
    assert rows[0]["releases"] == ["4.16.30", "4.16.48"]
    assert (rows[0]["state"], rows[0]["reason"]) == ("pending", "not built yet")
    assert (rows[0]["image"], rows[0]["images"], rows[0]["tag"]) == (None, [], None)


@pytest.mark.parametrize("names", [["kmod"], ["kmod", "second/kmod"]])
def test_an_image_is_what_can_be_pulled(project: Project, names: list[str]) -> None:
    digest = "sha256:" + "f" * 64
    published = ledger_row(OLD, key_inputs=key_inputs(project.root, f"2.22.2.0-{OLD}"), digest=digest,
                           registries=[f"registry.test/{name}" for name in names])
    project.publishes(*names)
    project.write("build/local/release/2.22.2.0/images.json", ledger_document(published))
    row = json.loads(project.doit("status", "--json").out)[0]
    assert row["images"] == [f"registry.test/{name}@{digest}" for name in names]
    assert (row["image"], row["tag"]) == (row["images"][0], f"2.22.2.0-{OLD}")
    assert ["published", f"2.22.2.0-{OLD}", digest[:19], *(f"registry.test/{name}" for name in names)] in shown(project)


def test_a_failed_fetch_has_failed(project: Project) -> None:
    """So have its cells, whose package it is; until anything that it depends on changes."""
    project.has_no_repository()
    project.write("config/locks/neuron.json", {**LOCK, "packages": {}})
    assert {row["state"] for row in json.loads(project.doit("status", "--json").out)} == {"pending"}
    assert project.doit("build").code == 3
    rows = json.loads(project.doit("status", "--json").out)
    assert [(row["state"], row["code"], row["failure"]["stage"]) for row in rows] == [
        ("failed", "http-unreachable", "fetch")] * 2
    assert all(row["reason"].startswith(f"http-unreachable: {NOBODY}") for row in rows)
    text = project.doit("status", "--failed").out
    assert text.count(NOBODY) == 1 and "log: build/local/sources/2.22.2.0/fetch.log" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("failed ")] == [
        "fetch:2.22.2.0", f"2.22.2.0-{OLD}", f"2.22.2.0-{NEW}"]
    listed = project.doit("list").out
    assert f"failed    fetch:2.22.2.0{'':32}http-unreachable: {NOBODY}" in listed
    assert f"pending   image:2.22.2.0-{OLD}   needs fetch:2.22.2.0, which failed" in listed
    project.edit("config/drivers/neuron.yaml", NOBODY, "http://127.0.0.1:10/")
    assert {row["state"] for row in json.loads(project.doit("status", "--json").out)} == {"pending"}


def test_nothing_was_done_before_any_release(project: Project) -> None:
    """Neither with cells to build nor with an empty catalogue."""
    for catalogue in (CATALOGUE, []):
        project.write("driver-toolkit/driver-toolkit.json", catalogue)
        for profile in ("local", "github"):
            rows = [line.split() for line in project.doit("list", KMOD_PROFILE=profile).out.splitlines()]
            assert [row for row in rows if row[0] in ("done", "built", "published")] == []
            assert ["-", "assets:2.22.2.0", "there", "is", "no", "ledger", "yet:", "run", "`doit", "release`"] in rows
