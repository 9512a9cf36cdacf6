"""Two kernels of one toolkit, and cells of another architecture than the machine's: for real."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry.base.names import OCI_ARCH
from foundry.base.records import output_facts, write_record
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.formats.images.oci import read_archive
from foundry.plan.keys import CellKey
from foundry.plan.state import States
from foundry.podman.emulation import FOLDER, host_arch, not_here
from tests.e2e.test_toolkits import images, manifests
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.refusal import failures, no_container, nothing_left, refused
from tests.harness.registry import Pusher
from tests.harness.released import files_of, ledger
from tests.harness.store import cold_store

DRIVER = "2.22.2.0"
CATALOGUE = "build/sandbox/driver-toolkit.json"
LOCK = "build/sandbox/locks/neuron.json"
HOST = host_arch()
FOREIGN = {"x86_64": "aarch64", "aarch64": "x86_64"}[HOST]
THEIRS = {"aarch64": "6.1.0-1-cloud-arm64", "x86_64": "6.1.0-1-cloud-amd64"}[FOREIGN]


def test_two_kernels_of_one_toolkit(new_clone: Callable[[], Clone], access: AccessLogs, tmp_path: Path) -> None:
    """One pull; each kernel's own vermagic, symbols and boot; two images, rows and lines of the notes."""
    clone = new_clone()
    clone.edit("config/defaults.yaml", "keep_toolkits: true", "keep_toolkits: false")
    clone.prove("required")
    entry = next(entry for entry in clone.catalogue() if "rt_kernel" in entry)
    kernel, rt = entry["kernel"], entry["rt_kernel"]
    clone.write("build-matrix.json", [
        {"driver": DRIVER, "ocp_versions": [entry["version"]], "flavours": ["default", "rt"]}])
    with cold_store(tmp_path / "store") as store:
        clone.extra = store
        access.new()
        run = clone.doit("release")
        assert run.code == 0, run.text
        assert (run.compiled, run.booted) == (sorted([kernel, rt]), 2)
        assert manifests(access.new()) == [entry["dtk"].rpartition("@")[2]]
        assert images(store) == [], "nobody needs the toolkit any more"
        again = clone.doit("release")
        assert (again.code, again.processes, again.connections) == (0, [], []), again.text
        verified = clone.doit("verify")
        assert verified.code == 0, verified.text
    records = {name: clone.record(f"{DRIVER}-{name}", "module") for name in (kernel, rt)}
    for name, record in records.items():
        details = {one["id"]: one["detail"] for one in record["gate"]["neuron.ko"]["findings"]}
        assert f"its vermagic is '{name} " in details["vermagic"]
        assert "are the kernel's" in details["crcs"], "of another kernel's exports they would not be"
        assert record["toolkit"] == entry["dtk"]
    assert records[kernel]["symvers_sha256"] != records[rt]["symvers_sha256"]
    for name in (kernel, rt):
        record = clone.record(f"{DRIVER}-{name}", "image")
        assert record["labels"]["kernel-version"] == name
        assert clone.record(f"{DRIVER}-{name}", "boot")["checks"][0] == {"name": "kernel", "ok": True, "detail": name}
        assert record["tag"] == f"{DRIVER}-{name}".replace("+", "_")
    rows = {row["kernel"]: row for row in ledger(clone, DRIVER)["cells"]}
    assert {name: row["releases"] for name, row in rows.items()} == {
        name: [entry["version"]] for name in (kernel, rt)}
    assert len({row["digest"] for row in rows.values()}) == 2
    notes = files_of(clone, DRIVER)["notes.md"].decode()
    for row in rows.values():
        assert f"- `{row['tags'][0]}` (compatible with OCP: {entry['version']})" in notes
    assert notes.count(f"| {entry['version']} | `") == 2
    assert {row["state"] for row in clone.status().values()} == {"published"}
    assert f"{entry['version']}     published 2/2" in clone.doit("status").out


# -- another architecture ----------------------------------------------------------


