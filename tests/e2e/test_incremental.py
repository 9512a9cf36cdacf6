"""What is redone after a change: one test a line of the table in docs/incremental.md.

Counted are compile containers, image builds and all processes and connections
of the run, and the requests in the servers' access logs; never task states.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import requests

from tests.harness.clone import AccessLogs, Clone, Run, registry_login
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row
from tests.harness.quick_driver import quick_source

OLD, NEW = "2.16.7.0", "2.22.2.0"


def nothing(run: Run, access: AccessLogs) -> None:
    """No process, no connection, and the servers saw nothing."""
    assert run.code == 0, run.text
    assert run.processes == []
    assert run.connections == []
    assert access.new() == []


def test_nothing_changed(copied: Clone, access: AccessLogs) -> None:
    """`build/` was carried to a fresh clone in another folder; there is no doit database to delete."""
    nothing(copied.doit("build"), access)
    assert not list(copied.root.rglob(".doit.db*"))


def test_all_files_touched(copied: Clone, access: AccessLogs) -> None:
    for path in copied.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (2_000_000_000, 2_000_000_000))
    nothing(copied.doit("build"), access)


def with_ledgers(clone: Clone, built: Clone) -> None:
    """As if all that was built had been published, by a checkout that had the keys of `built`."""
    for driver in (OLD, NEW):
        rows = [
            ledger_row(row["kernel"], key_inputs=key_inputs(built.root, f"{driver}-{row['kernel']}", "sandbox"),
                       digest=row["digest"], tags=[row["tag"]],
                       releases=row["releases"], registries=[f"registry.sandbox.internal/{clone.repository}"])
            for row in built.status().values() if row["driver"] == driver
        ]
        clone.write(f"build/sandbox/release/{driver}/images.json", ledger_document(*rows, driver=driver))


def test_a_fresh_clone_with_the_ledger_alone(
    built: Clone, new_clone: Callable[[], Clone], kernels: list[str], access: AccessLogs
) -> None:
    clone = new_clone()
    clone.copy_state(built, "locks")
    with_ledgers(clone, built)
    nothing(clone.doit("build"), access)
    assert {row["state"] for row in clone.status().values()} == {"published"}
    record = clone.record(f"{NEW}-{kernels[0]}", "image")
    assert record["adopted"] is True
    assert record["outputs"] == {}


def test_a_fresh_clone_with_the_ledger_and_no_lock(
    built: Clone, new_clone: Callable[[], Clone], kernels: list[str]
) -> None:
    """Only when the package is fetched are the keys known; then nothing is left to do."""
    clone = new_clone()
    with_ledgers(clone, built)
    run = clone.doit("build")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == ([], 0)
    assert {row["state"] for row in clone.status().values()} == {"published"}
    for kernel in kernels:
        assert clone.record(f"{NEW}-{kernel}", "image")["adopted"] is True


def test_a_release_that_shares_a_kernel(copied: Clone, kernels: list[str], access: AccessLogs) -> None:
    catalogue = copied.catalogue()
    shared = next(entry for entry in catalogue if entry["kernel"] == kernels[0])
    other = {**shared, "version": "4.16.99", "dtk": shared["dtk"][:-64] + "0" * 64}
    copied.write("build/sandbox/driver-toolkit.json", [*catalogue, other])
    nothing(copied.doit("build"), access)
    assert "4.16.99" in copied.doit("status").out
    assert "4.16.99" in copied.status()[f"{OLD}-{kernels[0]}"]["releases"]


def test_a_lower_release_that_shares_a_kernel(copied: Clone, kernels: list[str], access: AccessLogs) -> None:
    """It sorts before the release that the cell was built for, and has a toolkit of its own."""
    catalogue = copied.catalogue()
    shared = next(entry for entry in catalogue if entry["kernel"] == kernels[1])
    other = {**shared, "version": "4.16.1", "dtk": shared["dtk"][:-64] + "0" * 64}
    copied.write("build/sandbox/driver-toolkit.json", [other, *catalogue])
    nothing(copied.doit("build"), access)
    assert "4.16.1" in copied.status()[f"{OLD}-{kernels[1]}"]["releases"]


def test_records_and_ledger_count_although_the_lock_came_late(copied: Clone, kernels: list[str]) -> None:
    """The lock was not kept: the package is fetched and locked again, and nothing is compiled."""
    lock = json.loads((copied.build / "locks/neuron.json").read_text())
    copied.write("build/sandbox/locks/neuron.json", {**lock, "packages": {}})
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == ([], 0)
    assert {row["state"] for row in copied.status().values()} == {"built"}


def test_a_release_with_a_new_kernel(copied: Clone, kernels: list[str]) -> None:
    matrix = json.loads((copied.root / "build-matrix.json").read_text())
    matrix[0]["ocp_versions"].append("4.19")
    copied.write("build-matrix.json", matrix)
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[2]]
    assert run.imaged == 1


def test_a_patch_that_covers_some_cells(copied: Clone, kernels: list[str]) -> None:
    series = ".".join(kernels[2].split(".")[:2])
    copied.edit("config/drivers/neuron.yaml", "patches:\n", (
        "patches:\n  - id: some-kernels\n    why: a test\n"
        f'    drivers: ">=2.20"\n    kernels: ">={series}"\n'
        "    edits: [{file: neuron_module.c, find: MODULE_LICENSE, replace: MODULE_LICENSE, matches: 1}]\n"
    ))
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[2]]
    applied = {entry["patch"] for entry in copied.record(f"{NEW}-{kernels[2]}", "module")["patches"]}
    assert applied == {"some-kernels", "rhel-9.4-guard"}


def images_alone(copied: Clone, access: AccessLogs) -> None:
    """All images anew, no compile, no toolkit; one of each driver is enough to see it."""
    assert {row["state"] for row in copied.status().values()} == {"pending"}
    copied.write("build-matrix.json", [
        {"driver": OLD, "ocp_versions": ["4.16"]}, {"driver": NEW, "ocp_versions": ["4.18.16"]},
    ])
    access.new()
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == []
    assert run.imaged == len(copied.status()) == 2
    assert not [line for line in access.new() if "driver-toolkit" in line]


def test_the_containerfile(copied: Clone, access: AccessLogs) -> None:
    copied.edit("container/Containerfile", "COPY licenses", "COPY --chmod=0444 licenses")
    images_alone(copied, access)


def test_a_licence(copied: Clone, access: AccessLogs) -> None:
    copied.edit("container/licenses/GPL-2.0.txt", "Version 2", "Version  2")
    images_alone(copied, access)


def test_a_label(copied: Clone, access: AccessLogs) -> None:
    copied.edit("config/profiles/sandbox.yaml", "vendor: kmod-foundry", "vendor: someone")
    images_alone(copied, access)
    assert copied.record(next(iter(copied.status())), "image")["labels"]["vendor"] == "someone"


def test_the_base_digest(copied: Clone, access: AccessLogs, services: Clone, kernels: list[str]) -> None:
    """A node image of the sandbox serves as another base: it exists in the registry."""
    lock = json.loads((copied.build / "locks/neuron.json").read_text())
    digest = node_digest(services, kernels[0])
    lock["base"]["name"], lock["base"]["digest"] = "registry.sandbox.internal/node:x", digest
    copied.write("build/sandbox/locks/neuron.json", lock)
    images_alone(copied, access)


def node_digest(services: Clone, kernel: str) -> str:
    state = json.loads((services.services / "state.json").read_text())
    tag = kernel.replace("+", "_")
    url = f"http://127.0.0.1:{state['registry']['port']}/v2/node/manifests/{tag}"
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    answer = requests.head(url, headers={"Accept": accept}, auth=registry_login(services.services), timeout=30)
    return answer.headers["Docker-Content-Digest"]


def test_the_build_script(copied: Clone, kernels: list[str]) -> None:
    """Every cell, of each driver and kernel: one each is enough to see it."""
    copied.write("build-matrix.json", [
        {"driver": OLD, "ocp_versions": ["4.16"]}, {"driver": NEW, "ocp_versions": ["4.18.16"]},
    ])
    assert {row["state"] for row in copied.status().values()} == {"built"}
    copied.edit("container/build-module.sh", "set -eu\n", "set -eu\n# changed\n")
    assert {row["state"] for row in copied.status().values()} == {"pending"}
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == sorted([kernels[0], kernels[2]])
    assert run.imaged == 2  # the key is a label


def test_the_toolkit_digest(copied: Clone, kernels: list[str], services: Clone) -> None:
    """The cells of one kernel get the toolkit of another, which has no build tree for it: seen before a compile."""
    catalogue = copied.catalogue()
    toolkits = {entry["kernel"]: entry["dtk"] for entry in catalogue}
    for entry in catalogue:
        if entry["kernel"] == kernels[0]:
            entry["dtk"] = toolkits[kernels[1]]
    copied.write("build/sandbox/driver-toolkit.json", catalogue)
    run = copied.doit("build")
    assert run.code == 1
    assert run.compiled == []
    assert "has no build tree for kernel" in run.text
    states = copied.status()
    assert {name for name, row in states.items() if row["state"] == "failed"} == {
        f"{OLD}-{kernels[0]}", f"{NEW}-{kernels[0]}"
    }


def test_the_packages_content(copied: Clone, services: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Another package of the same version: refused as long as the lock says otherwise, then built."""
    from foundry.sandbox.standin import build_repository

    source = quick_source(tmp_path / "source")
    with (source / "neuron_module.c").open("a") as stream:
        stream.write("/* changed */\n")
    copied.write("build-matrix.json", [{"driver": NEW, "ocp_versions": ["4.17"]}])
    shutil.copytree(services.services / "web/keys", tmp_path / "keys")
    repository = build_repository(tmp_path / "yum", [NEW], source=source, log=tmp_path / "log")
    url = f"file://{repository.folder}/"
    copied.edit("config/profiles/sandbox.yaml", "      url: http://web.sandbox.internal/quick/", f"      url: {url}")
    shutil.rmtree(copied.build / "sources" / NEW)
    lock = copied.build / "locks/neuron.json"
    (copied.cell(f"{NEW}-{kernels[1]}") / "neuron.ko").unlink()
    run = copied.doit("build")
    assert run.code == 1
    assert run.compiled == []
    assert "lock" in run.text
    document = json.loads(lock.read_text())
    del document["packages"][NEW]
    copied.write("build/sandbox/locks/neuron.json", document)
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[1]]


