"""When a run asks what is published already: a real registry, and before it a server that counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundry.base.names import KEY_LABEL
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.ledger.ledgers import MEDIA_TYPE, ledger_tag
from foundry.net.transport import RetryPolicy
from foundry.plan.rows import row_of
from foundry.plan.state import CellState, States
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.document import Document, put_document
from foundry.registry.push import Writer
from tests.harness.checkout import NEW, OLD
from tests.harness.front import Front, front, says
from tests.harness.ledgers import ledger_document, ledger_row
from tests.harness.leftovers import leave_built
from tests.harness.project import Done, Project
from tests.harness.registry import Pusher, real_registry

DRIVER, OTHER = "2.22.2.0", "2.28.0.0"
CELLS = [f"{DRIVER}-{OLD}", f"{DRIVER}-{NEW}"]
REPOSITORY = "kmod"
LEDGER, OTHERS = (f"/manifests/{ledger_tag(driver)}" for driver in (DRIVER, OTHER))
FILE = f"build/local/release/{DRIVER}/images.json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Front]:
    with real_registry(tmp_path / "registry") as upstream, front(upstream) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path, registry: Front) -> Project:
    """Two drivers, and a registry to publish to."""
    one = Project(tmp_path / "checkout")
    one.publishes(REPOSITORY, address=registry.address)
    one.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16", "4.18.15"]},
                                    {"driver": OTHER, "ocp_versions": ["4.16"]}])
    return one


def run(project: Project, *names: str) -> Done:
    """Without podman on the path: whatever has to be compiled ends the run (exit code 3), and nothing else is asked."""
    (project.root / "empty").mkdir(exist_ok=True)
    return project.doit(*names, PATH=str(project.root / "empty"))


def states_of(project: Project) -> States:
    return States(load_config(project.root, Profile("local", "test")))


def row(state: CellState, digest: str) -> dict[str, Any]:
    assert state.key is not None
    return row_of(
        state.cell, state.key, content_sha256="2" * 64, digest=digest, tags=[state.cell.tag],
        registries=[f"registry.test/{REPOSITORY}"], published="2026-01-02T03:04:05Z",
    ).as_data()


def publish_elsewhere(project: Project, registry: Front) -> None:
    """As another checkout would have done it: images with the keys of today, and the ledger beside them."""
    rows = []
    for state in states_of(project).cells.values():
        if state.cell.driver == DRIVER and state.key is not None:
            labels = {KEY_LABEL: state.key.key}
            image = Pusher(registry.upstream, REPOSITORY).image([state.cell.name.encode()], labels=labels)
            rows.append(row(state, image["digest"]))
    assert len(rows) == len(CELLS)
    document = json.dumps(ledger_document(*rows)).encode()
    direct = Registry("registry.test", Credentials({"HOME": "/nonexistent"}), address=registry.upstream,
                      policy=RetryPolicy(connect=5, read=5, total=60))
    put_document(Writer(direct, REPOSITORY), ledger_tag(DRIVER), Document(document), MEDIA_TYPE)
    assert registry.requests == []


def shown(project: Project) -> set[str]:
    rows = json.loads(project.doit("status", "--json").out)
    return {found["state"] for found in rows if found["driver"] == DRIVER}


def test_what_others_published_is_not_built(project: Project, registry: Front) -> None:
    publish_elsewhere(project, registry)
    done = run(project, f"build:{DRIVER}")
    assert done.code == 0, done.err
    assert (registry.count(LEDGER), registry.count(OTHERS)) == (1, 0), "another driver's ledger is not asked for"
    assert shown(project) == {"published"}
    registry.requests.clear()
    assert run(project, f"build:{DRIVER}").code == 0
    assert registry.requests == [], "the ledger is here now"


def test_every_driver_that_is_to_be_built_is_asked_for(project: Project, registry: Front) -> None:
    publish_elsewhere(project, registry)
    assert run(project, "build").code == 3, "the other driver has to be compiled"
    assert (registry.count(LEDGER), registry.count(OTHERS)) == (1, 1)
    assert shown(project) == {"published"}


def test_that_nothing_is_published_is_asked_once(project: Project, registry: Front) -> None:
    for _ in range(2):
        assert run(project, f"build:{DRIVER}").code == 3
        assert registry.count(LEDGER) == 1
    assert json.loads((project.root / FILE).read_text(encoding="utf-8"))["cells"] == []


def test_what_is_built_asks_nobody(project: Project, registry: Front) -> None:
    publish_elsewhere(project, registry)
    for name in CELLS:
        leave_built(states_of(project), name)
    assert run(project, f"build:{DRIVER}").code == 0
    assert registry.requests == []
    assert shown(project) == {"built"}
    states = states_of(project)
    (project.root / states.cell_folder(states.cells[CELLS[1]].cell) / "image.oci.tar").unlink()
    assert run(project, f"build:{DRIVER}").code == 0
    assert registry.count(LEDGER) == 1, "one of its images is not here"
    assert shown(project) == {"published"}


@pytest.mark.parametrize("task", ["publish", f"publish:{DRIVER}", f"push:{CELLS[0]}", f"release:{DRIVER}"])
def test_publishing_asks_also_where_all_is_built(project: Project, registry: Front, task: str) -> None:
    """Else an image that is published already would be pushed, and its row be lost."""
    project.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16", "4.18.15"]}])
    publish_elsewhere(project, registry)
    for name in CELLS:
        leave_built(states_of(project), name)
    run(project, task)
    asked = [(method, path) for method, path, _ in registry.requests if "/manifests/" in path]
    assert asked[0] == ("GET", f"/v2/{REPOSITORY}{LEDGER}")
    assert {path for method, path in asked if method == "PUT"} <= {f"/v2/{REPOSITORY}{LEDGER}"}, "no image is pushed"
    assert shown(project) == {"published"}


@pytest.mark.parametrize("command", [("list",), ("status",), ("info", f"image:{CELLS[0]}")])
def test_what_only_shows_asks_nobody(project: Project, registry: Front, command: tuple[str, ...]) -> None:
    assert run(project, *command).code == 0
    assert registry.requests == []


def test_an_answer_that_can_not_be_had_ends_the_run(project: Project, registry: Front) -> None:
    """It is never taken for "nothing is published"."""
    publish_elsewhere(project, registry)
    registry.always(LEDGER, says(403))
    done = run(project, f"build:{DRIVER}")
    assert done.code == 3
    assert "the profile local builds without asking what is published" in done.err
    assert not (project.root / FILE).exists()
    project.write("config/profiles/local.yaml", {"image_repository": "localhost/kmod"})
    registry.requests.clear()
    assert "podman" in run(project, f"build:{DRIVER}").err
    assert registry.requests == []


def test_publishing_nowhere_is_a_fault_of_the_profile(project: Project) -> None:
    project.write("config/profiles/local.yaml", {"image_repository": "localhost/kmod"})
    done = run(project, f"publish:{DRIVER}")
    assert done.code == 2
    assert "config/profiles/local.yaml: $.publish: names no registry to push to" in done.err
    assert "hint: " in done.err


def of_a_family_that_is_gone(project: Project) -> None:
    """Somebody removed a family from the checkout, and its ledger is there still."""
    project.write("build/local/release/1.5/images.json", {
        **ledger_document(ledger_row("5.14.0-1.el9", registries=[f"registry.test/{REPOSITORY}"]), driver="1.5"),
        "family": "gone"})


def test_verify_skips_a_ledger_of_a_family_that_is_gone(project: Project, registry: Front) -> None:
    """With a warning: the other drivers' images are looked at."""
    publish_elsewhere(project, registry)
    of_a_family_that_is_gone(project)
    done = project.doit("verify", "--tags")
    assert done.err.splitlines()[1:] == [
        "warning: the ledger of 1.5 is of the family gone, which is not known here: its 1 images are not looked at"]
    assert f"{len(CELLS)} images: " in done.out
    named = project.doit("verify", "--tags", "1.5")
    assert named.code == 2, "it can't be told whether they are right"
    assert "the ledger of 1.5 is of the family gone, which is not known here" in named.err


@pytest.mark.parametrize("args", [
    ("verify", "9.9.9.9"), ("verify", "--tags", "9.9.9.9"), ("verify", DRIVER, "9.9.9.9"), ("export", "9.9.9.9"),
    ("export", "--json", DRIVER, "9.9.9.9"), ("export", "-o", "out.csv", "9.9.9.9"), ("export", f"{DRIVER} "),
])
def test_a_driver_without_a_ledger(project: Project, args: tuple[str, ...]) -> None:
    done = project.doit(*args)
    assert (done.code, done.out) == (2, "")
    assert f"there is no ledger of {args[-1]}; there are {DRIVER}, {OTHER}" in done.err
    assert not (project.root / "out.csv").exists()


def test_export_of_a_driver_that_is_not_published_yet(project: Project) -> None:
    done = project.doit("export", "--json", DRIVER)
    assert (done.code, json.loads(done.out)) == (0, [])