@pytest.fixture
def without_emulation(copied: Clone, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone on a machine that runs no programs of the other architecture: binfmt_misc is empty for it."""
    if not not_here([FOREIGN]):
        hidden = f'mount -t tmpfs none {FOLDER} && exec "$@"'
        own, hiding = copied.command, ["unshare", "--mount", "sh", "-c", hidden, "sh"]
        assert os.geteuid() == 0, "hiding binfmt_misc needs root"
        monkeypatch.setattr(copied, "command", lambda *args: [*hiding, *own(*args)])
    return copied


def with_foreign_cells(clone: Clone) -> str:
    """The catalogue has a toolkit of the other architecture, too, in its own registry and not there; the cell."""
    entries = clone.catalogue()
    entry = next(entry for entry in entries if entry["version"] == "4.17.12")
    theirs = {**entry, "arch": FOREIGN, "kernel": THEIRS, "dtk": f"{entry['dtk'][:-64]}{'0' * 64}"}
    theirs.pop("rt_kernel", None)
    clone.write(CATALOGUE, [*entries, {**theirs, "node_kernel": THEIRS}])
    clone.edit("config/defaults.yaml", f"arch: [{HOST}]" if HOST == "x86_64" else "arch: [x86_64]",
               "arch: [x86_64, aarch64]")
    clone.write("build-matrix.json", [
        {"driver": DRIVER, "ocp_versions": ["4.17", "4.16.30"], "arch": [HOST]},
        {"driver": DRIVER, "ocp_versions": ["4.17"]}])
    return f"{DRIVER}-{THEIRS}"


def test_an_architecture_that_does_not_run_here(
    without_emulation: Clone, kernels: list[str], access: AccessLogs
) -> None:
    """One sentence for the cell before anything is pulled; the others are built; nothing counts as failed."""
    clone = without_emulation
    cell = with_foreign_cells(clone)
    why = (f"needs a machine for {FOREIGN}: this one is {HOST},"
           f" and binfmt_misc has nothing that runs programs for {FOREIGN}")
    row = clone.status()[cell]
    assert (row["state"], row["code"], row["reason"]) == ("pending", "arch-not-here", why)
    (clone.cell(f"{DRIVER}-{kernels[0]}") / "neuron.ko").unlink()
    access.new()
    run = clone.doit("build")
    assert run.code == 3, run.text
    assert run.compiled == [kernels[0]]
    found = failures(run)[f"module:{cell}"]
    assert found.sentence == f"{cell} {why}"
    assert found.hint == "`doit doctor` says what would mend it"
    assert not [line for line in access.new() if "0" * 64 in line], "its toolkit was not asked for"
    assert not (clone.cell(cell) / "failure.json").exists()
    assert {name: one["state"] for name, one in clone.status().items() if one["state"] != "built"} == {cell: "pending"}
    nothing_left(clone)
    no_container(clone)
    doctor = clone.doit("doctor")
    assert doctor.code == 3
    [line] = [line for line in doctor.out.splitlines() if line.startswith("MISSING") and f"arch {FOREIGN}" in line]
    assert why in line
    assert "qemu-user-static" in doctor.out


def test_images_have_the_base_of_their_platform(copied: Clone, kernels: list[str]) -> None:
    """The lock has the digest of an index: each cell gets the image of its own architecture, whatever the store has."""
    cells = {HOST: f"{DRIVER}-{kernels[1]}", FOREIGN: with_foreign_cells(copied)}
    base = Bases(copied)
    base.lock({HOST: base.image(HOST), FOREIGN: base.image(FOREIGN)})
    compiled_elsewhere(copied, cells[FOREIGN], copied.cell(cells[HOST]))
    for names in ([cells[FOREIGN], cells[HOST]], [cells[HOST], cells[FOREIGN]]):  # who is first does not matter
        run = copied.doit(*(f"image:{name}" for name in names), FORCE_BUILD="")
        assert run.code == 0, run.text
        assert (run.compiled, run.imaged) == ([], 2)
        for arch, name in cells.items():
            made = read_archive(copied.cell(name) / "image.oci.tar")
            assert made.architecture == OCI_ARCH[arch]
            assert made.diff_ids[0] == base.layers[arch]
            (copied.cell(name) / "image.json").unlink()


def test_a_base_or_toolkit_of_another_platform(copied: Clone, kernels: list[str]) -> None:
    cells = {HOST: f"{DRIVER}-{kernels[1]}", FOREIGN: with_foreign_cells(copied)}
    base = Bases(copied)
    compiled_elsewhere(copied, cells[FOREIGN], copied.cell(cells[HOST]))
    base.lock({HOST: base.image(HOST)})
    compiled_elsewhere(copied, cells[FOREIGN], copied.cell(cells[HOST]))
    run = copied.doit(f"image:{cells[FOREIGN]}")
    refused(copied, run, f"image:{cells[FOREIGN]}", 1, "platform-missing",
            f"can't be used for {FOREIGN}", OCI_ARCH[FOREIGN], hint="narrow the entry")
    lone = base.image(FOREIGN)
    base.set(lone["digest"])
    run = copied.doit(f"image:{cells[HOST]}")
    refused(copied, run, f"image:{cells[HOST]}", 1, "image-wrong-platform",
            f"is for {OCI_ARCH[FOREIGN]}, not for {OCI_ARCH[HOST]}", hint="correct the catalogue or the lock")
    entries = copied.catalogue()
    for entry in entries:
        if entry["kernel"] == kernels[1]:
            entry["dtk"] = f"registry.sandbox.internal/busybox@{lone['digest']}"
    copied.write(CATALOGUE, entries)
    run = copied.doit(f"module:{cells[HOST]}")
    assert run.compiled == []
    refused(copied, run, f"module:{cells[HOST]}", 1, "image-wrong-platform")


class Bases:
    """Bases of one small layer each, by architecture, in the sandbox's registry."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.pusher = Pusher(f"127.0.0.1:{registry_port(clone.services)}", "busybox",
                             auth=registry_login(clone.services))
        self.layers: dict[str, str] = {}

    def image(self, arch: str) -> dict[str, Any]:
        """The descriptor of a base for one architecture."""
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            info = tarfile.TarInfo("bin/sh")
            info.size, info.mode = len(arch), 0o755
            archive.addfile(info, io.BytesIO(arch.encode()))
        made = self.pusher.image([sink.getvalue()], arch=OCI_ARCH[arch])
        self.layers[arch] = self.pusher.blob(sink.getvalue())["digest"]
        return made

    def lock(self, bases: dict[str, dict[str, Any]]) -> None:
        """Lock an index over bases as the family's base."""
        self.set(self.pusher.index({OCI_ARCH[arch]: one for arch, one in bases.items()})["digest"])

    def set(self, digest: str) -> None:
        """Lock a base by its digest."""
        lock = json.loads((self.clone.root / LOCK).read_text())
        lock["base"]["digest"] = digest
        self.clone.write(LOCK, lock)


def compiled_elsewhere(clone: Clone, cell: str, like: Path) -> None:
    """What a machine of the cell's architecture leaves of a compile, with the files of another cell."""
    states = States(load_config(clone.root, Profile("sandbox", "test")))
    state = states.cells[cell]
    assert isinstance(state.key, CellKey)
    folder = clone.cell(cell)
    (folder / "depmod").mkdir(parents=True, exist_ok=True)
    (folder / "neuron.ko").write_bytes((like / "neuron.ko").read_bytes())
    (folder / "depmod/modules.dep").write_text("neuron.ko:\n")
    write_record(folder / "module.json", "module", {
        "driver": DRIVER, "family": "neuron", "kernel": state.cell.kernel, "arch": state.cell.arch,
        "key": state.key.module, "key_inputs": state.key.module_parts,
        "inputs": json.loads((like / "module.json").read_text())["inputs"],
        "outputs": output_facts(folder, ["neuron.ko", "depmod/modules.dep"]), "signature_hash": "sha256",
    })