def test_a_deleted_module(copied: Clone, built: Clone, kernels: list[str]) -> None:
    cell = f"{NEW}-{kernels[1]}"
    (copied.cell(cell) / "neuron.ko").unlink()
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[1]]
    assert run.imaged == 0
    for stage in ("module", "image"):
        assert copied.record(cell, stage) == built.record(cell, stage)
    assert (copied.cell(cell) / "neuron.ko").read_bytes() == (built.cell(cell) / "neuron.ko").read_bytes()


def test_a_deleted_image(copied: Clone, built: Clone, kernels: list[str]) -> None:
    cell = f"{NEW}-{kernels[1]}"
    (copied.cell(cell) / "image.oci.tar").unlink()
    run = copied.doit("build")
    assert (run.code, run.compiled, run.imaged) == (0, [], 1)
    assert (copied.cell(cell) / "image.oci.tar").read_bytes() == (built.cell(cell) / "image.oci.tar").read_bytes()


def test_force_build(copied: Clone, built: Clone, kernels: list[str]) -> None:
    run = copied.doit(f"image:{NEW}-{kernels[0]}", FORCE_BUILD="true")
    assert (run.code, run.compiled, run.imaged) == (0, [kernels[0]], 1)
    assert copied.record(f"{NEW}-{kernels[0]}", "image")["digest"] == (
        built.record(f"{NEW}-{kernels[0]}", "image")["digest"]
    )


