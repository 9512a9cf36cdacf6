"""`doit verify --local`: all that this checkout has, by its content, without the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry.base.files import sha256_file
from foundry.base.records import output_facts, write_record
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.driver.source import tree_sha256
from foundry.plan.state import States
from tests.harness.checkout import NEW, OLD
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.leftovers import DIGEST, change_record, leave_built
from tests.harness.project import Project

DRIVER = "2.22.2.0"
CELL, OTHER = f"cells/{DRIVER}-{OLD}", f"cells/{DRIVER}-{NEW}"
SOURCE, RELEASE = f"sources/{DRIVER}", f"release/{DRIVER}"
PAYLOAD = f"toolkits/payload-{'a' * 64}-x86_64.json"


@pytest.fixture
def build(project: Project) -> Path:
    """What stages leave, of each kind: cells, sources, a release, an image of the catalogue's."""
    for cell in (OLD, NEW):
        leave_built(States(load_config(project.root, Profile("local", "test"))), f"{DRIVER}-{cell}")
    build = project.root / "build/local"
    source, release = build / SOURCE, build / RELEASE
    (source / "tree").mkdir(parents=True)
    (source / "tree/main.c").write_text("int x;\n")
    (source / "source.tar").write_bytes(b"tar")
    (source / "package.rpm").write_bytes(b"rpm")
    common = {"driver": DRIVER, "family": "neuron", "inputs": {}}
    write_record(source / "fetch.json", "fetch", {**common, "outputs": output_facts(source, ["package.rpm"])})
    write_record(source / "source.json", "source", {
        **common, "outputs": output_facts(source, ["source.tar"]), "tree_sha256": tree_sha256(source / "tree")})
    release.mkdir(parents=True)
    (release / "notes.md").write_text("notes\n")
    (release / "x.tar.gz").write_bytes(b"source")
    write_record(release / "notes.json", "notes", {**common, "outputs": output_facts(release, ["notes.md"])})
    tarball = {"kind": "driver", "key": "0" * 64, "sha256": sha256_file(release / "x.tar.gz"), "size": 6}
    row = ledger_row(OLD, key_inputs=key_inputs(project.root, f"{DRIVER}-{OLD}"), digest=DIGEST)
    project.write(f"build/local/{RELEASE}/images.json", ledger_document(row, sources={"x.tar.gz": tarball}))
    (build / "toolkits").mkdir()
    write_record(build / PAYLOAD, "payload", {
        "inputs": {}, "outputs": {}, "reference": f"quay.io/a/b@sha256:{'a' * 64}", "arch": "x86_64"})
    return build


def bad(project: Project) -> dict[str, list[str]]:
    """What is wrong, by file; the two forms of the command say the same."""
    done, as_json = project.doit("verify", "--local"), project.doit("verify", "--local", "--json")
    found = json.loads(as_json.out)
    faults = {one["file"].removeprefix("build/local/"): one["faults"] for one in found if not one["ok"]}
    assert done.code == as_json.code == (1 if faults else 0)
    assert f"{len(found)} files: {len(found) - len(faults)} ok, {len(faults)} bad" in done.out
    assert all(f"BAD  build/local/{file}" in done.out for file in faults)
    return faults


def test_what_is_whole(project: Project, build: Path) -> None:
    assert bad(project) == {}
    (build / CELL / "image.oci.tar").unlink()  # it is published
    assert bad(project) == {}


def flip(path: Path) -> None:
    """Change a byte, not the size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("file, change, where, fault", [
    (f"{CELL}/neuron.ko", flip, f"{CELL}/module.json", "neuron.ko is damaged"),
    (f"{CELL}/neuron.ko", Path.unlink, f"{CELL}/module.json", "neuron.ko is missing"),
    (f"{CELL}/image.oci.tar", flip, f"{CELL}/image.json", "image.oci.tar is damaged"),
    (f"{CELL}/module.json", flip, f"{CELL}/module.json", "it is not as it was written"),
    (f"{CELL}/module.json", lambda path: path.write_bytes((path.parents[2] / OTHER / path.name).read_bytes()),
     f"{CELL}/module.json", "it is the record of something else"),
    (f"{CELL}/image.json", lambda path: change_record(path.parent, "image", key="0" * 64), f"{CELL}/image.json",
     "its key is not that of its inputs"),
    (f"{SOURCE}/package.rpm", flip, f"{SOURCE}/fetch.json", "package.rpm is damaged"),
    (f"{SOURCE}/source.tar", flip, f"{SOURCE}/source.json", "source.tar is damaged"),
    (f"{SOURCE}/tree/main.c", flip, f"{SOURCE}/source.json", "tree was changed by hand"),
    (f"{RELEASE}/notes.md", flip, f"{RELEASE}/notes.json", "notes.md is damaged"),
    (f"{RELEASE}/x.tar.gz", flip, f"{RELEASE}/images.json", "x.tar.gz is damaged"),
    (f"{RELEASE}/images.json", lambda path: path.write_bytes(b"["), f"{RELEASE}/images.json", "is not JSON"),
    (f"{RELEASE}/images.json", lambda path: path.write_text(path.read_text().replace('"toolkit": "sha', '"x": "sha')),
     f"{RELEASE}/images.json", "its key is not that of its inputs"),
    (PAYLOAD, lambda path: path.rename(path.with_name(path.name.replace("a" * 64, "b" * 64))),
     PAYLOAD.replace("a" * 64, "b" * 64), "it is the record of something else"),
])
def test_what_is_not_as_it_was_written_is_named(
    project: Project, build: Path, file: str, change: Callable[[Path], object], where: str, fault: str
) -> None:
    change(build / file)
    faults = bad(project)
    assert where in faults
    assert any(fault in said for said in faults[where])


def test_it_takes_no_other_choice(project: Project) -> None:
    for more in (DRIVER, "--tags", "--sample=1"):
        assert project.doit("verify", "--local", more).code == 2
