"""`doit release` in the profiles without GitHub: sources, ledger, notes, checksums; once, and the same everywhere."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from tests.harness.clone import AccessLogs, Clone
from tests.harness.released import DRIVERS, files_of, ledger, written

DRIVER = "2.22.2.0"


def test_a_release_in_the_sandbox(copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    """Everything is there and right; the next run does nothing; a fresh checkout makes the same without a compiler."""
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == []
    assert {row["state"] for row in copied.status().values()} == {"published"}
    for driver in DRIVERS:
        complete(copied, driver)
    access.new()
    before = written(copied)
    run = copied.doit("release")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], []), run.text
    assert written(copied) == before
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit("release")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == ([], 0)
    for driver in DRIVERS:
        assert files_of(fresh, driver) == files_of(copied, driver)
    access.new()
    again = fresh.doit("release")
    assert (again.code, again.processes, again.connections, access.new()) == (0, [], [], [])


def complete(clone: Clone, driver: str) -> None:
    """A driver's release folder has notes, ledger, both sources and the checksums of all."""
    folder = clone.build / "release" / driver
    files = files_of(clone, driver)
    source = f"aws-neuronx-dkms-{driver}-modified-source.tar.gz"
    [busybox] = [name for name in files if name.startswith("busybox-")]
    assert set(files) == {"notes.md", "images.json", "SHA256SUMS", source, busybox}
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == {"images.json", source, busybox}
    with tarfile.open(folder / source) as archive:
        names = archive.getnames()
    assert not [name for name in names if name.endswith((".o", ".ko", ".cmd"))], "no build products"
    assert any(name.endswith("neuron_cdev.c") for name in names)
    notes = files["notes.md"].decode()
    rows = ledger(clone, driver)["cells"]
    for row in rows:
        assert f"- `{row['tags'][0]}` (compatible with OCP: {', '.join(row['releases'])})" in notes
        assert all(f"`{name}@{row['digest']}`" in notes for name in row["registries"])
        assert all(f"| {release} | `{row['kernel']}` |" in notes for release in row["releases"])
        assert row["noted"]["edition"] == 1
    assert notes.count("- new: `") == len(rows)
    assert f"`{busybox}`" in notes and f"`{source}`" in notes


def test_a_release_without_a_registry(copied: Clone, kernels: list[str]) -> None:
    """The profile `local`: the same files; cells count as built. What is built anew is a new edition."""
    copied.use_profile("local", {})
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == []
    for driver in DRIVERS:
        complete(copied, driver)
    assert {row["state"] for row in copied.status().values()} == {"built"}
    before = written(copied)
    run = copied.doit("release")
    assert (run.code, run.processes, run.connections) == (0, [], []), run.text
    assert written(copied) == before
    kernel = kernels[0]
    other = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    copied.edit("container/build-module.sh", "set -eu", "set -eu\n# another comment")
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30"]}])
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == [kernel]
    rows = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    assert set(rows) == set(other), "rows that were there are there"
    assert {name: row["noted"]["edition"] for name, row in rows.items()} == {
        name: 2 if name == kernel else 1 for name in rows}
    notes = files_of(copied, DRIVER)["notes.md"].decode()
    [news] = [line for line in notes.splitlines() if "rebuilt" in line]
    assert news == (f"- `{rows[kernel]['tags'][0]}`: rebuilt (its inputs changed), before:"
                    f" `{other[kernel]['digest']}`")