def test_sources_that_were_cleared_away_are_not_fetched_again(copied: Clone, access: AccessLogs) -> None:
    for path in (copied.build / "sources").rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(copied.build / "sources")
    nothing(copied.doit("build"), access)


def flip(path: Path) -> None:
    """Change a byte, not the size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def without_a_hash(record: Path) -> None:
    """A record that says all but what its outputs are."""
    document = json.loads(record.read_text())
    for fact in document["outputs"].values():
        del fact["sha256"]
    record.write_text(json.dumps(document))


def test_what_is_damaged_is_made_again(copied: Clone, kernels: list[str]) -> None:
    """Records that say less or are another cell's, and files of the same size; never a traceback, and once."""
    cells = [f"{NEW}-{kernel}" for kernel in kernels[:3]]
    before = {cell: [copied.record(cell, stage) for stage in ("module", "image")] for cell in cells}
    without_a_hash(copied.cell(cells[0]) / "module.json")
    shutil.copyfile(copied.cell(cells[0]) / "image.json", copied.cell(cells[1]) / "image.json")
    flip(copied.cell(cells[2]) / "neuron.ko")
    (copied.cell(cells[2]) / "image.json").write_text("[]")
    for name in ("package.rpm", "source.tar"):
        flip(copied.build / "sources" / NEW / name)
    assert copied.doit("verify", "--local").code == 1
    run = copied.doit("build")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == (sorted([kernels[0], kernels[2]]), 2)
    assert f"fetch:{NEW}" in run.out
    assert {cell: [copied.record(cell, stage) for stage in ("module", "image")] for cell in cells} == before
    assert copied.doit("build").processes == []
    run = copied.doit("verify", "--local")
    assert (run.code, run.connections) == (0, []), run.text
    # size and records alone say nothing of an image until somebody wants it
    flip(copied.cell(cells[1]) / "image.oci.tar")
    assert copied.doit("build").processes == []
    run = copied.doit("publish")
    assert (run.code, run.imaged, run.compiled) == (0, 1, []), run.text
    assert copied.doit("verify", "--tags").code == 0
    assert copied.doit("verify", "--local").code == 0
